"""A learning rate from a published formula: a function of the model's width, its family and the adapter's scale.

    >>> llama = {"model_type": "llama", "hidden_size": 4096}
    >>> f"{formula_rate(llama, is_adapter=True, alpha=32).rate:.2e}"
    '2.86e-04'
    >>> f"{formula_rate(llama, is_adapter=True, alpha=256).rate:.2e}"
    '3.57e-05'

The formula was fitted to LoRA at alpha 32 on supervised data: 5e-5 x 10 x (2000 / width)^e. Adam's steps do not depend
on the size of the gradient, so the adapter's change grows with rate times alpha, and another alpha has another rate.
Source: tinker-cookbook, `get_lr` of its releases before the sweep of 2026, which has 3e-4 for Llama-3.1-8B.

Where it sits: a recipe with `learning_rate: auto` -> **rate** -> probes (harness/rate_probe.py).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

BASE_RATE, OF_ADAPTERS, WIDTH, ALPHA = 5e-5, 10.0, 2_000, 32
"""Of all weights at the width; the factor of an adapter; and the alpha that it was fitted at."""

EXPONENTS = {"llama": 0.781, "mistral": 0.781, "qwen2": 0.0775, "qwen3": 0.0775}
"""By `model_type`. The formula was fitted to Llama and Qwen; Mistral has Llama's layers."""

SIGNIFICANT = 3
"""Digits of a rate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FormulaRate:
    """The formula's answer."""

    rate: float
    is_calibrated: bool
    """Whether the model's family is one that the formula was fitted to."""


def formula_rate(
    config: Mapping[str, object], *, is_adapter: bool, alpha: float | None = None, rank: int | None = None
) -> FormulaRate:
    """The rate for a base.

    Args:
        config: The base's `config.json`.
        alpha: The adapter's `lora_alpha`.
        rank: The adapter's rank if its scale is alpha / sqrt(rank), else None.
    """
    family, width = config.get("model_type"), float(str(config.get("hidden_size") or WIDTH))
    rate = BASE_RATE * (WIDTH / width) ** EXPONENTS.get(str(family), EXPONENTS["llama"])
    if is_adapter:
        rate *= OF_ADAPTERS * ALPHA / ((alpha or ALPHA) * (math.sqrt(rank) if rank else 1.0))
    return FormulaRate(rate=float(f"{rate:.{SIGNIFICANT - 1}e}"), is_calibrated=family in EXPONENTS)
