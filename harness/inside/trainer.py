"""The trainer's changes to Axolotl: planned batches, seeded steps, an exact validation loss and sealed checkpoints.

The plugin puts the class before Axolotl's trainer:

    class OnedayTrainer(ExactTrainer, AxolotlTrainer): ...

Where it sits: inside the child process, between the plugin and Hugging Face's training loop.
"""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import BatchSampler

from core.model.token_ids import IGNORED_LABEL
from harness.checkpoint.seal import SAVING, save_sealed
from harness.data.pack import Bin, PackPlan, pack_in_order
from harness.inside.callback import BudgetCallback
from harness.inside.ema import MovingAverage
from harness.inside.events import EvaluationHalved, now
from harness.inside.neftune import PerSampleNoise, lengths_of_samples

Base: Any = object  # in the plugin's class, Axolotl's trainer follows


class PlannedBatches(BatchSampler):
    """Serves the micro-batches of the batch order.

    Args:
        shape: The form in which Axolotl takes a micro-batch: `rows` is a list of row numbers, `bins` a list of bins,
            `joined` a single bin with all rows.
    """

    def __init__(self, batches: Sequence[Sequence[Bin]], shape: str) -> None:
        self.batches, self.shape = batches, shape
        self.sampler, self.batch_size, self.drop_last = range(len(batches)), 1, False

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Any]:
        for batch in self.batches:
            rows = [row for rows_of_bin in batch for row in rows_of_bin]
            yield {"rows": rows, "bins": [list(rows_of_bin) for rows_of_bin in batch], "joined": [rows]}[self.shape]


class ExactTrainer(Base):  # type: ignore[misc]
    """A mixin that overrides methods of Hugging Face's trainer. The plugin sets its attributes."""

    budget: BudgetCallback
    packs: PackPlan | None = None
    noise: PerSampleNoise | None = None
    ema: MovingAverage | None = None
    run_id: str = ""
    compute_loss_func: Any
    save_total_limit: int = 10
    _step, _micro = -1, 0

    # --- batches

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        if self.packs is None:
            return super()._get_train_sampler(train_dataset)
        return PlannedBatches(self.packs.micro_batches, self._shape(packed=self.args.sample_packing))

    def _get_eval_sampler(self, eval_dataset: Any = None) -> Any:
        """Evaluates every row in order; Axolotl drops the rows of the last bins."""
        if self.packs is None or not (self.args.sample_packing and self.args.eval_sample_packing is not False):
            return super()._get_eval_sampler(eval_dataset)
        batches = pack_in_order(
            lengths_of(eval_dataset),
            capacity=self.packs.capacity,
            bins_per_batch=self.args.per_device_train_batch_size,
        )
        return PlannedBatches(batches, self._shape(packed=True))

    def _shape(self, *, packed: bool) -> str:
        if not packed:
            return "rows"
        return "bins" if self.args.multipack_real_batches else "joined"

    # --- steps

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
        """Seeds torch so that randomness depends only on (seed, step, micro-step), and logs the micro-batch."""
        if self.state.global_step != self._step:
            self._step, self._micro = self.state.global_step, 0
            self.budget.log.clear()
        torch.manual_seed(micro_step_seed(self.args.seed, self._step, self._micro))
        self._micro += 1
        if self.noise is not None:
            self.noise.lengths = lengths_of_samples(inputs)
        num_tokens = num_real_tokens(inputs, self.processing_class.pad_token_id)
        digest = batch_digest(inputs)
        loss = super().training_step(model, inputs, num_items_in_batch)
        self.budget.add_micro_batch(digest, loss.detach(), num_tokens)
        return loss

    # --- evaluation

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> Any:
        """Adds the token-weighted loss and the number of answer tokens to the metrics."""
        self._summed_loss, self._num_answer_tokens = 0.0, 0
        self.budget.begin_phase("evaluate")
        if self.noise is not None:
            self.noise.lengths = None
        loss_of_training, self.compute_loss_func = self.compute_loss_func, None  # one measure, whatever is trained
        output = super().evaluation_loop(*args, **kwargs)
        self.compute_loss_func = loss_of_training
        output.metrics["eval_validation_loss"] = self._summed_loss / max(1, self._num_answer_tokens)
        output.metrics["eval_answer_tokens"] = self._num_answer_tokens
        return output

    def prediction_step(self, model: Any, inputs: Any, prediction_loss_only: bool, ignore_keys: Any = None) -> Any:
        """Sums the loss over answer tokens. A batch that does not fit the card's memory is split in two."""
        summed, num_tokens = self._summed_loss_of(model, inputs, ignore_keys)
        self._summed_loss += summed
        self._num_answer_tokens += num_tokens
        return torch.tensor(summed / max(1, num_tokens), device=self.args.device), None, None

    def _summed_loss_of(self, model: Any, inputs: Any, ignore_keys: Any) -> tuple[float, int]:
        num_tokens = int((inputs["labels"][..., 1:] != IGNORED_LABEL).sum())
        if num_tokens == 0:
            return 0.0, 0
        try:
            loss = super().prediction_step(model, inputs, True, ignore_keys=ignore_keys)[0]
            return float(loss) * num_tokens, num_tokens
        except torch.OutOfMemoryError:
            parts = split_batch(inputs)
            if len(parts) < 2:
                raise
            self.budget.events.emit(EvaluationHalved(**now(), step=self.state.global_step))
        torch.cuda.empty_cache()
        losses = [self._summed_loss_of(model, part, ignore_keys) for part in parts]
        return sum(loss for loss, _ in losses), sum(num for _, num in losses)

    # --- saves

    def _get_output_dir(self, trial: Any = None) -> str:
        """The temporary folder of a checkpoint, which is renamed once the checkpoint is complete."""
        return str(Path(self.args.output_dir) / SAVING)

    def _save_checkpoint(self, model: Any, trial: Any = None) -> None:
        self.budget.begin_phase("save")
        step = self.state.global_step
        upstream = super()._save_checkpoint

        def write() -> None:
            upstream(model, trial)
            if self.ema is not None:
                self.ema.save(Path(self._get_output_dir()) / f"checkpoint-{step}")

        saved = save_sealed(
            Path(self.args.output_dir),
            write,
            step=step,
            validation_loss=self.budget.loss_at(step),
            run_id=self.run_id,
            save_total_limit=self.save_total_limit,
        )
        self.budget.report_save(step, saved)


