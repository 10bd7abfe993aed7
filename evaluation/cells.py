"""All observations behind each figure of a table, by the cluster that they were drawn in.

Where it sits: suite -> join -> **cells** -> scoring, difference.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeVar

from evaluation.resampling import Interval, wilson
from evaluation.responses import Messages, Response
from evaluation.suite import Item, Metric, Outcome

if TYPE_CHECKING:
    from evaluation.resampling import Array

Place = tuple[str, str, str]
"""Dimension, label and metric; ("", "", metric) for the whole suite."""

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredItem:
    """One item with its response and what it was worth."""

    item: Item
    cluster: str
    prompt: str | Messages
    reference: str
    response: Response
    outcomes: tuple[Outcome, ...]


@dataclass(slots=True)
class Cell:
    """All observations behind one figure, by cluster."""

    sums: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    counts: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    values: list[float] = field(default_factory=list)

    def add(self, cluster: str, value: float) -> None:
        """Takes one observation."""
        self.sums[cluster] += value
        self.counts[cluster] += 1
        self.values.append(value)

    @property
    def is_share(self) -> bool:
        """Whether every observation is right or wrong."""
        return all(value in (0.0, 1.0) for value in self.values)

    @property
    def mean(self) -> float:
        """Over observations."""
        return sum(self.values) / len(self.values)

    @property
    def wilson_interval(self) -> Interval | None:
        """For a share with one observation a cluster, and where all are right or all wrong: a bootstrap then has no
        width. None: the bootstrap decides."""
        if not self.is_share:
            return None
        if len(self.counts) == len(self.values):
            return wilson(sum(self.values), len(self.values))
        if self.mean in (0.0, 1.0):
            return wilson(self.mean * len(self.counts), len(self.counts))
        return None


class Observed(Protocol):
    """What `collect` needs of an item."""

    @property
    def cluster(self) -> str:
        """What it was drawn together with."""

    @property
    def outcomes(self) -> tuple[Outcome, ...]:
        """What was observed."""


def collect(rows: Iterable[Observed], specs: Sequence[Metric]) -> tuple[dict[Place, Cell], dict[str, int]]:
    """Observations by place, and the undecided ones by metric."""
    names = {spec.name for spec in specs}
    cells: dict[Place, Cell] = {("", "", spec.name): Cell() for spec in specs}
    nulls: dict[str, int] = {}
    for row in rows:
        for outcome in row.outcomes:
            if outcome.metric not in names:
                continue
            if outcome.value is None:
                nulls[outcome.metric] = nulls.get(outcome.metric, 0) + 1
                continue
            for dimension, label in (("", ""), *outcome.by.items()):
                cells.setdefault((dimension, label, outcome.metric), Cell()).add(row.cluster, outcome.value)
    return cells, nulls


def parts_of(cells: Mapping[Place, Cell], spec: Metric) -> list[Place]:
    """The labels that a macro average is over, sorted."""
    return sorted(place for place in cells if place[0] == spec.macro_over and place[2] == spec.name)


def matrix(cells: Sequence[Cell]) -> tuple["Array", "Array"]:
    """Sums and counts as [clusters, cells]; clusters sorted, so that the order of a file changes nothing."""
    import numpy as np

    clusters = {name: place for place, name in enumerate(sorted({c for cell in cells for c in cell.counts}))}
    sums, counts = np.zeros((len(clusters), len(cells))), np.zeros((len(clusters), len(cells)))
    for column, cell in enumerate(cells):
        rows = [clusters[name] for name in cell.counts]
        sums[rows, column], counts[rows, column] = list(cell.sums.values()), list(cell.counts.values())
    return sums, counts


def breakdowns(figures: Mapping[Place, Value], specs: Sequence[Metric]) -> dict[str, dict[str, dict[str, Value]]]:
    """Dimension -> label -> metric; dimensions as they first appear, labels sorted, metrics in the suite's order."""
    order = {spec.name: place for place, spec in enumerate(specs)}
    dimensions = {name: place for place, name in enumerate(dict.fromkeys(dimension for dimension, _, _ in figures))}
    found: dict[str, dict[str, dict[str, Value]]] = {}
    for dimension, label, metric in sorted(figures, key=lambda p: (dimensions[p[0]], p[1], order[p[2]])):
        if dimension:
            found.setdefault(dimension, {}).setdefault(label, {})[metric] = figures[dimension, label, metric]
    return found
