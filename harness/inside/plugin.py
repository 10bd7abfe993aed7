"""The Axolotl plugin, with its hooks in the order in which Axolotl calls them.

This is the only module that imports Axolotl. Axolotl loads it because `plugins:` in the YAML names it, and it reports
to the supervisor through a JSON-lines file of events. The supervisor requires the events `registered` and
`plugin_alive`, because Axolotl trains without a message if a plugin fails to import.

Where it sits: inside the child process; harness/supervise.py reads its events.
"""

import gc
from pathlib import Path
from typing import Any

import torch
from axolotl.common.datasets import TrainDatasetMeta
from axolotl.core.trainers import AxolotlTrainer
from axolotl.core.trainers.dpo.trainer import AxolotlDPOTrainer
from axolotl.integrations.base import BasePlugin
from transformers import TrainerCallback, set_seed

from core.errors import OnedayError
from core.model.language_model import LanguageModel
from core.model.libraries import disable_cpu_repack, give_back
from core.model.quantisation import Precision
from core.model.weights import check_weights
from harness.budget.curve import Curve
from harness.budget.schedule import LRSchedule, read_segments
from harness.checkpoint.seal import checkpoint_folders
from harness.data.pack import PackPlan, digest_of
from harness.inside.callback import BudgetCallback, PlannedLR
from harness.inside.ema import MovingAverage
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
from harness.inside.pairs import PairCollator, PairTrainer, pair_rows
from harness.inside.rows import PACKED_WITHOUT_MASK, training_rows
from harness.inside.tracker_guard import guard_trackers
from harness.inside.trainer import ExactTrainer, lengths_of

PROBE_TOKENS = 32
"""Length of each of the two samples whose isolation is measured."""

LARGER_CARD, CONTEXT_GIB = 1.1, 0.9
"""Ratio of memory above which a card is larger than the planned one, and the memory that CUDA's context takes."""


class OnedayTrainer(ExactTrainer, AxolotlTrainer):  # type: ignore[misc,unused-ignore]
    """Axolotl's trainer with the methods of `ExactTrainer`."""


class OnedayPairTrainer(PairTrainer, AxolotlDPOTrainer):  # type: ignore[misc,unused-ignore]
    """Axolotl's trainer of preferences with the methods of `PairTrainer`."""


