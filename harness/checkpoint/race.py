"""A race of checkpoints: which has the lowest validation loss, without measuring each on every row.

    standings = Race(names, weights, measure, seed=2023, until=uptime() + 600).run()
    standings[0].name

All run over the same random rows, in slices that double. After each slice whoever is worse than the leader by more than
chance explains is dropped, and the time goes to the others. The differences are paired: two checkpoints of one run find
the same rows hard, so their difference varies far less than their losses do. With time enough for all of them on all
rows nobody is dropped and the result is exact.

Where it sits: under the timed picker (harness/checkpoint/timed_pick.py). It knows neither models nor files.
"""

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from harness.budget.clock import uptime

FIRST_ROWS = 32
"""Of the first slice. Below, the normal bound is not to be trusted."""

LEAST_ROWS = 8
"""A slice that is shorter because of the time tells too little to be worth it."""

DOUBT = 0.05
"""That the best is dropped at any moment of a race: shared out among all comparisons of it."""

TIME_MARGIN = 1.1
"""Over the last slice's time per row."""

Measure = Callable[[str, Sequence[int]], Sequence[float]]
"""Summed loss of each row (nats) under a checkpoint. Raises `TimeUp` instead of going on past the deadline."""


class TimeUp(Exception):  # noqa: N818  the end of a slice, no error
    """A measurement was given up at the deadline."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a checkpoint came out."""

    name: str
    loss: float
    """Nats per answer token: over all rows, or estimated from `num_rows` of them."""
    standard_error: float
    """Of the estimate; 0 when all rows were measured."""
    num_rows: int
    verdict: str
    """Why it did not win; of the winner, by how much it leads."""


