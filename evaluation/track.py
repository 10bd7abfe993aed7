"""The track of a bar chart: where a value and an interval stand on it, in per cent.

    >>> track = Track.of([0.25, 0.5])
    >>> track.at(0.25), track.whisker((0.2, 0.5))
    (25.0, (20.0, 30.0))
    >>> Track.of([3.0, 12.0]).at(3.0)
    25.0

Where it sits: figures -> **track** -> the pages of an evaluation and of a study.
"""

from collections.abc import Iterable
from dataclasses import dataclass

SMALLEST = 1e-9
"""Length of a track on which every value is 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """A track that begins at 0."""

    length: float

    @classmethod
    def of(cls, ends: Iterable[float]) -> "Track":
        """To 1 for shares; other values have one to the longest bar or interval."""
        found = list(ends)
        return cls(length=1.0 if all(0 <= end <= 1 for end in found) else max(*found, SMALLEST))

    def at(self, value: float) -> float:
        """Where a value stands. What is beyond an end stands at it."""
        return round(100 * min(self.length, max(0.0, value)) / self.length, 2)

    def whisker(self, interval: tuple[float, float] | None) -> tuple[float, float] | None:
        """Where an interval begins, and how long it is."""
        if interval is None:
            return None
        low, high = map(self.at, interval)
        return low, round(high - low, 2)


def shown(value: float | None) -> str:
    """A value as the pages show it."""
    return "-" if value is None else f"{value:.4f}"
