"""The pace of a run: what steps, evaluations and saves cost, whether another step fits, and where the run ends.

    pace = Pace(eval_steps=64, eval_costs=[12.0], save_costs=[3.0])
    pace.time_step(1.5)
    pace.fits_another(600.0, evaluates=False)     # True
    pace.last_step(1, 600.0, evaluates=False)     # 386

It has no clock: the caller passes the seconds that are left.

Where it sits: the budget callback measures with it; the supervisor computes the first horizon with it.
"""

import bisect
from dataclasses import dataclass, field

from harness.budget.duration import cost_bound, usual_cost

STEP_MARGIN = 1.5
"""Safety factor on the slowest recent step."""

MAX_STEPS = 100_000_000
"""Upper bound of the search; no run has this many steps."""


def steps_that_fit(
    left_s: float, *, step: int, step_s: float, closing_s: float, eval_steps: int, margin: float = STEP_MARGIN
) -> int:
    """Number of steps after `step` that fit in `left_s`, with an evaluation and save every `eval_steps` steps.

    Args:
        left_s: Seconds for steps, without the last evaluation and save.
        step: The last finished step.
        step_s: Seconds of a step.
        closing_s: Seconds of an evaluation and its save.
        margin: The run stops when less than the time of this many steps is left.
    """

    def needed_s(num: int) -> float:
        """Seconds for `num` steps with their evaluations and saves, and for the margin."""
        num_evaluations = (step + num) // eval_steps - step // eval_steps
        return (num + margin) * step_s + num_evaluations * closing_s

    if step_s <= 0:
        return MAX_STEPS
    return bisect.bisect_right(range(min(MAX_STEPS, int(max(0.0, left_s) / step_s) + 2)), left_s, key=needed_s)


@dataclass(slots=True, kw_only=True)
class Pace:
    """The costs measured so far, in seconds."""

    eval_steps: int
    eval_costs: list[float] = field(default_factory=list)
    """The rehearsal's, if there was one, then the run's own."""
    save_costs: list[float] = field(default_factory=list)
    step_s: float = 0.0
    """The slowest recent step: a maximum that decays."""
    mean_step_s: float = 0.0
    slowest_step_s: float = 0.0
    num_timed: int = 0
    step_s_at_evaluation: float = 0.0
    """The largest `step_s` at which an evaluation was measured."""

    def time_step(self, seconds: float) -> None:
        """Adds a step. The first two steps warm up caches and are not part of the mean."""
        self.step_s = max(seconds, 0.7 * self.step_s + 0.3 * seconds)
        self.slowest_step_s = max(self.slowest_step_s, seconds)
        self.num_timed += 1
        if self.num_timed > 2:
            self.mean_step_s += (seconds - self.mean_step_s) / min(self.num_timed - 2, 50)

    def time_evaluation(self, seconds: float) -> None:
        """Adds an evaluation."""
        self.eval_costs.append(seconds)
        self.step_s_at_evaluation = max(self.step_s_at_evaluation, self.step_s)

    def time_save(self, seconds: float) -> None:
        """Adds a save."""
        self.save_costs.append(seconds)

    @property
    def reserve_s(self) -> float:
        """Seconds to keep free for the last evaluation and save."""
        return cost_bound(_warm(self.eval_costs)) + cost_bound(_warm(self.save_costs))

    @property
    def closing_s(self) -> float:
        """Usual seconds of an evaluation and a save."""
        return usual_cost(self.eval_costs) + usual_cost(self.save_costs)

    def left_s(self, until_s: float) -> float:
        """Seconds for steps, out of `until_s` seconds for steps and the last evaluation and save.

        The reserve was measured at the speed of its time. If steps have become slower since (a shared machine, a card
        that throttles), the reserve is scaled by the same factor.
        """
        slowdown = self.step_s / self.step_s_at_evaluation if self.step_s_at_evaluation > 0 else 1.0
        return until_s - max(1.0, slowdown) * self.reserve_s

    def fits_another(self, until_s: float, *, evaluates: bool) -> bool:
        """Whether there is time for another step.

        Args:
            evaluates: Whether an evaluation and save come before it.
        """
        return self.left_s(until_s) - evaluates * self.reserve_s >= STEP_MARGIN * self.step_s

    def last_step(self, step: int, until_s: float, *, evaluates: bool) -> int | None:
        """The step at which the time will be over; None before a step was measured.

        Args:
            step: The last finished step.
            evaluates: Whether an evaluation and save follow it.
        """
        if self.mean_step_s <= 0:
            return None
        left_s = self.left_s(until_s) - evaluates * self.closing_s
        margin = STEP_MARGIN * self.step_s / self.mean_step_s
        return step + steps_that_fit(
            left_s,
            step=step,
            step_s=self.mean_step_s,
            closing_s=self.closing_s,
            eval_steps=self.eval_steps,
            margin=margin,
        )


def _warm(costs: list[float]) -> list[float]:
    """The costs without the rehearsal's and the process's first, which warm up caches, once three others are known."""
    return costs[2:] if len(costs) > 4 else costs


def first_horizon(*, left_s: float, step_s: float, closing_s: float, eval_steps: int) -> int:
    """The number of steps of a new run, with the early checkpoint after step 1 and the last evaluation and save."""
    left_s -= 2 * closing_s
    return max(1, steps_that_fit(left_s, step=0, step_s=max(step_s, 1e-3), closing_s=closing_s, eval_steps=eval_steps))
