import pytest

from harness.budget import pretty, seconds
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
