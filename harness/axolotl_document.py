"""The YAML that Axolotl is started with: a recipe, and what one run adds to it.

    write_config(path, recipe, RunSettings(base_model=..., ...), card)

Where it sits: recipe + mix + card -> **document** -> axolotl_process.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from core.files import write_text
from harness.budget.gpu_profile import GpuProfile
from harness.recipe import AxolotlConfig, with_attention

LIGER_PLUGIN = "axolotl.integrations.liger.LigerPlugin"


PLUGIN = "harness.inside.plugin.OnedayPlugin"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """What one run adds to a recipe."""

    base_model: Path
    train_file: Path
    validation_file: Path
    output_dir: Path
    events: Path
    """Where the plugin reports to."""
    plan: Path
    packs: Path
    batches: Path
    """Where each step's batch hash, rate and loss are logged."""
    num_steps: int
    """That the pack plan holds."""
    deadline: float
    """On the uptime clock: when training, its last evaluation and its last save must be over."""
    job: str = ""
    """Names the run in the seal of its checkpoints."""
    follow_plan: bool = False
    eval_s: float = 0.0
    """Measured in the rehearsal."""
    save_s: float = 0.0
    """Measured in the rehearsal."""
    rehearsal: bool = False
    resume_from: Path | None = None
    tracking: Mapping[str, Any] = field(default_factory=dict)
    """Axolotl's keys of the trackers that were asked for."""


def axolotl_document(recipe: AxolotlConfig, settings: RunSettings, card: GpuProfile) -> dict[str, Any]:
    """The whole configuration that Axolotl reads."""
    recipe = with_attention(recipe, card)
    document = recipe.model_dump(exclude_none=True, exclude=set(_OURS))

    def dataset(path: Path) -> dict[str, Any]:
        """Rows of ids, which our plugin reads."""
        return {"path": str(path), "ds_type": "parquet", "split": "train"}

    if recipe.overrides_of_model_config is not None:
        document["overrides_of_model_config"] = dict(recipe.overrides_of_model_config)  # a null there means something
    document |= {
        "base_model": str(settings.base_model),
        "datasets": [dataset(settings.train_file)],
        "test_datasets": [dataset(settings.validation_file)],
        "output_dir": str(settings.output_dir),
        # The plugin rotates: Axolotl's own rotation may delete the best, and keeps 4 when no limit is given.
        "save_total_limit": 1_000_000,
        # The pack plan holds every epoch, so that a step's number alone says what it trains on.
        "num_epochs": 1,
        "max_steps": settings.num_steps,
        "shuffle_merged_datasets": False,
        "load_best_model_at_end": False,
        "include_tokens_per_second": False,
        "dataloader_num_workers": 0,
        "dataloader_prefetch_factor": None,
        "plugins": [*([LIGER_PLUGIN] if recipe.uses_liger else []), PLUGIN],
        **_ours(recipe, settings),
    }
    if recipe.neftune_mode == "per_sample" and recipe.neftune_noise_alpha:
        document["oneday_neftune"] = document.pop("neftune_noise_alpha")
    document |= settings.tracking
    if settings.resume_from is not None:
        document["resume_from_checkpoint"] = str(settings.resume_from)
    if card.is_gpu:
        document["oneday_memory_gib"] = card.memory_gib
    else:
        document |= {"lora_qkv_kernel": False, "lora_o_kernel": False, "lora_mlp_kernel": False}
        document |= {"dataloader_pin_memory": False}
        document |= {"bf16": False, "fp16": False}  # `auto` would be fp16, which most CPUs emulate
    return {key: value for key, value in document.items() if value is not None or key == "dataloader_prefetch_factor"}


def _ours(recipe: AxolotlConfig, settings: RunSettings) -> dict[str, Any]:
    """What the plugin is told."""
    return {
        "oneday_events": str(settings.events),
        "oneday_plan": str(settings.plan),
        "oneday_packs": str(settings.packs),
        "oneday_batches": str(settings.batches),
        "oneday_deadline": settings.deadline,
        "oneday_keep": recipe.save_total_limit,
        "oneday_job": settings.job,
        "oneday_follow_plan": settings.follow_plan,
        "oneday_rehearsal": settings.rehearsal,
        "oneday_token_weighted": recipe.gradient_accumulation_mode == "token_weighted",
        "oneday_eval_s": settings.eval_s,
        "oneday_save_s": settings.save_s,
    }


_OURS = ("neftune_mode", "gradient_accumulation_mode")
"""Recipe keys that Axolotl does not know; they become `oneday_...`."""


def write_config(path: Path, recipe: AxolotlConfig, settings: RunSettings, card: GpuProfile) -> None:
    """Writes the YAML that Axolotl is started with."""
    write_text(path, yaml.safe_dump(axolotl_document(recipe, settings, card), sort_keys=False))