class OnedayPlugin(BasePlugin):  # type: ignore[misc,unused-ignore]
    """The hooks that Axolotl calls."""

    callback: BudgetCallback

    def get_input_args(self) -> str:
        """The schema of the plugin's own keys."""
        return "harness.inside.plugin_args.OnedayArgs"

    def register(self, cfg: Any) -> None:
        """Excludes all imported objects from garbage collection, which then takes 50 ms instead of 450."""
        gc.collect()
        gc.freeze()
        self.events = Events(Path(cfg["oneday_events"]))
        self.events.emit(PluginRegistered(**now()))

    def load_datasets(self, cfg: Any, preprocess: bool = False) -> TrainDatasetMeta:
        """Loads the tokenised tables directly.

        Axolotl could read token ids too, but it would iterate over them three times in Python and copy them on disk.
        """
        if cfg.rl:
            train, validation = (pair_rows(Path(of[0]["path"])) for of in (cfg.datasets, cfg.test_datasets))
            return TrainDatasetMeta(train_dataset=train, eval_dataset=validation, total_num_steps=cfg.max_steps)
        train, validation = (
            training_rows(Path(given["path"]), packed=packed, masked=cfg.model_config_type not in PACKED_WITHOUT_MASK)
            for given, packed in (
                (cfg.datasets[0], bool(cfg.sample_packing)),
                (cfg.test_datasets[0], bool(cfg.sample_packing and cfg.eval_sample_packing is not False)),
            )
        )
        return TrainDatasetMeta(train_dataset=train, eval_dataset=validation, total_num_steps=cfg.max_steps)

    def pre_model_load(self, cfg: Any) -> None:
        """Reports that the configuration and the data were loaded with this plugin, and checks the base's weights.

        Without the check Axolotl would train a base with missing weights, which transformers initialises randomly. In 8
        bits Axolotl loads everything else in fp16 unless bf16 is set. A module of `lora_modules_to_save` would then be
        trained in fp16, where Adam's epsilon is 0: its weights became NaN in the first step.
        """
        if cfg.load_in_8bit and not (cfg.bf16 or cfg.bfloat16 or cfg.fp16 or cfg.float16):
            cfg.torch_dtype = torch.float32
        cap_gib = cap_memory(cfg.oneday_memory_gib)
        alive = PluginAlive(**now(), attn_implementation=cfg.attn_implementation, memory_capped_gib=cap_gib)
        self.events.emit(alive)
        check_weights(Path(cfg.base_model))

    def post_model_build(self, cfg: Any, model: Any) -> None:
        """Disables a CPU optimisation that loses the gradients after the first evaluation (`disable_cpu_repack`)."""
        disable_cpu_repack(model)

    def pre_lora_load(self, cfg: Any, model: Any) -> None:
        """Seeds the random initialisation of LoRA, which Axolotl leaves unseeded."""
        set_seed(cfg.seed)

    def get_training_args(self, cfg: Any) -> dict[str, Any]:
        """Keeps NaN losses visible and the last validation rows, and lets a rehearsal evaluate the base first.

        With `eval_sample_packing: false` Axolotl drops the rows that do not fill the last batch.
        """
        return {
            "eval_on_start": bool(cfg.oneday_rehearsal),
            "logging_nan_inf_filter": False,
            "dataloader_drop_last": False,
        }

    def get_trainer_cls(self, cfg: Any) -> type[OnedayTrainer] | None:
        """The trainer class for Axolotl to use; None under `rl`, where `trainer_cls` names it."""
        return None if cfg.rl else OnedayTrainer

    def create_lr_scheduler(self, cfg: Any, trainer: Any, optimizer: Any, num_training_steps: int) -> PlannedLR:
        """The learning rate by the plan file, which the supervisor or an earlier run has written."""
        self.callback.schedule = LRSchedule(read_segments(Path(cfg.oneday_plan)))
        return PlannedLR(optimizer, self.callback.schedule, Curve(**dict(cfg.oneday_curve)))

    def add_callbacks_pre_trainer(self, cfg: Any, model: Any) -> list[TrainerCallback]:
        """Adds the budget callback."""
        self.callback = BudgetCallback(cfg, self.events, None)
        return [self.callback]

    def post_trainer_create(self, cfg: Any, trainer: Any) -> None:
        """Sets up the trainer: budget, batches, trackers and noise. A rehearsal also measures isolation and kernels."""
        trainer.budget, trainer.run_id, trainer.save_total_limit = self.callback, cfg.oneday_job or "", cfg.oneday_keep
        trainer.packs = _packs(cfg, trainer)
        if cfg.rl:
            trainer.data_collator = PairCollator(trainer.processing_class.pad_token_id)
        guard_trackers(trainer, lambda name, why: self.events.emit(TrackerFailed(**now(), tracker=name, why=why)))
        if cfg.oneday_token_weighted:
            trainer.model_accepts_loss_kwargs = True  # divide by the answer tokens of the whole step
        if cfg.oneday_neftune:
            trainer.noise = PerSampleNoise(cfg.oneday_neftune)
            trainer.model.get_input_embeddings().register_forward_hook(trainer.noise.hook)
        if cfg.oneday_ema:
            trainer.ema = MovingAverage(trainer.model, decay=cfg.oneday_ema, resume_from=cfg.resume_from_checkpoint)
            trainer.add_callback(trainer.ema)
        if cfg.oneday_rehearsal:
            if cfg.sample_packing:
                moved, spread = logit_shift(trainer)
                self.events.emit(Isolation(**now(), moved=moved, spread=spread))
            self.events.emit(Kernels(**now(), paths=_kernels(trainer)))

    def post_train_unload(self, cfg: Any) -> None:
        """Returns the excluded objects to garbage collection. A rehearsal then tests its checkpoint."""
        gc.unfreeze()
        if cfg.oneday_rehearsal:
            self.events.emit(CheckpointTest(**now(), failed=checkpoint_failure(cfg)))


