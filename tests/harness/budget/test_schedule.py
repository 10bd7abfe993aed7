import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.budget.schedule import LRSchedule, Segment, learning_rate


def plan(horizon: int) -> LRSchedule:
    return LRSchedule([Segment(step=0, progress=0.0, horizon=horizon, reason="test")])


REPLANS = st.lists(st.tuples(st.integers(1, 400), st.integers(1, 3_000)), max_size=6)


@given(st.integers(1, 1_000), REPLANS)
def test_a_replan_never_jumps_and_progress_never_falls(horizon: int, replans: list[tuple[int, int]]) -> None:
    followed, step = plan(horizon), 0
    for ahead, new_horizon in replans:
        step += ahead
        before = followed.progress(step)
        followed.replan(step, horizon=new_horizon, reason="test")
        assert followed.progress(step) == pytest.approx(before)
    values = [followed.progress(s) for s in range(step + 200)]
    assert all(a <= b + 1e-12 for a, b in itertools.pairwise(values))
    assert values[0] >= 0.0
    assert values[-1] <= 1.0


def test_training_that_ends_at_the_horizon_ends_at_the_floor() -> None:
    followed = plan(100)
    followed.replan(50, horizon=400, reason="faster")
    assert learning_rate(400, followed, peak=1.0, warmup_steps=0, shape="cosine", floor=0.1) == pytest.approx(0.1)
    assert learning_rate(400, followed, peak=1.0, warmup_steps=0, shape="linear") == pytest.approx(0.0)


def test_without_a_replan_the_cosine_is_the_usual_one() -> None:
    for step in (0, 10, 50, 99):
        expected = 0.5 * (1 + math.cos(math.pi * step / 100))
        assert learning_rate(step, plan(100), peak=1.0, warmup_steps=0, shape="cosine") == pytest.approx(expected)


def test_warm_up_rises_evenly_and_takes_at_most_a_tenth_of_a_short_run() -> None:
    rates = [learning_rate(s, plan(10_000), peak=1.0, warmup_steps=4, shape="linear") for s in range(5)]
    assert rates[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0], abs=1e-3)
    short = [learning_rate(s, plan(50), peak=1.0, warmup_steps=100, shape="linear") for s in range(50)]
    assert max(short) == short[4]


def test_the_rate_depends_on_step_and_plan_alone() -> None:
    segments = plan(100).segments
    again = LRSchedule([Segment(step=s.step, progress=s.progress, horizon=s.horizon, reason="") for s in segments])
    assert [plan(100).progress(s) for s in range(120)] == [again.progress(s) for s in range(120)]
