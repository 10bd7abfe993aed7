import pytest

from core.comparison import OVERALL
from evaluation.statistics import Pair, compare


def test_means_groups_and_an_interval_around_the_difference() -> None:
    pairs = [Pair(group="a", base=0.0, tuned=float(n % 4 != 0)) for n in range(80)]
    pairs += [Pair(group="b", base=1.0, tuned=1.0) for _ in range(20)]
    a, b, overall = compare(pairs, seed=1)
    assert (a.group, a.num, a.base, a.tuned) == ("a", 80, 0.0, 0.75)
    assert a.low < 0.75 < a.high
    assert a.p < 0.001
    assert (b.low, b.high, b.p) == (0.0, 0.0, 1.0)
    assert (overall.group, overall.num) == (OVERALL, 100)
    assert overall.tuned - overall.base == pytest.approx(0.6)


def test_no_difference_is_not_significant() -> None:
    pairs = [Pair(group="a", base=float(n % 2), tuned=float((n + 1) % 2)) for n in range(100)]
    assert compare(pairs, seed=1)[0].p > 0.5


def test_pairing_is_kept() -> None:
    """Base and tuned vary much, their difference does not: an unpaired interval would be wide."""
    pairs = [Pair(group="a", base=n / 200, tuned=n / 200 + 0.01) for n in range(100)]
    found = compare(pairs, seed=1)[0]
    assert found.high - found.low < 1e-9


def test_the_same_seed_gives_the_same_interval() -> None:
    pairs = [Pair(group="a", base=0.0, tuned=float(n % 3 == 0)) for n in range(50)]
    assert compare(pairs, seed=1) == compare(pairs, seed=1)
