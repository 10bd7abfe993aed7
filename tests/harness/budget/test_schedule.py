import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.budget.schedule import LRSchedule, Segment


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


def test_the_rate_depends_on_step_and_plan_alone() -> None:
    segments = plan(100).segments
    again = LRSchedule([Segment(step=s.step, progress=s.progress, horizon=s.horizon, reason="") for s in segments])
    assert [plan(100).progress(s) for s in range(120)] == [again.progress(s) for s in range(120)]
