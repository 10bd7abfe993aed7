"""The pace of a run: what its steps, evaluations and saves cost, whether one more step fits, and where the run ends.

    pace = Pace(eval_steps=64, eval_costs=[12.0], save_costs=[3.0])
    pace.time_step(1.5)
    pace.fits_another(until_s=600.0, closes=False)     # True
    pace.last_step(1, until_s=600.0, closes=False)     # 386

It has no clock: the caller says how many seconds are left.

Where it sits: under the budget callback, which measures, and under the supervisor, which makes the first plan.
"""

import bisect
from dataclasses import dataclass, field

from harness.budget.duration import cost_bound, usual_cost

STEP_MARGIN = 1.5
"""Safety over the slowest recent step."""

MOST_STEPS = 100_000_000
"""A bound for the search: no run has so many."""


def steps_that_fit(
    left_s: float, *, step: int, step_s: float, closing_s: float, eval_steps: int, margin: float = STEP_MARGIN
) -> int:
    """Steps after `step` that `left_s` seconds hold, with an evaluation and save at every multiple of `eval_steps`.

    Args:
        left_s: Seconds for steps; the last evaluation and save are taken off already.
        step: The last step that is done.
        step_s: Cost of a step.
        closing_s: Cost of an evaluation with its save.
        margin: The run stops when less than so many steps' time is left.
    """

    def needed_s(num: int) -> float:
        """For `num` steps and what follows each of them, and the room that a further step asks for."""
        num_evaluations = (step + num) // eval_steps - step // eval_steps
        return (num + margin) * step_s + num_evaluations * closing_s

    if step_s <= 0:
        return MOST_STEPS
    return bisect.bisect_right(range(min(MOST_STEPS, int(max(0.0, left_s) / step_s) + 2)), left_s, key=needed_s)


@dataclass(slots=True, kw_only=True)
class Pace:
    """Costs so far, in seconds."""

    eval_steps: int
    eval_costs: list[float] = field(default_factory=list)
    """One from the rehearsal, if there was one, then the run's own."""
    save_costs: list[float] = field(default_factory=list)
    step_s: float = 0.0
    """The slowest of the recent steps."""
    mean_step_s: float = 0.0
    slowest_step_s: float = 0.0
    num_timed: int = 0
    step_s_at_evaluation: float = 0.0
    """The largest `step_s` at which an evaluation was measured."""

    def time_step(self, seconds: float) -> None:
        """One more step was measured. The first two warm caches up and do not count for the mean."""
        self.step_s = max(seconds, 0.7 * self.step_s + 0.3 * seconds)
        self.slowest_step_s = max(self.slowest_step_s, seconds)
        self.num_timed += 1
        if self.num_timed > 2:
            self.mean_step_s += (seconds - self.mean_step_s) / min(self.num_timed - 2, 50)

    def time_evaluation(self, seconds: float) -> None:
        """One more evaluation was measured."""
        self.eval_costs.append(seconds)
        self.step_s_at_evaluation = max(self.step_s_at_evaluation, self.step_s)

    def time_save(self, seconds: float) -> None:
        """One more save was measured."""
        self.save_costs.append(seconds)

    @property
    def reserve_s(self) -> float:
        """Kept free for the last evaluation and save."""
        return cost_bound(_warm(self.eval_costs)) + cost_bound(_warm(self.save_costs))

    @property
    def closing_s(self) -> float:
        """What an evaluation and save usually cost."""
        return usual_cost(self.eval_costs) + usual_cost(self.save_costs)

    def left_s(self, until_s: float) -> float:
        """Seconds for steps, of `until_s` seconds for all.

        The reserve was measured at the speed of that moment. If steps have become slower since (a machine that is
        shared, a card that throttles), it is scaled up by as much.
        """
        slower = self.step_s / self.step_s_at_evaluation if self.step_s_at_evaluation > 0 else 1.0
        return until_s - max(1.0, slower) * self.reserve_s

    def fits_another(self, until_s: float, *, closes: bool) -> bool:
        """Whether there is time for one more step.

        Args:
            closes: An evaluation and save come before it.
        """
        return self.left_s(until_s) - closes * self.reserve_s >= STEP_MARGIN * self.step_s

    def last_step(self, step: int, until_s: float, *, closes: bool) -> int | None:
        """The step at which the time will be over; None before a step was measured.

        Args:
            step: The last one that is done.
            closes: An evaluation and save follow it at once.
        """
        if self.mean_step_s <= 0:
            return None
        left_s = self.left_s(until_s) - closes * self.closing_s
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
    """Without the rehearsal's and the process's first, which warm caches up, as soon as three others are known."""
    return costs[2:] if len(costs) > 4 else costs


def first_horizon(*, left_s: float, step_s: float, closing_s: float, eval_steps: int) -> int:
    """Steps of a run that has not begun, with the early checkpoint after step 1 and the last evaluation and save."""
    left_s -= 2 * closing_s
    return max(1, steps_that_fit(left_s, step=0, step_s=max(step_s, 1e-3), closing_s=closing_s, eval_steps=eval_steps))