def lengths_of(dataset: Any) -> list[int]:
    """Number of tokens of each row."""
    return list(dataset.data.column("length").to_pylist())


def micro_step_seed(seed: int, step: int, micro: int) -> int:
    """The seed of torch's generator at the start of a micro-step."""
    return int.from_bytes(hashlib.sha256(f"{seed}-{step}-{micro}".encode()).digest()[:8], "big") >> 1


def batch_digest(inputs: Any) -> bytes:
    """SHA-256 of the token ids, labels and position ids of a batch, and of the mask that says which tokens answer."""
    digest = hashlib.sha256()
    for name in ("input_ids", "labels", "position_ids", "completion_mask"):
        if inputs.get(name) is not None:
            digest.update(inputs[name].to("cpu", torch.int64).numpy().tobytes())
    return digest.digest()


def num_real_tokens(inputs: Any, pad_token_id: int) -> int:
    """Number of tokens of a batch without padding."""
    mask = inputs.get("attention_mask")
    return int((mask != 0).sum() if mask is not None else (inputs["input_ids"] != pad_token_id).sum())


def split_batch(inputs: Any) -> list[dict[str, Any]]:
    """Splits a batch in two between rows, or between the samples of a single row.

    The result has one part if the batch cannot be split.
    """
    num_rows, num_tokens = inputs["input_ids"].shape
    if num_rows > 1:
        dimension, cut, end = 0, num_rows // 2, num_rows
    else:
        starts = _sample_starts(inputs)
        if not starts:
            return [dict(inputs)]
        dimension, cut, end = 1, min(starts, key=lambda start: abs(start - num_tokens // 2)), num_tokens
    return [{key: _part(value, dimension, a, b) for key, value in inputs.items()} for a, b in ((0, cut), (cut, end))]


def _sample_starts(inputs: Any) -> list[int]:
    """The indices at which the samples of the first row begin, except for the first sample."""
    positions = inputs.get("position_ids")
    if positions is None:
        return []
    return [int(start) for start in (positions[0] == 0).nonzero().flatten() if start > 0]


def _part(value: Any, dimension: int, start: int, end: int) -> Any:
    return value.narrow(dimension, start, end - start) if isinstance(value, torch.Tensor) else value
