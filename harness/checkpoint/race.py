"""A race of checkpoints: finds the lowest validation loss without measuring each checkpoint on every row.

    standings = Race(names, num_answer_tokens, measure, seed=2023, until=uptime() + 600).run()
    standings[0].name

All checkpoints are measured on the same random rows, in slices of doubling size. After each slice, checkpoints that are
significantly worse than the leader are dropped. Differences are paired: the same rows are hard for all checkpoints of a
run, so a difference of two losses varies far less than the losses. If the time suffices to measure every checkpoint on
all rows, none is dropped and the result is exact.

Where it sits: below the timed picker (harness/checkpoint/timed_pick.py). It uses neither models nor files.
"""

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from harness.budget.clock import uptime

FIRST_ROWS = 32
"""Rows of the first slice. With fewer rows the normal approximation is not reliable."""

MIN_SLICE_ROWS = 8
"""A slice that the remaining time makes shorter than this is not measured."""

ERROR_PROBABILITY = 0.05
"""Probability that a race drops the best checkpoint, divided among all its comparisons (Bonferroni)."""

TIME_MARGIN = 1.1
"""Factor on the measured time per row when a slice is planned."""

Measure = Callable[[str, Sequence[int]], Sequence[float]]
"""Summed loss of each row (nats) under a checkpoint. Raises `TimeUp` instead of continuing past the deadline."""


