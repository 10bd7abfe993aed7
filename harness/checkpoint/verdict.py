"""The verdict on a run: whether its best checkpoint is better than the base, and whether training diverged.

    verdict = Verdict(base_loss=7.9, best_loss=10.2, last_loss=10.4, stop_reason="deadline")
    verdict.better_than_base      # False
    verdict.headline              # "NOT better than the base: validation loss 10.2000 against 7.9000; ..."

It also warns if many steps had a negligible learning rate.

Where it sits: losses of rehearsal, trainer and picker -> **verdict** -> console, report, exit code.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from harness.budget.curve import Curve
from harness.budget.schedule import LRSchedule, Segment

NEGLIGIBLE_RATE = 0.01
"""Share of the peak below which a learning rate is negligible."""

MAX_FAINT_SHARE = 0.05
"""Share of steps with a negligible rate, in excess of the schedule's own share, above which a run gets a warning. (A
cosine schedule has 6.4 % of its steps below 1 % of its peak, a linear one 1 %.)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The verdict on a finished run. Losses are in nats per answer token over all validation rows."""

    base_loss: float | None
    """Loss of the base without an adapter; None if it was not measured."""
    best_loss: float
    """Loss of the picked checkpoint."""
    last_loss: float | None
    """Loss of the last evaluation; None if there was none or it was not finite."""
    stop_reason: str
    faint_share: float = 0.0
    """Share of steps with a negligible learning rate, in excess of the schedule's own share."""

    @property
    def better_than_base(self) -> bool | None:
        """Whether the picked checkpoint is better than the base; None if the base was not measured."""
        return None if self.base_loss is None else self.best_loss < self.base_loss

    @property
    def diverged(self) -> bool:
        """Whether a loss was not finite, or the last evaluation is worse than the base."""
        if self.stop_reason == "not_finite" or (self.last_loss is not None and not math.isfinite(self.last_loss)):
            return True
        return None not in (self.base_loss, self.last_loss) and self.last_loss > self.base_loss  # type: ignore[operator]

    @property
    def is_good(self) -> bool:
        """Whether training did not diverge and the picked checkpoint is not known to be worse than the base."""
        return self.better_than_base is not False and not self.diverged

    @property
    def headline(self) -> str:
        """The verdict in one line."""
        if self.base_loss is None:
            text = f"validation loss {self.best_loss:.4f}; the base's was not measured"
        else:
            word = "better than the base" if self.better_than_base else "NOT better than the base"
            text = f"{word}: validation loss {self.best_loss:.4f} against {self.base_loss:.4f}"
        return f"{text}; training diverged ({self._divergence})" if self.diverged else text

    @property
    def _divergence(self) -> str:
        if self.stop_reason == "not_finite" or self.last_loss is None or not math.isfinite(self.last_loss):
            return "a loss was not finite"
        return f"its last validation loss is {self.last_loss:.4f}"

    @property
    def warning(self) -> str:
        """A warning about the learning rate; empty if it is not needed."""
        if self.faint_share <= MAX_FAINT_SHARE:
            return ""
        return (
            f"{self.faint_share:.0%} of the steps had a learning rate below {NEGLIGIBLE_RATE:.0%} of its peak, in "
            "excess of the schedule's own share: the end of the run was predicted too early"
        )


def faint_share(rates: Sequence[float], *, peak: float, curve: Curve) -> float:
    """Share of steps with a negligible learning rate after the warm-up, minus the share of the schedule's shape.

    Args:
        rates: Learning rate of every step, in order.
        peak: The recipe's learning rate.
        curve: The shape of the recipe's learning rate.
    """
    if not rates:
        return 0.0
    peak_step = rates.index(max(rates))
    share = sum(rate < NEGLIGIBLE_RATE * peak for rate in rates[peak_step:]) / len(rates)
    plan = LRSchedule([Segment(step=0, progress=0.0, horizon=1_000, reason="")])
    without_warmup = replace(curve, warmup_steps=0, warmup_ratio=None)
    expected = [without_warmup.share(n, plan) for n in range(1_000)]
    return max(0.0, share - sum(rate < NEGLIGIBLE_RATE for rate in expected) / len(expected))
