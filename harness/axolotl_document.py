"""The YAML file that Axolotl trains from: a recipe plus the settings of one run.

    write_config(path, recipe, RunSettings(base_model=..., ...), card)

Where it sits: recipe + mix + card -> **document** -> axolotl_process.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import yaml

from core.files import write_text
from harness.budget.gpu_profile import GpuProfile
from harness.recipe import AxolotlConfig, with_attention

LIGER_PLUGIN = "axolotl.integrations.liger.LigerPlugin"


PLUGIN = "harness.inside.plugin.OnedayPlugin"
PAIR_TRAINER = "harness.inside.plugin.OnedayPairTrainer"
"""Under `rl`, Axolotl builds the class that a plugin returns without a model, but one that this key names with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """The settings that one run adds to a recipe."""

    base_model: Path
    train_file: Path
    validation_file: Path
    output_dir: Path
    events: Path
    """File that the plugin appends its events to."""
    plan: Path
    packs: Path
    batches: Path
    """Log of each step's batch hash, learning rate and loss."""
    num_steps: int
    """Optimizer steps in the pack plan."""
    deadline: float
    """Time on the uptime clock by which training, its last evaluation and its last save must have ended."""
    run_id: str = ""
    """The run's identifier in the seals of its checkpoints."""
    follow_plan: bool = False
    pause_at: int = 0
    eval_s: float = 0.0
    """Duration of an evaluation in the rehearsal."""
    save_s: float = 0.0
    """Duration of a save in the rehearsal."""
    rehearsal: bool = False
    resume_from: Path | None = None
    tracking: Mapping[str, object] = field(default_factory=dict)
    """Axolotl's keys for the requested experiment trackers."""


def axolotl_document(recipe: AxolotlConfig, settings: RunSettings, card: GpuProfile) -> dict[str, object]:
    """The complete configuration that Axolotl reads."""
    recipe = with_attention(recipe, card, settings.base_model)
    left_out = {*_PLUGIN_ONLY_KEYS, *_DECIDED_BEFORE} | (set() if recipe.weights.is_adapter else _OF_ADAPTERS)
    document = recipe.model_dump(exclude_none=True, exclude=left_out)

    def dataset(path: Path) -> dict[str, str]:
        """A tokenised table, which our plugin reads."""
        return {"path": str(path), "ds_type": "parquet", "split": "train"}

    loads_liger = recipe.uses_liger and LIGER_PLUGIN not in recipe.plugins
    if recipe.overrides_of_model_config is not None:
        document["overrides_of_model_config"] = dict(recipe.overrides_of_model_config)  # keeps null values
    document |= {
        **recipe.further,
        "base_model": str(settings.base_model),
        "datasets": [dataset(settings.train_file)],
        "test_datasets": [dataset(settings.validation_file)],
        "output_dir": str(settings.output_dir),
        # The plugin deletes old checkpoints: Axolotl may delete the best one, and keeps 4 when no limit is given.
        "save_total_limit": 1_000_000,
        # The pack plan holds every epoch, so the batch of a step depends only on the step's number.
        "num_epochs": 1,
        "max_steps": settings.num_steps,
        "eval_steps": recipe.evaluation_interval,
        "save_steps": recipe.evaluation_interval,
        "lr_scheduler": "cosine",  # our plugin's scheduler replaces it
        "shuffle_merged_datasets": False,
        "load_best_model_at_end": False,
        "include_tokens_per_second": False,
        "dataloader_num_workers": 0,
        "dataloader_prefetch_factor": None,
        "plugins": [*([LIGER_PLUGIN] if loads_liger else []), *recipe.plugins, PLUGIN],
        **_plugin_keys(recipe, settings),
    }
    if recipe.neftune_mode == "per_sample" and recipe.neftune_noise_alpha:
        document["oneday_neftune"] = document.pop("neftune_noise_alpha")
    if recipe.is_paired:
        document |= {"trainer_cls": PAIR_TRAINER, "oneday_token_weighted": False}
    document |= settings.tracking
    if settings.resume_from is not None:
        document["resume_from_checkpoint"] = str(settings.resume_from)
    if card.is_gpu:
        document["oneday_memory_gib"] = card.memory_gib
    else:
        document |= {"lora_qkv_kernel": False, "lora_o_kernel": False, "lora_mlp_kernel": False}
        document |= {"dataloader_pin_memory": False}
        document |= {"tf32": False}
        document |= {"bf16": False, "fp16": False}  # `auto` selects fp16, which most CPUs emulate
    return {key: value for key, value in document.items() if value is not None or key == "dataloader_prefetch_factor"}


def _plugin_keys(recipe: AxolotlConfig, settings: RunSettings) -> dict[str, object]:
    """The keys that our plugin reads."""
    return {
        "oneday_events": str(settings.events),
        "oneday_plan": str(settings.plan),
        "oneday_curve": asdict(recipe.curve()),
        "oneday_packs": str(settings.packs),
        "oneday_batches": str(settings.batches),
        "oneday_deadline": settings.deadline,
        "oneday_keep": recipe.save_total_limit,
        "oneday_job": settings.run_id,
        "oneday_follow_plan": settings.follow_plan,
        "oneday_pause_at": settings.pause_at,
        "oneday_rehearsal": settings.rehearsal,
        "oneday_token_weighted": recipe.gradient_accumulation_mode == "token_weighted",
        "oneday_ema": recipe.ema_decay,
        "oneday_eval_s": settings.eval_s,
        "oneday_save_s": settings.save_s,
    }


_PLUGIN_ONLY_KEYS = ("neftune_mode", "gradient_accumulation_mode", "ema_decay")
"""Recipe keys that Axolotl does not know; they are passed to the plugin as `oneday_...` keys."""

_DECIDED_BEFORE = (
    "data", "further", "learning_rate_auto", "evals_per_epoch", "val_set_size", "train_on_inputs",
    "lr_scheduler_kwargs", "warmup_steps", "warmup_ratio", "lr_quadratic_warmup", "cosine_min_lr_ratio",
    "cosine_constant_lr_ratio",
)  # fmt: skip
"""Fields that became rows, labels, batches or the curve before the trainer starts."""

_OF_ADAPTERS = {name for name in AxolotlConfig.model_fields if name.startswith("lora_")}


def write_config(path: Path, recipe: AxolotlConfig, settings: RunSettings, card: GpuProfile) -> None:
    """Writes `axolotl_document` as YAML."""
    write_text(path, yaml.safe_dump(axolotl_document(recipe, settings, card), sort_keys=False))
