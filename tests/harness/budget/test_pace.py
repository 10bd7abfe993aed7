"""The pace of a run against a simulated trainer with a clock of its own: no real second passes."""

import random
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.budget.curve import Curve
from harness.budget.pace import Pace, first_horizon, steps_that_fit
from harness.budget.schedule import LRSchedule, Segment

DRIFT = 0.02


@dataclass
class Trainer:
    """The loop of a run as the budget callback drives it, on a virtual clock."""

    budget_s: float
    eval_steps: int
    closing_s: float
    cold: float = 1.0
    """By how much the process's first evaluation is slower."""
    jitter: float = 0.0
    epochs_end: int = 10**9
    rng: random.Random = field(default_factory=lambda: random.Random(0))

    def run(self) -> tuple[int, LRSchedule]:
        """Steps that were made, and the plan with all of its segments."""
        pace = Pace(
            eval_steps=self.eval_steps, eval_costs=[self.cold * self.closing_s / 2], save_costs=[self.closing_s / 2]
        )
        horizon = first_horizon(left_s=self.budget_s, step_s=1.0, closing_s=self.closing_s, eval_steps=self.eval_steps)
        plan = LRSchedule([Segment(step=0, progress=0.0, horizon=min(horizon, self.epochs_end), reason="rehearsal")])
        now, step, num_evaluations = 0.0, 0, 0
        while True:
            step += 1
            cost = 1.0 + self.jitter * self.rng.uniform(-1, 1)
            now += cost
            pace.time_step(cost)
            evaluates = step == 1 or step % self.eval_steps == 0
            until_s = self.budget_s - now
            if step >= self.epochs_end or not pace.fits_another(until_s, evaluates=evaluates):
                return step, plan
            found = pace.last_step(step, until_s, evaluates=evaluates)
            at_the_end = step + 2 >= plan.horizon
            if found is not None and (evaluates or step % 20 == 0 or at_the_end):
                found = min(found, self.epochs_end)
                if abs(found - plan.horizon) > DRIFT * plan.horizon or (at_the_end and found != plan.horizon):
                    plan.replan(step, horizon=found, reason="test")
            if evaluates:
                seconds = self.closing_s / 2 * (self.cold if num_evaluations == 0 else 1.0)
                num_evaluations += 1
                now += seconds + self.closing_s / 2
                pace.time_evaluation(seconds)
                pace.time_save(self.closing_s / 2)


def steps_without_rate(steps: int, plan: LRSchedule) -> int:
    """Steps that the plan gave no rate when it was new enough to know of them."""
    curve = Curve(shape="linear")
    return sum(curve.share(step, plan) <= 1e-12 for step in range(steps))


@settings(deadline=None, max_examples=25)
@given(
    cost_ratio=st.floats(0, 3),
    eval_steps=st.integers(1, 60),
    num_cycles=st.floats(15, 40),
    cold=st.floats(1, 5),
    jitter=st.floats(0, 0.2),
)
def test_the_horizon_is_where_the_budget_ends_whatever_evaluations_cost(
    cost_ratio: float, eval_steps: int, num_cycles: float, cold: float, jitter: float
) -> None:
    """`cost_ratio` is the cost of an evaluation and save over that of the training between two of them."""
    closing_s = cost_ratio * eval_steps
    budget_s = num_cycles * (eval_steps + closing_s) + 60
    steps, plan = Trainer(budget_s=budget_s, eval_steps=eval_steps, closing_s=closing_s, cold=cold, jitter=jitter).run()
    foreseen = [s.horizon for s in plan.segments if s.step >= steps / 3]
    assert all(abs(horizon - steps) <= max(0.03 * steps, 2) for horizon in [plan.horizon, *foreseen])
    assert steps_without_rate(steps, plan) <= max(1, 0.02 * steps)


def test_half_of_the_steps_had_no_rate_when_evaluations_cost_as_much_as_training() -> None:
    """The fault as it was seen: 129 of 230 steps at rate 0. With e = 1 the old rule planned for no step at all."""
    steps, plan = Trainer(budget_s=460.0, eval_steps=10, closing_s=10.0).run()
    assert 215 <= steps <= 235
    assert steps_without_rate(steps, plan) <= 1
    assert abs(plan.segments[0].horizon - steps) <= 0.03 * steps


def test_a_run_that_is_faster_than_rehearsed_never_runs_out_of_its_plan() -> None:
    trainer = Trainer(budget_s=2_000.0, eval_steps=50, closing_s=25.0, cold=4.0, jitter=0.3)
    trainer.rng = random.Random(7)
    steps, plan = trainer.run()
    assert steps_without_rate(steps, plan) <= 1


def test_epochs_that_end_first_are_the_horizon() -> None:
    steps, plan = Trainer(budget_s=10_000.0, eval_steps=50, closing_s=5.0, epochs_end=333).run()
    assert (steps, plan.horizon) == (333, 333)


@pytest.mark.parametrize("step", [0, 7, 9, 10])
@pytest.mark.parametrize("left_s", [0.0, 1.4, 1.5, 10.4, 10.5, 15.4, 15.5, 16.5, 200.0])
def test_steps_are_counted_one_by_one(left_s: float, step: int) -> None:
    found = steps_that_fit(left_s, step=step, step_s=1.0, closing_s=5.0, eval_steps=10)
    by_hand, spent = 0, 0.0
    while left_s - spent - 5.0 * (by_hand > 0 and (step + by_hand) % 10 == 0) >= 1.5:
        spent += 5.0 * (by_hand > 0 and (step + by_hand) % 10 == 0) + 1.0
        by_hand += 1
    assert found == by_hand


def test_a_machine_that_became_slower_keeps_more_time_for_the_last_evaluation() -> None:
    pace = Pace(eval_steps=10, eval_costs=[], save_costs=[])
    for _ in range(5):
        pace.time_step(1.0)
    pace.time_evaluation(4.0)
    assert pace.left_s(100.0) == pytest.approx(95.0)
    for _ in range(5):
        pace.time_step(3.0)
    assert pace.left_s(100.0) == pytest.approx(100.0 - 3 * 5.0)


def test_a_slow_first_evaluation_is_forgotten_once_others_are_known() -> None:
    pace = Pace(eval_steps=10, eval_costs=[8.0], save_costs=[])
    for seconds in (9.0, 1.0, 1.0, 1.0):
        pace.time_evaluation(seconds)
    assert pace.closing_s == pytest.approx(1.0)
    assert pace.reserve_s == pytest.approx(1.05)
