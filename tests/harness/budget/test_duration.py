import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.budget.duration import cost_bound, pretty, seconds
from harness.errors import BudgetError


@pytest.mark.parametrize(
    ("text", "expected"),
    [("24h", 86_400), ("90m", 5_400), ("1h30m", 5_400), ("45s", 45), ("2m30s", 150), ("1d", 86_400), ("0.5h", 1_800)],
)
def test_a_budget_is_a_duration_with_units(text: str, expected: float) -> None:
    assert seconds(text) == expected


@pytest.mark.parametrize(
    "text", ["", "24", "-3m", "3 minutes", "0s", "m", "h3", "1m1h", "nan", "infh", "9" * 400 + "h", "9999d"]
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(BudgetError, match="Write it with units"):
        seconds(text)


def test_durations_are_written_as_they_are_read() -> None:
    assert [pretty(x) for x in (7.5, 59.9, 150, 3_723)] == ["7.5s", "59.9s", "2m30s", "1h02m03s"]


def test_one_measurement_gets_the_widest_margin_and_none_gets_none() -> None:
    assert cost_bound([]) == 0
    assert cost_bound([8.0]) == 10.0


@given(st.lists(st.floats(0.01, 1_000), min_size=1, max_size=40))
def test_a_reserve_lies_between_the_margins_over_the_largest(costs: list[float]) -> None:
    assert 1.05 * max(costs) <= cost_bound(costs) * (1 + 1e-9) <= 1.25 * max(costs) * (1 + 2e-9)


def test_steady_costs_need_less_reserve_than_unsteady_ones() -> None:
    steady, unsteady = [10.0, 10.01] * 5, [10.0, 6.0] * 5
    assert cost_bound(steady) == pytest.approx(10.5105)
    assert cost_bound(unsteady) > 11.5


def test_the_reserve_holds_nineteen_times_in_twenty() -> None:
    rng = random.Random(4)
    held = 0
    for _ in range(2_000):
        costs = [max(0.1, rng.gauss(10, 1)) for _ in range(13)]
        held += costs[-1] <= cost_bound(costs[:-1])
    assert held / 2_000 >= 0.95
