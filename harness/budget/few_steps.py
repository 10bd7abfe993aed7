"""A run of a few steps: said before its clock starts, with the settings that make more of the same rows.

    few_steps(recipe, lengths=[120] * 43, num_steps=1)     # "1 step in all: 5,160 tokens a pass, 49,152 a step. ..."

Recipes are made for mixes of 200,000 rows: one step of theirs takes as many tokens as hundreds of one's own rows have.

Where it sits: pack plan -> **few steps** -> plan, rehearsal.
"""

import math
from collections.abc import Sequence

from harness.recipe import AxolotlConfig

MIN_STEPS = 30
"""Steps. Chosen, not measured: of fewer, a tenth of which warms up, a cosine leaves a handful near its peak."""

MIN_SEQUENCE_LEN = 512
"""Tokens of a sequence that is worth a step of its own."""


def few_steps(recipe: AxolotlConfig, lengths: Sequence[int], num_steps: int) -> str:
    """What is wrong and what mends it; empty where a run has steps enough.

    Args:
        lengths: Tokens of each training row.
        num_steps: Of all epochs.
    """
    if num_steps >= MIN_STEPS:
        return ""
    per_step = recipe.sequence_len * recipe.micro_batch_size * recipe.gradient_accumulation_steps
    length = min(recipe.sequence_len, max(MIN_SEQUENCE_LEN, 2 ** math.ceil(math.log2(max(lengths)))))
    more = math.ceil(math.ceil(sum(lengths) / length) * recipe.num_epochs)
    ways = [
        f"sequence_len: {length}, micro_batch_size: 1 and gradient_accumulation_steps: 1 in a copy of the recipe "
        f"(`config=`) make about {more} of the same rows"
    ] * (more > num_steps)
    ways += ["raise num_epochs", "give more rows"]
    steps = f"{num_steps} step{'s' * (num_steps != 1)} in all"
    return f"{steps}: {sum(lengths):,} tokens a pass, {per_step:,} a step. Too few to learn much: {'; or '.join(ways)}"