class Race:
    """One race.

    Args:
        names: Checkpoints, earlier ones first: of equals the first wins.
        weights: Answer tokens of every row of the validation set.
        measure: Sums of a slice.
        seed: Of the order of rows.
        until: On `clock`; infinite: exhaustive.
        known: Losses over all rows that were measured before. Only the best of them runs, to be compared with in pairs.
        on_slice: Called after every slice.
    """

    def __init__(
        self,
        names: Sequence[str],
        weights: Sequence[int],
        measure: Measure,
        *,
        seed: int,
        until: float = math.inf,
        known: Mapping[str, float] | None = None,
        clock: Callable[[], float] = uptime,
        on_slice: "Callable[[Race], None]" = lambda race: None,
    ) -> None:
        assert names
        assert sum(weights) > 0
        self._known = dict(known or {})
        best_known = min(self._known, key=lambda name: self._known[name], default=None)
        self._names = list(names)
        self.field = [name for name in names if name not in self._known or name == best_known]
        self._measure, self.until, self._clock, self._on_slice = measure, until, clock, on_slice
        self.dropped: list[str] = []
        self.order = list(range(len(weights)))
        random.Random(f"race-{seed}").shuffle(self.order)
        self._weights = np.array([weights[row] for row in self.order], dtype=float)
        self._sums: dict[str, np.ndarray] = {name: np.zeros(0) for name in self.field}
        self._seconds_per_row = 0.0
        self._why = dict.fromkeys(self._known, f"worse than {best_known} by the trainer's own losses")
        slices = 1 + math.ceil(math.log2(max(1.0, len(weights) / FIRST_ROWS)))
        comparisons = max(1, (len(self.field) - 1) * slices)
        self._quantile = NormalDist().inv_cdf(1 - DOUBT / comparisons)

    @property
    def num_rows(self) -> int:
        """That everyone in the field has behind them."""
        return len(self._sums[self.field[0]])

    @property
    def total_rows(self) -> int:
        """Of the validation set."""
        return len(self.order)

    @property
    def is_exact(self) -> bool:
        """All rows are measured for all who are still in."""
        return self.num_rows == len(self.order)

    def run(self) -> list[Standing]:
        """Races to the end, of the field, of the rows or of the time; best first.

        Raises:
            TimeUp: not even the first slice could be measured for everyone.
        """
        while not self._is_decided():
            size = self._next_slice()
            if size == 0:
                break
            try:
                self._run_slice(size)
            except TimeUp:
                break
            if self._affordable() < len(self.order) - self.num_rows:
                self._drop()
            self._on_slice(self)
        if self.num_rows == 0 and len(self.field) > 1:
            raise TimeUp
        return self._standings()

    def challenge(self, name: str, *, past: str) -> bool:
        """Lets a newcomer run against the winner, over all rows or as many as the time allows; whether it is better.

        Over all rows the lower loss decides; over a part it must be lower beyond chance. It does not win in doubt.
        Without the time for a first slice it has no `standing`.
        """
        self._sums.setdefault(past, np.zeros(0))
        newcomer = np.zeros(0)
        while len(newcomer) < self.total_rows:
            upto = min(self.total_rows, max(FIRST_ROWS, 2 * len(newcomer)))
            if self._clock() + TIME_MARGIN * self._seconds_per_row * 2 * (upto - len(newcomer)) > self.until:
                break
            began = self._clock()
            try:
                theirs = self._measured(past, self._sums[past], upto)
                newcomer = self._measured(name, newcomer, upto)
            except TimeUp:
                break
            self._sums[past] = theirs
            self._seconds_per_row = max(self._seconds_per_row, (self._clock() - began) / (2 * upto))
        if len(newcomer) < min(FIRST_ROWS, self.total_rows):
            return False
        self._names.append(name)
        self._sums[name] = newcomer
        difference, error = self._difference(name, past)
        bound = 0.0 if error == 0 else self._quantile * error
        measured = f"({difference:+.4f} nats over {len(newcomer)} rows, standard error {error:.4f})"
        wins = difference + bound < 0
        self._why[name] = f"beats {past} {measured}" if wins else f"not better than {past} beyond chance {measured}"
        if wins:
            self._why[past] = f"the lowest until {name} beat it"
        return wins

    def _measured(self, name: str, sums: np.ndarray, upto: int) -> np.ndarray:
        """The sums, and those of the rows that are missing to `upto`."""
        if len(sums) >= upto:
            return sums
        return np.concatenate([sums, np.array(self._measure(name, self.order[len(sums) : upto]), dtype=float)])

    def has_run(self, name: str) -> bool:
        """Whether there is anything to say of it."""
        return name in self._known or len(self._sums.get(name, ())) > 0

    def standing(self, name: str) -> Standing:
        """Of anyone, at this moment."""
        loss, error = self._estimate(name)
        measured = len(self.order) if name in self._known else len(self._sums.get(name, ()))
        return Standing(
            name=name,
            loss=round(loss, 6),
            standard_error=round(error, 6),
            num_rows=measured,
            verdict=self._why.get(name, ""),
        )

    def _is_decided(self) -> bool:
        if self.is_exact:
            return True
        return len(self.field) == 1 and self.field[0] in self._known  # its loss is exact already

    def _next_slice(self) -> int:
        """Rows: as many again as before, all that are left if there is time for them, or what there is time for."""
        left = len(self.order) - self.num_rows
        if self._seconds_per_row == 0:
            return min(left, FIRST_ROWS)
        affordable = self._affordable()
        if affordable >= left:
            return left
        size = min(affordable, max(FIRST_ROWS, self.num_rows))
        return size if size >= LEAST_ROWS else 0

    def _affordable(self) -> int:
        """Rows that the time allows to measure for everyone in the field, at most all."""
        seconds = self.until - self._clock()
        per_row = TIME_MARGIN * self._seconds_per_row * len(self.field)
        return len(self.order) if seconds >= per_row * len(self.order) else max(0, int(seconds / per_row))

    def _run_slice(self, size: int) -> None:
        """Of everyone or, when the time is up before the last one, of nobody."""
        rows = self.order[self.num_rows : self.num_rows + size]
        began = self._clock()
        found = {name: np.array(self._measure(name, rows), dtype=float) for name in self.field}
        self._seconds_per_row = max(1e-9, (self._clock() - began) / (size * len(self.field)))
        for name, sums in found.items():
            self._sums[name] = np.concatenate([self._sums[name], sums])

    def _drop(self) -> None:
        leader = self._leader()
        for name in [name for name in self.field if name != leader]:
            difference, error = self._difference(name, leader)
            if not math.isfinite(difference) or difference - self._quantile * error > 0:
                self.field.remove(name)
                self.dropped.append(name)
                rows = len(self._sums[name])
                self._why[name] = (
                    f"dropped after {rows} rows: worse than {leader} by {difference:.4f} nats, at least "
                    f"{difference - self._quantile * error:.4f} beyond chance"
                )

    def _leader(self) -> str:
        """Lowest over the rows that all in the field have run; of equals the first."""
        means = {name: self._sums[name].sum() for name in self.field}
        return min(self.field, key=lambda name: means[name] if math.isfinite(means[name]) else math.inf)

    def _difference(self, a: str, b: str) -> tuple[float, float]:
        """Loss of `a` less that of `b` over the rows of both, and its standard error (a ratio's, of a finite set)."""
        num = min(len(self._sums[a]), len(self._sums[b]))
        weights = self._weights[:num]
        apart = self._sums[a][:num] - self._sums[b][:num]
        difference = float(apart.sum() / weights.sum())
        return difference, self._error(apart - difference * weights, weights)

    def _error(self, residuals: np.ndarray, weights: np.ndarray) -> float:
        num, total = len(residuals), len(self.order)
        if num >= total:
            return 0.0
        if num < 2:
            return math.inf
        variance = (1 - num / total) * float((residuals**2).sum()) / (num - 1) / num
        return math.sqrt(variance) / float(weights.mean())

    def _estimate(self, name: str) -> tuple[float, float]:
        """Loss over all rows: measured, or the best known one's and the difference to it, or the slice's own."""
        if name in self._known:
            return self._known[name], 0.0
        reference = next((other for other in self._sums if other in self._known), None)
        if reference is not None and self._is_measure_of(reference, name):
            difference, error = self._difference(name, reference)
            return self._known[reference] + difference, error
        sums = self._sums[name]
        weights = self._weights[: len(sums)]
        loss = float(sums.sum() / weights.sum())
        return loss, self._error(sums - loss * weights, weights)

    def _is_measure_of(self, reference: str, name: str) -> bool:
        """Whether the reference ran over all rows of the other, and gave numbers."""
        sums = self._sums[reference]
        return len(sums) >= len(self._sums[name]) and bool(np.isfinite(sums).all())

    def _standings(self) -> list[Standing]:
        """The field by its common rows, then the dropped ones by their estimates."""
        leader = self._leader() if self.num_rows else self.field[0]
        rest = [name for name in self.field if name != leader]
        for name in rest:
            difference, error = self._difference(name, leader)
            doubt = "" if error == 0 else f", standard error {error:.4f}: not told apart when the time was up"
            self._why[name] = f"behind {leader} by {difference:.4f} nats over {self.num_rows} rows{doubt}"
        self._why[leader] = "the lowest" + ("" if not rest else f" of {len(self.field)} over {self.num_rows} rows")
        others = [name for name in self._names if name != leader]
        losses = {name: self._estimate(name)[0] for name in others}
        behind = sorted(
            others, key=lambda name: (name not in self.field, not math.isfinite(losses[name]), losses[name])
        )
        return [self.standing(name) for name in (leader, *behind)]
