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


TRAINED = (Objective.COMPLETION, Objective.SFT)
"""Objectives that the harness has a trainer for."""

OTHERS: Mapping[str, str] = {
    "reward_model": "trains a reward model, which scores answers and writes none",
    "process_reward_model": "trains a process reward model, which scores steps and writes none",
    "diffusion": "trains a diffusion model, which does not write from left to right",
}
"""Keys that ask for an objective of another kind, and why there is no trainer for it."""

_PREFERENCE = ("dpo", "ipo", "kto", "orpo", "simpo")
_TEXTS = ("completion", "pretrain")


def objective_of(values: Mapping[str, Any]) -> Objective:
    """The objective that a recipe's keys ask for.

    Raises:
        ConfigError: one that the harness does not know.
    """
    for key, why in OTHERS.items():
        if values.get(key):
            raise ConfigError(f"{key}: {why}. Objectives are {', '.join(Objective)}.")
    asked = values.get("rl")
    if asked in _PREFERENCE:
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
    """Refuses an objective that has no trainer yet.

    Raises:
        ConfigError: it has none.
    """
    if objective not in TRAINED:
        raise ConfigError(
            f"rl: {values['rl']} asks for the objective {objective}, which is not trained here yet. Trained are "
            f"{' and '.join(TRAINED)}."
        )
