"""The verdict on a run: is its best checkpoint better than the base, did it diverge, was its learning rate used up.

    verdict = Verdict(base_loss=7.9, best_loss=10.2, last_loss=10.4, ended_by="deadline")
    verdict.better_than_base      # False
    verdict.headline              # "NOT better than the base: validation loss 10.2000 against 7.9000; ..."

Where it sits: losses of rehearsal, trainer and picker -> **verdict** -> console, report, exit code.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from harness.budget.schedule import LRSchedule, Segment, Shape, learning_rate

FAINT = 0.01
"""Of the peak: a learning rate below that trains next to nothing."""

MOST_FAINT = 0.05
"""Share of a run's steps with a faint rate, beyond what the schedule's shape has, that is worth a warning. (A cosine
spends 6.4 % of its steps below 1 % of its peak, a line 1 %.)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a finished run came to. Losses in nats per answer token over all validation rows."""

    base_loss: float | None
    """Of the base without an adapter; None: not measured."""
    best_loss: float
    """Of what was picked."""
    last_loss: float | None
    """Of the run's last evaluation; None: it made none."""
    ended_by: str
    faint_share: float = 0.0
    """Of the steps, had a learning rate below 1 % of the peak, beyond what the schedule's shape has."""

    @property
    def better_than_base(self) -> bool | None:
        """None: the base was not measured."""
        return None if self.base_loss is None else self.best_loss < self.base_loss

    @property
    def diverged(self) -> bool:
        """A loss was not finite, or the last evaluation is worse than the base's."""
        if self.ended_by == "not_finite" or (self.last_loss is not None and not math.isfinite(self.last_loss)):
            return True
        return None not in (self.base_loss, self.last_loss) and self.last_loss > self.base_loss  # type: ignore[operator]

    @property
    def is_good(self) -> bool:
        """Better than the base as far as is known, and not diverged."""
        return self.better_than_base is not False and not self.diverged

    @property
    def headline(self) -> str:
        """One sentence."""
        if self.base_loss is None:
            text = f"validation loss {self.best_loss:.4f}; the base's was not measured"
        else:
            word = "better than the base" if self.better_than_base else "NOT better than the base"
            text = f"{word}: validation loss {self.best_loss:.4f} against {self.base_loss:.4f}"
        return f"{text}; training diverged ({self._how_it_diverged})" if self.diverged else text

    @property
    def _how_it_diverged(self) -> str:
        if self.ended_by == "not_finite" or self.last_loss is None or not math.isfinite(self.last_loss):
            return "a loss was not finite"
        return f"its last validation loss is {self.last_loss:.4f}"

    @property
    def warning(self) -> str:
        """About the learning rate; empty if there is nothing to say."""
        if self.faint_share <= MOST_FAINT:
            return ""
        return (
            f"{self.faint_share:.0%} of the steps had a learning rate below {FAINT:.0%} of its peak, beyond what the "
            "schedule's shape has: the end of the run was foreseen too early"
        )


def faint_share(rates: Sequence[float], *, peak: float, shape: Shape, floor: float) -> float:
    """Share of steps after the warm-up whose rate lies below `FAINT` of the peak, less what the shape itself has.

    Args:
        rates: Of every step, in order.
        peak: The recipe's learning rate.
        floor: The recipe's rate at the horizon, as a share of the peak.
    """
    if not rates:
        return 0.0
    warm = rates.index(max(rates))
    share = sum(rate < FAINT * peak for rate in rates[warm:]) / len(rates)
    usual = LRSchedule([Segment(step=0, progress=0.0, horizon=1_000, reason="")])
    expected = [learning_rate(n, usual, peak=1.0, warmup_steps=0, shape=shape, floor=floor) for n in range(1_000)]
    return max(0.0, share - sum(rate < FAINT for rate in expected) / len(expected))
