"""What runs inside Axolotl: our hooks, the seeded data order and the token-weighted validation loss.

The only module that imports Axolotl; it is loaded by Axolotl itself (`plugins:` in the YAML that the harness writes)
and talks to the supervisor through one JSON-lines file of events. The supervisor insists on `registered` and
`plugin_alive`: Axolotl trains on in silence when a plugin fails to import.

Where it sits: inside the child process; harness/run.py is at the other end.
"""

import gc
from pathlib import Path
from typing import Any

import torch
from axolotl.core.trainers import AxolotlTrainer
from axolotl.integrations.base import BasePlugin
from torch.utils.data import RandomSampler, Sampler
from transformers import TrainerCallback, set_seed

from curation.language_model import IGNORED_LABEL, disable_cpu_repack
from harness.budget_callback import BudgetCallback, Events, PlannedLR, read_segments, write_segment
from harness.schedule import Plan, Segment


class SeededOrder(Sampler[int]):
    """A permutation fixed by (seed, epoch). Axolotl's own draws from the global generator, which a resume changes."""

    def __init__(self, num_rows: int, seed: int) -> None:
        self.num_rows, self.seed, self.epoch = num_rows, seed, 0

    def __len__(self) -> int:
        return self.num_rows

    def __iter__(self) -> Any:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        return iter(torch.randperm(self.num_rows, generator=generator).tolist())


class TokenWeightedTrainer(AxolotlTrainer):  # type: ignore[misc,unused-ignore]
    """Adds `eval_validation_loss`: summed loss over answer tokens by their number. Upstream averages batch means."""

    def prediction_step(self, model: Any, inputs: Any, prediction_loss_only: bool, ignore_keys: Any = None) -> Any:
        """As upstream, and counts."""
        num_tokens = int((inputs["labels"][..., 1:] != IGNORED_LABEL).sum())
        output = super().prediction_step(model, inputs, prediction_loss_only, ignore_keys=ignore_keys)
        self._summed_loss += float(output[0]) * num_tokens
        self._num_answer_tokens += num_tokens
        return output

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> Any:
        """As upstream, with the token-weighted loss among the metrics."""
        self._summed_loss, self._num_answer_tokens = 0.0, 0
        output = super().evaluation_loop(*args, **kwargs)
        loss = self._summed_loss / max(1, self._num_answer_tokens)
        output.metrics["eval_validation_loss"] = loss
        output.metrics["eval_answer_tokens"] = self._num_answer_tokens
        return output


class OnedayPlugin(BasePlugin):  # type: ignore[misc,unused-ignore]
    """Axolotl's hooks, in the order Axolotl calls them."""

    callback: BudgetCallback

    def get_input_args(self) -> str:
        """Our own keys."""
        return "harness.plugin_args.OnedayArgs"

    def register(self, cfg: Any) -> None:
        """Axolotl collects garbage at every packing; frozen objects make that 50 ms instead of 450."""
        gc.collect()
        gc.freeze()
        self.events = Events(Path(cfg["oneday_events"]))
        self.events.emit("registered")

    def pre_model_load(self, cfg: Any) -> None:
        """The sign of life: the configuration was read and the data prepared with this plugin in place."""
        self.events.emit("plugin_alive", attn_implementation=cfg.attn_implementation)

    def post_model_build(self, cfg: Any, model: Any) -> None:
        """See `disable_cpu_repack`: without it a CPU run loses its gradients after the first evaluation."""
        disable_cpu_repack(model)

    def pre_lora_load(self, cfg: Any, model: Any) -> None:
        """Axolotl leaves LoRA's random half unseeded."""
        set_seed(cfg.seed)

    def get_training_args(self, cfg: Any) -> dict[str, Any]:
        """No evaluation before the first step, which has no checkpoint to pick; NaN losses are shown, not hidden."""
        return {"eval_on_start": False, "logging_nan_inf_filter": False}

    def get_trainer_cls(self, cfg: Any) -> type[TokenWeightedTrainer]:
        """Our evaluation."""
        return TokenWeightedTrainer

    def create_lr_scheduler(self, cfg: Any, trainer: Any, optimizer: Any, num_training_steps: int) -> PlannedLR:
        """The plan as read back from a run before, or a first one to the end of the epochs."""
        path = Path(cfg.oneday_plan)
        segments = read_segments(path)
        if not segments:
            segments = [Segment(step=0, progress=0.0, horizon=num_training_steps, reason="epochs")]
            write_segment(path, segments[0])
        self.callback.plan = Plan(segments)
        return PlannedLR(optimizer, self.callback.plan, cfg)

    def add_callbacks_pre_trainer(self, cfg: Any, model: Any) -> list[TrainerCallback]:
        """The budget."""
        self.callback = BudgetCallback(cfg, self.events, None)
        return [self.callback]

    def post_trainer_create(self, cfg: Any, trainer: Any) -> None:
        """Seeds the data order and keeps evaluation from dropping its last rows."""
        self._count_tokens(trainer)
        create = getattr(trainer, "_create_multipack_sampler", None)
        if create is None:
            return
        callback, events = self.callback, self.events

        def seeded(base_sampler: Any, dataset: Any) -> Any:
            if not isinstance(base_sampler, RandomSampler):
                packed = create(base_sampler=base_sampler, dataset=dataset)
                packed.drop_last, packed._batches = False, None
                packed._len_across_ranks = len(packed.generate_batches())
                return packed
            callback.sampler = SeededOrder(len(dataset), trainer.args.seed)
            callback.packed = packed = create(base_sampler=callback.sampler, dataset=dataset)
            # Epochs pack into slightly different numbers of batches. A fixed number, one below the least of four, keeps
            # resume aligned; the rows of the bins cut off come in other epochs.
            counts = []
            for epoch in range(4):
                callback.sampler.epoch, packed._batches = epoch, None
                counts.append(len(packed.generate_batches()))
            packed._len_across_ranks = max(1, min(counts) - (len(set(counts)) > 1))
            callback.sampler.epoch, packed._batches = 0, None
            events.emit(
                "packed", batches=packed._len_across_ranks, rows=len(dataset), efficiency=round(packed.efficiency(), 4)
            )
            packed._batches = None
            return packed

        trainer._create_multipack_sampler = seeded

    def _count_tokens(self, trainer: Any) -> None:
        """Counts the real (unpadded) tokens that each training micro-step sees."""
        callback, training_step = self.callback, trainer.training_step

        def counted(model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            callback.num_tokens += _num_real_tokens(inputs, trainer.processing_class)
            return training_step(model, inputs, *args, **kwargs)

        trainer.training_step = counted

    def post_train_unload(self, cfg: Any) -> None:
        """Gives the frozen objects back."""
        gc.unfreeze()


def _num_real_tokens(inputs: Any, tokenizer: Any) -> int:
    """Tokens of a packed batch without its padding."""
    mask = inputs.get("attention_mask")
    if mask is not None:
        return int((mask != 0).sum())
    return int((inputs["input_ids"] != tokenizer.pad_token_id).sum())