class TimeUp(Exception):  # noqa: N818  it ends a slice and is not an error
    """A measurement was aborted at the deadline."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """The result of a checkpoint."""

    name: str
    loss: float
    """Nats per answer token over all rows, or estimated from `num_rows` of them."""
    standard_error: float
    """Standard error of the estimate; 0 when all rows were measured."""
    num_rows: int
    verdict: str
    """Why it won or lost, with the measured difference."""


class Race:
    """A race of checkpoints over random validation rows.

    Args:
        names: Checkpoints, earlier ones first: the first wins a tie.
        num_answer_tokens: Answer tokens of every validation row.
        measure: Returns the summed losses of a slice.
        seed: Seed of the random order of rows.
        until: Deadline on `clock`; infinite: all rows are measured.
        known: Losses over all rows that were measured before. Only the best of these checkpoints takes part, so that
            the others can be compared with it in pairs.
        challengers: Number of checkpoints that will be compared with the winner after the race.
        drops_early: Drop who is significantly worse after every slice, even if the time suffices for all rows.
        on_slice: Called after every slice.
    """

    def __init__(
        self,
        names: Sequence[str],
        num_answer_tokens: Sequence[int],
        measure: Measure,
        *,
        seed: int,
        until: float = math.inf,
        known: Mapping[str, float] | None = None,
        clock: Callable[[], float] = uptime,
        challengers: int = 0,
        drops_early: bool = False,
        on_slice: "Callable[[Race], None]" = lambda race: None,
    ) -> None:
        assert names
        assert sum(num_answer_tokens) > 0
        self._known = dict(known or {})
        best_known = min(self._known, key=lambda name: self._known[name], default=None)
        self._names = list(names)
        self.active = [name for name in names if name not in self._known or name == best_known]
        self._measure, self.until, self._clock, self._on_slice = measure, until, clock, on_slice
        self.dropped: list[str] = []
        self.order = list(range(len(num_answer_tokens)))
        random.Random(f"race-{seed}").shuffle(self.order)
        self._weights = np.array([num_answer_tokens[row] for row in self.order], dtype=float)
        self._sums: dict[str, np.ndarray] = {name: np.zeros(0) for name in self.active}
        self._seconds_per_row = 0.0
        self._drops_early = drops_early
        self._verdicts = dict.fromkeys(self._known, f"worse than {best_known} by the trainer's losses")
        slices = 1 + math.ceil(math.log2(max(1.0, len(num_answer_tokens) / FIRST_ROWS)))
        comparisons = max(1, (len(self.active) - 1) * slices + challengers)
        self._quantile = NormalDist().inv_cdf(1 - ERROR_PROBABILITY / comparisons)

    @property
    def num_rows(self) -> int:
        """Rows on which all active checkpoints are measured."""
        return len(self._sums[self.active[0]])

    @property
    def total_rows(self) -> int:
        """Rows of the validation set."""
        return len(self.order)

    @property
    def is_exact(self) -> bool:
        """Whether all active checkpoints are measured on all rows."""
        return self.num_rows == len(self.order)

    def run(self) -> list[Standing]:
        """Measures until the winner is decided or the rows or the time are used up; returns standings, best first.

        Raises:
            TimeUp: The time did not suffice for the first slice of all checkpoints.
        """
        while not self._is_decided():
            size = self._next_slice()
            if size == 0:
                break
            try:
                self._run_slice(size)
            except TimeUp:
                break
            if self._drops():
                self._drop()
            self._on_slice(self)
        if self.num_rows == 0 and len(self.active) > 1:
            raise TimeUp
        return self._standings()

    def challenge(self, name: str, *, winner: str) -> bool:
        """Compares a new checkpoint with the winner on all rows, or as many as the time allows; True if it is better.

        On all rows the lower loss decides; on some of the rows the loss must be significantly lower. If the time does
        not suffice for a first slice, the new checkpoint has no `standing`.
        """
        self._sums.setdefault(winner, np.zeros(0))
        newcomer = np.zeros(0)
        while len(newcomer) < self.total_rows:
            num = min(self.total_rows, max(FIRST_ROWS, 2 * len(newcomer)))
            if self._clock() + TIME_MARGIN * self._seconds_per_row * 2 * (num - len(newcomer)) > self.until:
                break
            started_at = self._clock()
            try:
                winner_sums = self._extended(winner, self._sums[winner], num)
                newcomer = self._extended(name, newcomer, num)
            except TimeUp:
                break
            self._sums[winner] = winner_sums
            self._seconds_per_row = max(self._seconds_per_row, (self._clock() - started_at) / (2 * num))
        if len(newcomer) < min(FIRST_ROWS, self.total_rows):
            return False
        self._names.append(name)
        self._sums[name] = newcomer
        difference, error = self._difference(name, winner)
        bound = 0.0 if error == 0 else self._quantile * error
        measured = f"({difference:+.4f} nats over {len(newcomer)} rows, standard error {error:.4f})"
        wins = difference + bound < 0
        self._verdicts[name] = (
            f"better than {winner} {measured}" if wins else f"not significantly better than {winner} {measured}"
        )
        if wins:
            self._verdicts[winner] = f"the lowest loss except that of the {name}"
        return wins

    def _extended(self, name: str, sums: np.ndarray, num: int) -> np.ndarray:
        """The sums of the first `num` rows, of which the missing ones are measured."""
        if len(sums) >= num:
            return sums
        return np.concatenate([sums, np.array(self._measure(name, self.order[len(sums) : num]), dtype=float)])

    def is_measured(self, name: str) -> bool:
        """Whether the checkpoint has a loss, measured here or known before."""
        return name in self._known or len(self._sums.get(name, ())) > 0

    def standing(self, name: str) -> Standing:
        """The current standing of a measured checkpoint."""
        loss, error = self._estimate(name)
        measured = len(self.order) if name in self._known else len(self._sums.get(name, ()))
        return Standing(
            name=name,
            loss=round(loss, 6),
            standard_error=round(error, 6),
            num_rows=measured,
            verdict=self._verdicts.get(name, ""),
        )

    def _drops(self) -> bool:
        """Whether candidates are dropped after this slice. On all rows the losses are exact, and nobody is."""
        rest = len(self.order) - self.num_rows
        return rest > 0 if self._drops_early else self._affordable() < rest

    def _is_decided(self) -> bool:
        if self.is_exact:
            return True
        return len(self.active) == 1 and self.active[0] in self._known  # its loss is exact already

    def _next_slice(self) -> int:
        """Rows of the next slice: all remaining rows if the time suffices, else at most as many as before."""
        left = len(self.order) - self.num_rows
        if self._seconds_per_row == 0:
            return min(left, FIRST_ROWS)
        affordable = self._affordable()
        if affordable >= left and not self._drops_early:
            return left
        size = min(left, affordable, max(FIRST_ROWS, self.num_rows))
        return size if size >= min(left, MIN_SLICE_ROWS) else 0

    def _affordable(self) -> int:
        """Rows that can be measured for all active checkpoints in the remaining time, at most all rows."""
        seconds = self.until - self._clock()
        per_row = TIME_MARGIN * self._seconds_per_row * len(self.active)
        return len(self.order) if seconds >= per_row * len(self.order) else max(0, int(seconds / per_row))

    def _run_slice(self, size: int) -> None:
        """Measures a slice for all active checkpoints; keeps none of it if the time is up before the last one."""
        rows = self.order[self.num_rows : self.num_rows + size]
        started_at = self._clock()
        measured = {name: np.array(self._measure(name, rows), dtype=float) for name in self.active}
        self._seconds_per_row = max(1e-9, (self._clock() - started_at) / (size * len(self.active)))
        for name, sums in measured.items():
            self._sums[name] = np.concatenate([self._sums[name], sums])

    def _drop(self) -> None:
        leader = self._leader()
        for name in [name for name in self.active if name != leader]:
            difference, error = self._difference(name, leader)
            if not math.isfinite(difference) or difference - self._quantile * error > 0:
                self.active.remove(name)
                self.dropped.append(name)
                rows = len(self._sums[name])
                self._verdicts[name] = (
                    f"dropped after {rows} rows: worse than {leader} by {difference:.4f} nats (lower confidence bound "
                    f"{difference - self._quantile * error:.4f})"
                )

    def _leader(self) -> str:
        """The active checkpoint with the lowest loss over the common rows; the first of a tie."""
        means = {name: self._sums[name].sum() for name in self.active}
        return min(self.active, key=lambda name: means[name] if math.isfinite(means[name]) else math.inf)

    def _difference(self, a: str, b: str) -> tuple[float, float]:
        """Loss of `a` minus loss of `b` over their common rows, and its standard error.

        The standard error is that of a ratio estimator with the finite population correction.
        """
        num = min(len(self._sums[a]), len(self._sums[b]))
        weights = self._weights[:num]
        differences = self._sums[a][:num] - self._sums[b][:num]
        difference = float(differences.sum() / weights.sum())
        return difference, self._standard_error(differences - difference * weights, weights)

    def _standard_error(self, residuals: np.ndarray, weights: np.ndarray) -> float:
        num, total = len(residuals), len(self.order)
        if num >= total:
            return 0.0
        if num < 2:
            return math.inf
        variance = (1 - num / total) * float((residuals**2).sum()) / (num - 1) / num
        return math.sqrt(variance) / float(weights.mean())

    def _estimate(self, name: str) -> tuple[float, float]:
        """Loss over all rows and its standard error: known, or estimated from the measured rows.

        If a known checkpoint is measured on the same rows, the estimate is its loss plus the paired difference.
        """
        if name in self._known:
            return self._known[name], 0.0
        reference = next((other for other in self._sums if other in self._known), None)
        if reference is not None and self._covers(reference, name):
            difference, error = self._difference(name, reference)
            return self._known[reference] + difference, error
        sums = self._sums[name]
        weights = self._weights[: len(sums)]
        loss = float(sums.sum() / weights.sum())
        return loss, self._standard_error(sums - loss * weights, weights)

    def _covers(self, reference: str, name: str) -> bool:
        """Whether the reference has finite losses on all measured rows of the other checkpoint."""
        sums = self._sums[reference]
        return len(sums) >= len(self._sums[name]) and bool(np.isfinite(sums).all())

    def _standings(self) -> list[Standing]:
        """Standings of the active checkpoints by their loss, then those of the dropped ones."""
        leader = self._leader() if self.num_rows else self.active[0]
        rest = [name for name in self.active if name != leader]
        for name in rest:
            difference, error = self._difference(name, leader)
            doubt = "" if error == 0 else f", standard error {error:.4f}: not significant when the time was up"
            self._verdicts[name] = f"worse than {leader} by {difference:.4f} nats over {self.num_rows} rows{doubt}"
        scope = f" of {len(self.active)} over {self.num_rows} rows" if rest else ""
        self._verdicts[leader] = f"the lowest loss{scope}"
        others = [name for name in self._names if name != leader]
        losses = {name: self._estimate(name)[0] for name in others}
        behind = sorted(
            others, key=lambda name: (name not in self.active, not math.isfinite(losses[name]), losses[name])
        )
        return [self.standing(name) for name in (leader, *behind)]
