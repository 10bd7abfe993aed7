"""Which examples are kept for validation.

    >>> sorted(validation_groups(["a", "b", "c", "d"], SplitParameters(validation_share=0.5), seed=1))
    ['a', 'c']

Where it sits: **split** -> own_mix.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from core.errors import DataError

MOST_BY_DEFAULT = 512
"""Examples that are validated on if no share was given: more take time at every evaluation and move the loss little."""

DEFAULT_SHARE = 0.05

LEAST_BY_DEFAULT = 16
"""Examples, if that is at most a quarter of all: the loss of fewer says little."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitParameters:
    """How many examples are kept for validation."""

    validation_share: float | None = None
    """None: 0.05, at least 16 examples unless that is more than a quarter, and at most 512."""

    def __post_init__(self) -> None:
        if self.validation_share is not None and not 0 < self.validation_share < 1:
            raise DataError(f"`validation_share={self.validation_share:g}`: not between 0 and 1. 0.05 is usual.")


def validation_groups(groups: Sequence[str], parameters: SplitParameters, *, seed: int) -> frozenset[str]:
    """A random part of the groups: at least one, and never all.

    Args:
        groups: At least two, sorted.
    """
    share = parameters.validation_share or DEFAULT_SHARE
    num = max(1, min(round(share * len(groups)), len(groups) - 1))
    if parameters.validation_share is None:
        num = max(min(num, MOST_BY_DEFAULT), min(LEAST_BY_DEFAULT, len(groups) // 4))
    return frozenset(random.Random(f"validation-{seed}").sample(list(groups), num))
