"""What asking is to reach: the rows that are wanted from NI tasks.

Where it sits: tasks + parameters -> **goal** -> rounds.
"""

import math
import sys

from curation.add import NI
from curation.asking.adaptive import Goal
from curation.sample import SampleParameters
from curation.sources.source import NI_EXACT_MATCH, NI_GENERATION
from curation.stages.context import Curation

ADDED_RESERVE = 2.0
"""Rows asked for per row that a share of tokens would need at equal lengths: rows may be half as long as own rows."""


def goal_of(curation: Curation, num_own_rows: int) -> Goal:
    """The goal of a curation.

    Args:
        num_own_rows: Number of own rows, asked or not.
    """
    p = curation.parameters
    assert p.adaptive is not None
    most = _most_rows(p.samples, num_own_rows)

    def weak_rows(source: str) -> int:
        rows = min(most, curation.targets.get(source, 0))
        return rows - round(rows * p.samples.retain_share)

    return Goal(
        exact_match_rows=weak_rows(NI_EXACT_MATCH), generation_rows=weak_rows(NI_GENERATION),
        samples=p.samples, buckets=p.buckets, parameters=p.adaptive,
    )  # fmt: skip


def _most_rows(samples: SampleParameters, num_own_rows: int) -> int:
    """Most NI rows of one kind that can be drawn beside the own rows, if a share limits them."""
    if samples.own_share is not None:
        return math.ceil(num_own_rows * (1 - samples.own_share) / samples.own_share)
    if samples.add:
        return math.ceil(ADDED_RESERVE * num_own_rows * samples.add.get(NI, 0.0) / (1 - sum(samples.add.values())))
    return sys.maxsize
