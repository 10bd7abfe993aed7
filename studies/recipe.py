"""A stage as a recipe of the harness, which sorts and checks its keys as those of any Axolotl YAML.

    recipe_of(stage, seed=42).weights     # Weights.QLORA

Where it sits: stage -> **recipe** -> the trainings of a study; a dry run checks it too.
"""

from collections.abc import Mapping

from harness.errors import ConfigError
from harness.keys.table import KeyTable
from harness.recipe import AxolotlConfig
from harness.recipe import recipe_of as recipe_of_keys
from studies.errors import StudyError
from studies.stage import Kind, Stage

_SAME = (
    "lora_r", "lora_alpha", "lora_dropout", "learning_rate", "lr_scheduler", "warmup_steps", "num_epochs", "max_steps",
    "micro_batch_size", "gradient_accumulation_steps", "sequence_len", "sample_packing", "optimizer", "adam_beta1",
    "adam_beta2", "weight_decay", "max_grad_norm", "neftune_noise_alpha", "gradient_checkpointing", "eval_steps",
)  # fmt: skip
"""Keys of a stage that a recipe has under the same name."""


def recipe_of(stage: Stage, *, seed: int) -> AxolotlConfig:
    """The recipe.

    Raises:
        StudyError: the harness does not train this, or a key under `axolotl` is none of Axolotl's or is overruled.
    """
    check_keys(stage)
    try:
        return recipe_of_keys(KeyTable.of({**_keys(stage, seed), **stage.axolotl}))
    except ConfigError as e:
        raise StudyError(f"{stage.name}: {e}") from e


def _keys(stage: Stage, seed: int) -> Mapping[str, object]:
    settings = stage.settings()
    keys: dict[str, object] = {key: settings[key] for key in _SAME if key in settings}
    if stage.weights != "full":
        modules = list(stage.lora_target_modules)
        keys |= {"adapter": stage.weights, **({"lora_target_modules": modules} if modules else _ALL_LAYERS)}
    if stage.kind is Kind.DPO:
        keys |= {"rl": "dpo", "rl_beta": stage.beta}
    if stage.warmup_steps is None:
        keys["warmup_ratio"] = stage.warmup_ratio
    return {**keys, **_end(stage), "eval_sample_packing": stage.packs, "pad_to_sequence_len": stage.packs, "seed": seed}


_ALL_LAYERS = {"lora_target_linear": True}


def _end(stage: Stage) -> dict[str, object]:
    """The last learning rate: of a polynomial a rate, of the others a share of the peak."""
    if stage.lr_scheduler == "polynomial":
        return {"lr_scheduler_kwargs": {"lr_end": stage.lr_end * stage.learning_rate, "power": 1.0}}
    return {"cosine_min_lr_ratio": stage.lr_end} if stage.lr_end else {}


def check_keys(stage: Stage) -> None:
    """Refuses keys under `axolotl` that do nothing: those that Axolotl does not know or the day decides.

    Raises:
        StudyError: names the first one.
    """
    try:
        table = KeyTable.of(stage.axolotl)
    except ConfigError as e:
        raise StudyError(f"{stage.name}.axolotl: {e}") from e
    for key in stage.axolotl:
        if key in type(stage).model_fields:
            raise StudyError(f"{stage.name}.axolotl: '{key}' is a key of the stage itself. Write it beside `axolotl`.")
        if key in table.unknown:
            near = f" (did you mean {table.unknown[key]}?)" if table.unknown[key] else ""
            raise StudyError(f"{stage.name}.axolotl: unknown key '{key}'{near}. Correct the key.")
        if key in table.overruled:
            raise StudyError(f"{stage.name}.axolotl: '{key}': {table.overruled[key]}. Take the key away.")
