"""A warning about a run of few steps, before its clock starts, with settings that give more steps on the same rows.

    few_steps_warning(recipe, lengths=[120] * 43, num_steps=1)   # "1 step in all: 5,160 tokens per epoch, ..."

The recipes are made for mixes of 200,000 rows. One of their steps takes as many tokens as hundreds of rows have.

Where it sits: batch order -> **few steps** -> plan, rehearsal.
"""

import math
from collections.abc import Sequence

from harness.recipe import AxolotlConfig

MIN_STEPS = 30
"""Fewest steps without a warning. Chosen, not measured: with fewer steps, of which a tenth warm up, a cosine schedule
leaves only a handful near its peak."""

MIN_SEQUENCE_LEN = 512
"""Shortest sequence length that the warning suggests."""


def few_steps_warning(recipe: AxolotlConfig, lengths: Sequence[int], num_steps: int) -> str:
    """The problem and how to solve it; empty if the run has enough steps.

    Args:
        lengths: Number of tokens of each training row.
        num_steps: Number of steps of all epochs.
    """
    if num_steps >= MIN_STEPS:
        return ""
    per_step = recipe.sequence_len * recipe.micro_batch_size * recipe.gradient_accumulation_steps
    length = min(recipe.sequence_len, max(MIN_SEQUENCE_LEN, 2 ** math.ceil(math.log2(max(lengths)))))
    num_more = math.ceil(math.ceil(sum(lengths) / length) * recipe.num_epochs)
    ways = [
        f"sequence_len: {length}, micro_batch_size: 1 and gradient_accumulation_steps: 1 in a copy of the recipe "
        f"(`config=`) make about {num_more} of the same rows"
    ] * (num_more > num_steps and not recipe.max_steps)
    ways += ["raise max_steps"] if recipe.max_steps else ["raise num_epochs", "give more rows"]
    steps = f"{num_steps} step{'s' * (num_steps != 1)} in all"
    tokens = f"{sum(lengths):,} tokens per epoch, {per_step:,} per step"
    return f"{steps}: {tokens}. That is too few to learn much: {'; or '.join(ways)}"
