"""Base against tuned on the same instances: means by group and a paired bootstrap interval of the difference.

    compare([Pair(group="unsolved", base=0.0, tuned=1.0), ...], seed=2023)

Where it sits: after the picker; demo and report show it.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from core.comparison import OVERALL, Comparison

NUM_RESAMPLES = 9_999
_BATCH = 500
"""Resamples that are drawn together. The figures are those of `scipy.stats.bootstrap`, at any size of the batch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One instance, scored for both models. Scores in [0, 1]."""

    group: str
    base: float
    tuned: float


def compare(pairs: Sequence[Pair], *, seed: int) -> list[Comparison]:
    """Every group in order of first appearance, then all together."""
    groups: dict[str, list[Pair]] = defaultdict(list)
    for pair in pairs:
        groups[pair.group].append(pair)
    return [_compare(name, members, seed) for name, members in [*groups.items(), (OVERALL, list(pairs))]]


def _compare(group: str, pairs: Sequence[Pair], seed: int) -> Comparison:
    """Resamples instances, so that a pair stays a pair."""
    import numpy as np

    assert pairs
    differences = np.array([pair.tuned - pair.base for pair in pairs])
    rng, num = np.random.default_rng(seed), len(differences)
    batches = [min(_BATCH, NUM_RESAMPLES - start) for start in range(0, NUM_RESAMPLES, _BATCH)]
    means = np.concatenate([differences[rng.integers(0, num, (size, num))].mean(axis=1) for size in batches])
    low, high = np.percentile(means, [2.5, 97.5])
    one_sided = min((means <= 0).mean(), (means >= 0).mean())
    return Comparison(
        group=group,
        num=len(pairs),
        base=round(float(np.mean([pair.base for pair in pairs])), 4),
        tuned=round(float(np.mean([pair.tuned for pair in pairs])), 4),
        low=round(float(low), 4),
        high=round(float(high), 4),
        p=round(min(1.0, 2 * max(float(one_sided), 1 / (NUM_RESAMPLES + 1))), 5),
    )
