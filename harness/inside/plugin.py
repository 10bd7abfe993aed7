"""What runs inside Axolotl: our hooks, in the order Axolotl calls them.

The only module that imports Axolotl; it is loaded by Axolotl itself (`plugins:` in the YAML that the harness writes)
and talks to the supervisor through one JSON-lines file of events. The supervisor insists on `registered` and
`plugin_alive`: Axolotl trains on in silence when a plugin fails to import.

Where it sits: inside the child process; harness/run.py is at the other end.
"""

import gc
from pathlib import Path
from typing import Any

import torch
from axolotl.common.datasets import TrainDatasetMeta
from axolotl.core.trainers import AxolotlTrainer
from axolotl.integrations.base import BasePlugin
from transformers import TrainerCallback, set_seed

from core.errors import OnedayError
from core.model.language_model import LanguageModel
from core.model.libraries import disable_cpu_repack, give_back
from core.model.weights import check_weights
from harness.budget.schedule import LRSchedule, read_segments
from harness.checkpoint.seal import checkpoint_folders
from harness.inside.callback import BudgetCallback, PlannedLR
from harness.inside.events import (
    CheckpointTest,
    Events,
    Isolation,
    Kernels,
    PluginAlive,
    PluginRegistered,
    TrackerFailed,
    now,
)
from harness.inside.kernels import kernel_paths
from harness.inside.neftune import PerSampleNoise
from harness.inside.rows import PACKED_WITHOUT_MASK, training_rows
from harness.inside.tracker_guard import guard_trackers
from harness.inside.trainer import ExactTrainer, lengths_of
from harness.pack import PackPlan, digest_of

PROBE_TOKENS = 32
"""Of each of the two samples whose isolation is proven."""


LARGER, CONTEXT_GIB = 1.1, 0.9
"""A card with so much more memory than planned is another one; what CUDA itself takes of a card."""


class OnedayTrainer(ExactTrainer, AxolotlTrainer):  # type: ignore[misc,unused-ignore]
    """Axolotl's trainer with ours before it."""


class OnedayPlugin(BasePlugin):  # type: ignore[misc,unused-ignore]
    """Axolotl's hooks."""

    callback: BudgetCallback

    def get_input_args(self) -> str:
        """Our own keys."""
        return "harness.inside.plugin_args.OnedayArgs"

    def register(self, cfg: Any) -> None:
        """What is imported by now is frozen: a garbage collection then takes 50 ms instead of 450."""
        gc.collect()
        gc.freeze()
        self.events = Events(Path(cfg["oneday_events"]))
        self.events.emit(PluginRegistered(**now()))

    def load_datasets(self, cfg: Any, preprocess: bool = False) -> TrainDatasetMeta:
        """The tokenised tables as they are.

        Axolotl takes rows of ids too, but walks through all of them in Python three times and copies them on disk.
        """
        train, validation = (
            training_rows(Path(given["path"]), packed=packed, masked=cfg.model_config_type not in PACKED_WITHOUT_MASK)
            for given, packed in (
                (cfg.datasets[0], bool(cfg.sample_packing)),
                (cfg.test_datasets[0], bool(cfg.sample_packing and cfg.eval_sample_packing is not False)),
            )
        )
        return TrainDatasetMeta(train_dataset=train, eval_dataset=validation, total_num_steps=cfg.max_steps)

    def pre_model_load(self, cfg: Any) -> None:
        """The sign of life: the configuration was read and the data loaded with this plugin in place.

        Axolotl would train on a base with missing weights: transformers gives them random values.
        """
        capped = cap_memory(cfg.oneday_memory_gib)
        alive = PluginAlive(**now(), attn_implementation=cfg.attn_implementation, memory_capped_gib=capped)
        self.events.emit(alive)
        check_weights(Path(cfg.base_model))

    def post_model_build(self, cfg: Any, model: Any) -> None:
        """See `disable_cpu_repack`: without it a CPU run loses its gradients after the first evaluation."""
        disable_cpu_repack(model)

    def pre_lora_load(self, cfg: Any, model: Any) -> None:
        """Axolotl leaves LoRA's random half unseeded."""
        set_seed(cfg.seed)

    def get_training_args(self, cfg: Any) -> dict[str, Any]:
        """A rehearsal evaluates before the first step: that is the base's loss. NaN losses are shown, not hidden."""
        return {"eval_on_start": bool(cfg.oneday_rehearsal), "logging_nan_inf_filter": False}

    def get_trainer_cls(self, cfg: Any) -> type[OnedayTrainer]:
        """Ours."""
        return OnedayTrainer

    def create_lr_scheduler(self, cfg: Any, trainer: Any, optimizer: Any, num_training_steps: int) -> PlannedLR:
        """The plan as the supervisor, or a run before, has written it."""
        self.callback.plan = LRSchedule(read_segments(Path(cfg.oneday_plan)))
        return PlannedLR(optimizer, self.callback.plan, cfg)

    def add_callbacks_pre_trainer(self, cfg: Any, model: Any) -> list[TrainerCallback]:
        """The budget."""
        self.callback = BudgetCallback(cfg, self.events, None)
        return [self.callback]

    def post_trainer_create(self, cfg: Any, trainer: Any) -> None:
        """Hands our trainer what it works with."""
        trainer.budget, trainer.job, trainer.keep = self.callback, cfg.oneday_job or "", cfg.oneday_keep
        trainer.packs = _packs(cfg, trainer)
        guard_trackers(trainer, lambda who, why: self.events.emit(TrackerFailed(**now(), tracker=who, why=why)))
        if cfg.oneday_token_weighted:
            trainer.model_accepts_loss_kwargs = True  # divide by the answer tokens of the whole step
        if cfg.oneday_neftune:
            trainer.noise = PerSampleNoise(cfg.oneday_neftune)
            trainer.model.get_input_embeddings().register_forward_hook(trainer.noise.hook)
        if cfg.oneday_rehearsal:
            if cfg.sample_packing:
                moved, spread = leak(trainer)
                self.events.emit(Isolation(**now(), moved=moved, spread=spread))
            self.events.emit(Kernels(**now(), paths=_paths(trainer)))

    def post_train_unload(self, cfg: Any) -> None:
        """Gives the frozen objects back. A rehearsal then uses what it saved, as whoever serves it will."""
        gc.unfreeze()
        if cfg.oneday_rehearsal:
            self.events.emit(CheckpointTest(**now(), failed=checkpoint_failure(cfg)))