def cap_memory(card_gib: float | None) -> float | None:
    """On a card larger than the planned one, limits torch to the planned card's memory; returns the limit in GiB."""
    if card_gib is None or not torch.cuda.is_available():
        return None
    total = torch.cuda.get_device_properties(0).total_memory / 2**30
    if total < LARGER_CARD * card_gib:
        return None
    cap = card_gib - CONTEXT_GIB
    torch.cuda.set_per_process_memory_fraction(cap / total)
    return round(cap, 2)


def checkpoint_failure(cfg: Any) -> str | None:
    """Loads the newest checkpoint, an adapter onto a new base, and generates a token; returns the error, or None."""
    checkpoints = checkpoint_folders(Path(cfg.output_dir))
    if not checkpoints:
        return "no checkpoint was saved"
    give_back()
    newest = checkpoints[-1]
    precision: Precision | None = "4bit" if cfg.load_in_4bit else "8bit" if cfg.load_in_8bit else None
    try:
        if cfg.adapter:
            model = LanguageModel.load(Path(cfg.base_model), lora_adapter=newest, precision=precision)
        else:
            model = LanguageModel.load(newest)
        model.generate(["### Response:\n"], max_new_tokens=1)
    except OnedayError as e:
        return str(e)
    return None


def _packs(cfg: Any, trainer: Any) -> PackPlan:
    packs = PackPlan.read(Path(cfg.oneday_packs))
    lengths = lengths_of(trainer.train_dataset)
    if digest_of(lengths) != packs.lengths_sha256:
        raise RuntimeError(
            f"{cfg.datasets[0]['path']}: these {len(lengths)} rows with {sum(lengths)} tokens are not those that were "
            "packed. Start again with `redo=true`."
        )
    return packs


def _probe(trainer: Any) -> dict[str, torch.Tensor]:
    """A batch of one row with two samples of the same tokens, made by the trainer's own collator; or of one pair."""
    if isinstance(trainer, PairTrainer):
        batch = trainer.data_collator([trainer.train_dataset[0]])
        return {key: batch[key][:, :PROBE_TOKENS] for key in ("input_ids", "attention_mask")}
    unused = {"length"} | ({"attention_mask"} if trainer.args.sample_packing_drop_attention_mask else set())
    row = {key: value[:PROBE_TOKENS] for key, value in trainer.train_dataset[0].items() if key not in unused}
    batch = trainer.data_collator([[row, row]] if trainer.args.sample_packing else [row, row])
    width = (2 if trainer.args.sample_packing else 1) * len(row["input_ids"])
    return {key: value[:1, :width] for key, value in batch.items()}


def _kernels(trainer: Any) -> dict[str, list[str]]:
    """The kernels of a training step's forward pass."""

    def forward() -> None:
        with trainer.compute_loss_context_manager():
            trainer.model(**trainer._prepare_inputs(_probe(trainer)))

    trainer.model.train()
    return kernel_paths(forward)


def logit_shift(trainer: Any) -> tuple[float, float]:
    """The largest change of one sample's logits when its packed neighbour changes, and the logits' standard deviation.

    The change is 0 if attention isolates packed samples. With Axolotl's default attention it was .77 at a standard
    deviation of .22.
    """
    batch = _probe(trainer)
    batch.pop("labels")
    num_tokens = batch["input_ids"].shape[1] // 2
    changed = {key: value.clone() for key, value in batch.items()}
    neighbour = changed["input_ids"][:, 1:num_tokens]
    changed["input_ids"][:, 1:num_tokens] = (neighbour + 1) % trainer.model.config.vocab_size
    was_training = trainer.model.training
    trainer.model.eval()
    with torch.no_grad(), trainer.compute_loss_context_manager():
        logits, shifted = (
            trainer.model(**trainer._prepare_inputs(inputs)).logits[:, num_tokens:].float()
            for inputs in (batch, changed)
        )
    trainer.model.train(was_training)
    return float((logits - shifted).abs().max()), float(logits.std())
