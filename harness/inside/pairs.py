"""Pairs of answers for the trainer: their rows, their batches, and what is measured of them.

    train = pair_rows(Path("05_table/512-0123456789abcdef/train.parquet"))
    batch = PairCollator(pad_token_id=0)([train[0], train[1]])     # four sequences: two chosen, then two rejected

The table holds each pair as two rows, already rendered and tokenised. TRL would search for the answer in a rendered
dialogue, which makes another answer of an empty or a padded one, and would add its own end token.

Where it sits: table -> **pairs** -> the plugin's trainer under `rl`.
"""

from collections.abc import Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch.utils.data import DataLoader
from transformers import set_seed

from core.files import file_sha256
from core.model.token_ids import IGNORED_LABEL
from harness.inside.trainer import ExactTrainer, PlannedBatches

if TYPE_CHECKING:
    from datasets import Dataset

SIDES = ("chosen", "rejected")
REWARDS = {"reward_accuracy": "rewards/accuracies", "reward_margin": "rewards/margins"}
"""Names of the measures, and TRL's names of what it computes for each batch."""


def pair_rows(path: Path) -> "Dataset":
    """The pairs of a table in the same order, with `length`, the tokens of both sides."""
    from datasets import Dataset

    table = pq.read_table(path, columns=["length", "input_ids", "labels"])
    lengths = table["length"].to_numpy()
    columns = {"length": pa.array(lengths[::2] + lengths[1::2])}
    for number, side in enumerate(SIDES):
        rows = table.take(pa.array(range(number, table.num_rows, 2)))
        columns |= {f"{side}_{name}": rows[name] for name in ("input_ids", "labels")}
    return Dataset(pa.table(columns), fingerprint=file_sha256(path)[:16])


class PairCollator:
    """Pads pairs into one batch: the chosen sides first, then the rejected ones, as TRL's trainer takes them."""

    def __init__(self, pad_token_id: int) -> None:
        self._pad = pad_token_id

    def __call__(self, pairs: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """Shapes are (2 x pairs, tokens of the longest side)."""
        rows = [(pair[f"{side}_input_ids"], pair[f"{side}_labels"]) for side in SIDES for pair in pairs]
        shape = len(rows), max(len(ids) for ids, _ in rows)
        ids = torch.full(shape, self._pad, dtype=torch.long)
        attention, answers = (torch.zeros(shape, dtype=torch.long) for _ in range(2))
        for number, (input_ids, labels) in enumerate(rows):
            ids[number, : len(input_ids)] = torch.tensor(input_ids)
            attention[number, : len(input_ids)] = 1
            answers[number, : len(labels)] = (torch.tensor(labels) != IGNORED_LABEL).long()
        return {"input_ids": ids, "attention_mask": attention, "completion_mask": answers}


class PairTrainer(ExactTrainer):
    """Overrides methods of TRL's trainer of preferences.

    On a quantised base TRL trains the adapter in bf16, in which small updates are lost, and continues in fp32 after a
    resume, for PEFT loads a checkpoint so. Here it is fp32 from the start, as an adapter of other objectives is.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        set_seed(kwargs["args"].seed)  # TRL initialises the adapter here
        super().__init__(*args, **kwargs)
        if hasattr(self.model, "peft_config"):
            for parameter in filter(attrgetter("requires_grad"), self.model.parameters()):
                parameter.data = parameter.data.float()

    def _prepare_dataset(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
        """The rows are tokenised."""
        return dataset

    def get_train_dataloader(self) -> Any:
        """The pairs of each planned batch; Hugging Face's trainer would cut batches of its own."""
        if self.packs is None:
            return super().get_train_dataloader()
        loader: DataLoader[Any] = DataLoader(
            self.train_dataset,
            batch_sampler=PlannedBatches(self.packs.micro_batches, "rows"),
            collate_fn=self.data_collator,
            pin_memory=self.args.dataloader_pin_memory,
        )
        return self.accelerator.prepare(loader)

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> Any:
        """Adds the mean loss of a pair and the rewards to the metrics."""
        self._num_pairs = 0
        self._sums = dict.fromkeys(("validation_loss", *REWARDS), 0.0)
        self.budget.begin_phase("evaluate")
        output = super(ExactTrainer, self).evaluation_loop(*args, **kwargs)
        means = {f"eval_{name}": total / max(1, self._num_pairs) for name, total in self._sums.items()}
        output.metrics.update(means)
        return output

    def prediction_step(self, model: Any, inputs: Any, prediction_loss_only: bool, ignore_keys: Any = None) -> Any:
        """Sums loss and rewards over pairs."""
        loss, _, _ = super(ExactTrainer, self).prediction_step(model, inputs, True, ignore_keys)
        num_pairs = len(inputs["input_ids"]) // 2
        self._num_pairs += num_pairs
        found = {name: self._metrics["eval"][of][-1] for name, of in REWARDS.items()} | {"validation_loss": float(loss)}
        for name, mean in found.items():
            self._sums[name] += mean * num_pairs
        return loss, None, None