def cap_memory(card_gib: float | None) -> float | None:
    """On a card that is larger than the one planned for, uses no more than that one has; returns the cap in GiB."""
    if card_gib is None or not torch.cuda.is_available():
        return None
    total = torch.cuda.get_device_properties(0).total_memory / 2**30
    if total < LARGER * card_gib:
        return None
    cap = card_gib - CONTEXT_GIB
    torch.cuda.set_per_process_memory_fraction(cap / total)
    return round(cap, 2)


def checkpoint_failure(cfg: Any) -> str | None:
    """Loads the newest checkpoint onto a fresh base and generates one token; why that failed, or None."""
    checkpoint = checkpoint_folders(Path(cfg.output_dir))
    if not checkpoint:
        return "it saved no checkpoint"
    give_back()
    try:
        model = LanguageModel.load(
            Path(cfg.base_model), lora_adapter=checkpoint[-1], precision="4bit" if cfg.load_in_4bit else None
        )
        model.generate(["### Response:\n"], max_new_tokens=1)
    except OnedayError as e:
        return str(e)
    return None


def _packs(cfg: Any, trainer: Any) -> PackPlan:
    packs = PackPlan.read(Path(cfg.oneday_packs))
    lengths = lengths_of(trainer.train_dataset)
    if digest_of(lengths) != packs.lengths_sha256:
        raise RuntimeError(
            f"{cfg.datasets[0]['path']}: other rows than were packed ({len(lengths)} rows, {sum(lengths)} tokens). "
            "Begin anew with `redo=true`."
        )
    return packs


def _probe(trainer: Any) -> dict[str, Any]:
    """Two samples of the same tokens in one row, as the trainer's own collator lays them out."""
    dropped = {"length"} | ({"attention_mask"} if trainer.args.sample_packing_drop_attention_mask else set())
    row = {key: value[:PROBE_TOKENS] for key, value in trainer.train_dataset[0].items() if key not in dropped}
    batch = trainer.data_collator([[row, row]] if trainer.args.sample_packing else [row, row])
    width = (2 if trainer.args.sample_packing else 1) * len(row["input_ids"])
    return {key: value[:1, :width] for key, value in batch.items()}


def _paths(trainer: Any) -> dict[str, list[str]]:
    """What runs in a training step's forward pass."""

    def forward() -> None:
        with trainer.compute_loss_context_manager():
            trainer.model(**trainer._prepare_inputs(_probe(trainer)))

    trainer.model.train()
    return kernel_paths(forward)


def leak(trainer: Any) -> tuple[float, float]:
    """How far the logits of one sample move when its packed neighbour changes, and their standard deviation.

    The probe's row goes through the model twice. Attention that keeps samples apart moves nothing; Axolotl's default
    moves logits of deviation .22 by .77.
    """
    batch = _probe(trainer)
    batch.pop("labels")
    num_tokens = batch["input_ids"].shape[1] // 2
    other = {key: value.clone() for key, value in batch.items()}
    other["input_ids"][:, 1:num_tokens] = (other["input_ids"][:, 1:num_tokens] + 1) % trainer.model.config.vocab_size
    was_training = trainer.model.training
    trainer.model.eval()
    with torch.no_grad(), trainer.compute_loss_context_manager():
        a, b = (
            trainer.model(**trainer._prepare_inputs(inputs)).logits[:, num_tokens:].float() for inputs in (batch, other)
        )
    trainer.model.train(was_training)
    return float((a - b).abs().max()), float(a.std())
