"""The objective of a recipe: what a step's loss is computed on.

    objective_of({"datasets": [{"path": "x.jsonl", "type": "alpaca"}]})      # Objective.SFT

Where it sits: keys -> **objective** -> recipe.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from harness.errors import ConfigError
from harness.keys.table import sources


class Objective(StrEnum):
    """What is learnt."""

    COMPLETION = "completion"
    """Every token of plain text."""
    SFT = "sft"
    """The answers to instructions, or the assistant's turns."""
    PREFERENCE = "preference"
    """To prefer a chosen answer to a rejected one."""


PAIRED = ("dpo", "ipo")
"""Values of `rl` that learn from pairs of answers to one prompt, against a reference."""

_NO_TRAINER: Mapping[str, str] = {
    "kto": "learns from single answers that are marked as good or bad",
    "orpo": "adds a preference to the loss of supervised training, without a reference",
    "simpo": "learns from pairs without a reference",
}
"""Values of `rl` that prefer answers too and have no trainer here, and how they differ."""

OTHERS: Mapping[str, str] = {
    "reward_model": "trains a reward model, which scores answers and writes none",
    "process_reward_model": "trains a process reward model, which scores steps and writes none",
    "diffusion": "trains a diffusion model, which does not write from left to right",
}
"""Keys that ask for an objective of another kind, and why there is no trainer for it."""

_TEXTS = ("completion", "pretrain")


def loss_unit(recipe: object) -> str:
    """What a validation loss is, in words.

    Args:
        recipe: As it stands in a manifest.
    """
    keys = recipe if isinstance(recipe, Mapping) else {}
    data, further = (keys.get(name) or {} for name in ("data", "further"))
    if further.get("rl") in PAIRED:
        return "mean of the pairs"
    return "nats per token" if objective_of({**data, **further}) is Objective.COMPLETION else "nats per answer token"


def objective_of(values: Mapping[str, Any]) -> Objective:
    """The objective that a recipe's keys ask for.

    Raises:
        ConfigError: one that the harness does not know.
    """
    for key, why in OTHERS.items():
        if values.get(key):
            raise ConfigError(f"{key}: {why}. Objectives are {', '.join(Objective)}.")
    asked = values.get("rl")
    if asked in (*PAIRED, *_NO_TRAINER):  # a list or mapping has no hash
        return Objective.PREFERENCE
    if asked:
        raise ConfigError(
            f"rl: {asked} generates answers during training, so that its batches cannot be planned. Objectives are "
            f"{', '.join(Objective)}."
        )
    kinds = [source.get("type") for source in sources(values, "datasets", "pretraining_dataset")]
    is_text = bool(kinds) and all(kind in _TEXTS for kind in kinds)
    return Objective.COMPLETION if is_text else Objective.SFT


def check_trained(objective: Objective, values: Mapping[str, Any]) -> None:
    """Refuses what has no trainer, and keys that its trainer would ignore.

    Raises:
        ConfigError: The objective has no trainer here, or a key asks for what it does not do.
    """
    if objective is not Objective.PREFERENCE:
        return
    asked = values["rl"]
    if asked in _NO_TRAINER:
        raise ConfigError(
            f"rl: {asked} {_NO_TRAINER[asked]}, which is not trained here. Pairs are trained, by rl: "
            f"{' and '.join(PAIRED)}."
        )
    if values.get("learning_rate") == "auto":
        raise ConfigError(
            f"learning_rate: auto with rl: {asked}: its formula is one of supervised training. Name a rate, as 5e-7."
        )
    for key, why in _IGNORED_BY_PAIRS.items():
        if values.get(key):
            raise ConfigError(f"{key} with rl: {asked}: {why}. Remove the key.")


_IGNORED_BY_PAIRS: Mapping[str, str] = {
    "neftune_noise_alpha": "Axolotl adds no noise under rl, and says nothing",
    "sample_packing": "pairs are not packed",
    "train_on_inputs": "a prompt bears no preference",
    "precompute_ref_log_probs": "the reference answers in every step, so that nothing is computed before the clock",
    "rl_adapter_ref_model": "the reference is the base of the run; begin from a parent with `init_from=`",
}
