from collections.abc import Mapping

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import MixError
from curation.fit import MOST_EPOCHS, Fit, FitParameters, fit, targets_at
from curation.sources.source import EPOCHS, LIMA, MIXES, QUAC

ALL = MIXES["200k"]
PLENTY = dict.fromkeys(ALL, 10**7)
HUNDRED = dict.fromkeys(ALL, 100.0)


def tokens(amount: float) -> FitParameters:
    """A budget of so many tokens: one a second."""
    return FitParameters(budget_s=amount, tokens_per_s=1.0)


def quac(amount: float, rows: int) -> Fit:
    """One source with rows of 10 tokens; the paper has 10,000 of it in every mix."""
    return fit(tokens(amount), {QUAC: 1}, {QUAC: 10.0}, {QUAC: rows})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"budget_s": 0.0, "tokens_per_s": 1.0}, "`fit.budget_s=0.0`: not above 0. A day is 86400"),
        (
            {"budget_s": 10.0, "tokens_per_s": 0.0},
            "`fit.tokens_per_s=0.0`: not a positive number. Give what a rehearsal measured",
        ),
        ({"budget_s": 10.0, "tokens_per_s": 1.0, "share": 0.0}, "`fit.share=0.0`: not in"),
        ({"budget_s": 10.0, "tokens_per_s": 1.0, "share": 1.1}, "`fit.share=1.1`: not in"),
    ],
)
def test_what_cannot_be_filled_is_refused(values: dict[str, float], message: str) -> None:
    with pytest.raises(MixError, match=message):
        FitParameters(**values)


def test_only_the_share_that_trains_is_filled() -> None:
    assert FitParameters(budget_s=86_400, tokens_per_s=1_900, share=0.5).tokens == 82_080_000


@pytest.mark.parametrize("mix", list(MIXES))
def test_the_papers_mixes_are_points_on_the_path(mix: str) -> None:
    assert targets_at(sum(MIXES[mix].values()), ALL) == MIXES[mix]


def test_between_two_mixes_rows_follow_the_straight_line_and_below_the_first_they_shrink() -> None:
    half_way = targets_at((206_000 + 389_000) / 2, ALL)
    assert (half_way["ni_generation"], half_way["cnn_dailymail"], half_way[LIMA]) == (80_000, 21_500, 1_000)
    assert targets_at(20_600, ALL) == {s: n / 10 for s, n in MIXES["200k"].items()}
    assert targets_at(2 * 709_000, ALL) == {s: n * 2 for s, n in MIXES["700k"].items()}


@settings(deadline=None)
@given(st.floats(1, 2e6), st.sets(st.sampled_from(list(ALL)), min_size=1))
def test_a_point_on_the_path_has_the_rows_that_were_asked_for(total: float, names: set[str]) -> None:
    targets = targets_at(total, {name: 1 for name in ALL if name in names})
    assert set(targets) == names
    assert sum(targets.values()) == pytest.approx(total)
    assert min(targets.values()) >= 0


@pytest.mark.parametrize("mix", list(MIXES))
def test_a_budget_of_one_of_the_papers_runs_gives_its_mix_and_its_epochs(mix: str) -> None:
    means = {source: 100.0 + 7 * number for number, source in enumerate(ALL)}
    budget = EPOCHS[mix] * sum(rows * means[source] for source, rows in MIXES[mix].items())
    found = fit(tokens(budget), ALL, means, PLENTY)
    assert found.epochs == EPOCHS[mix]
    assert found.fills
    assert all(abs(rows - MIXES[mix][source]) <= 1 for source, rows in found.targets.items())
    assert {e.mix: e.seconds for e in found.paper}[mix] == pytest.approx(budget)


def test_the_rows_that_fill_a_budget_can_be_counted_by_hand() -> None:
    found = quac(300_000, rows=10_000)
    assert (found.targets, found.epochs, found.tokens, found.seconds) == ({QUAC: 10_000}, 3, 100_000, 300_000)
    assert found.fills


def test_a_source_that_holds_too_little_is_seen_more_often() -> None:
    found = quac(35_000, rows=1_000)
    assert (found.epochs, found.targets, found.fills) == (4, {QUAC: 875}, True)


def test_a_budget_that_nothing_fills_takes_everything_and_says_so() -> None:
    found = quac(50_000, rows=1_000)
    assert (found.targets, found.epochs, found.fills) == ({QUAC: 1_000}, MOST_EPOCHS, False)
    assert (found.tokens, found.seconds) == (10_000, 40_000)


def test_a_budget_that_all_rows_fill_to_the_last_is_filled() -> None:
    found = quac(40_000, rows=1_000)
    assert (found.targets, found.epochs, found.fills, found.seconds) == ({QUAC: 1_000}, 4, True, 40_000)


def test_what_a_short_source_lacks_the_others_make_up_for() -> None:
    wanted = {LIMA: 1, QUAC: 1}
    have = {LIMA: 100, QUAC: 50_000}
    found = fit(tokens(3 * 110_000), wanted, {LIMA: 10.0, QUAC: 10.0}, have)
    assert found.targets == {LIMA: 100, QUAC: 10_900}
    assert found.epochs == 3


def test_a_source_without_rows_gets_none() -> None:
    found = fit(tokens(3e5), {LIMA: 1, QUAC: 1}, {QUAC: 10.0}, {QUAC: 50_000})
    assert found.targets == {LIMA: 0, QUAC: 10_000}


def test_the_ending_of_the_papers_mixes_is_told_with_the_rows_at_hand() -> None:
    parameters = FitParameters(budget_s=1e9, tokens_per_s=1_000, share=0.5)
    endings = fit(parameters, ALL, HUNDRED, {**PLENTY, "ni_generation": 10_000}).paper
    assert [(e.mix, e.epochs, e.rows) for e in endings] == [
        ("200k", 3, 166_000),
        ("400k", 2, 289_000),
        ("700k", 1, 499_000),
    ]
    assert endings[0].seconds == 166_000 * 100 * 3 / 1_000 / 0.5


def test_nothing_to_train_on_is_refused() -> None:
    with pytest.raises(MixError, match="no source has a row to give"):
        fit(tokens(1e6), ALL, {}, {})


def test_a_budget_below_one_row_is_refused() -> None:
    with pytest.raises(MixError):
        quac(5, rows=1_000)


def test_a_fit_can_be_written_as_json() -> None:
    assert orjson.loads(orjson.dumps(quac(35_000, rows=1_000)))["targets"] == {QUAC: 875}


@st.composite
def sources(draw: st.DrawFn) -> tuple[dict[str, float], dict[str, int]]:
    names = draw(st.sets(st.sampled_from(list(ALL)), min_size=1))
    means = {name: draw(st.floats(5, 2_000)) for name in ALL if name in names}
    return means, {name: draw(st.integers(1, 300_000)) for name in means}


@settings(deadline=None)
@given(sources(), st.floats(1e5, 1e10), st.floats(100, 10_000), st.floats(0.1, 1))
def test_a_fit_never_asks_for_more_than_there_is_time_for_or_rows(
    at_hand: tuple[Mapping[str, float], Mapping[str, int]], budget: float, rate: float, share: float
) -> None:
    means, available = at_hand
    parameters = FitParameters(budget_s=budget / rate, tokens_per_s=rate, share=share)
    try:
        found = fit(parameters, means, means, available)
    except MixError:
        assert parameters.tokens < MOST_EPOCHS * sum(means.values())
        return
    used = sum(rows * means[source] for source, rows in found.targets.items())
    assert all(0 <= rows <= available[source] for source, rows in found.targets.items())
    assert 1 <= found.epochs <= MOST_EPOCHS
    assert found.epochs * used <= parameters.tokens * (1 + 1e-9)
    assert found.seconds == pytest.approx(found.epochs * used / rate / share)


@settings(deadline=None)
@given(sources(), st.floats(1e5, 1e10))
def test_a_fit_leaves_less_than_one_row_of_each_source_unused(
    at_hand: tuple[Mapping[str, float], Mapping[str, int]], budget: float
) -> None:
    means, available = at_hand
    found = fit(tokens(budget), means, means, available)
    used = sum(rows * means[source] for source, rows in found.targets.items())
    if found.fills:
        assert tokens(budget).tokens / found.epochs - used <= sum(means.values()) * (1 + 1e-9) + 1e-6 * used
    else:
        assert dict(found.targets) == dict(available)
        assert MOST_EPOCHS * used < budget


@settings(deadline=None)
@given(sources(), st.floats(1e5, 1e10), st.floats(1, 4))
def test_a_larger_budget_never_trains_on_less(
    at_hand: tuple[Mapping[str, float], Mapping[str, int]], budget: float, more: float
) -> None:
    means, available = at_hand
    small, large = (fit(tokens(amount), means, means, available) for amount in (budget, budget * more))
    slack = MOST_EPOCHS * sum(means.values())
    assert large.seconds >= small.seconds * (1 - 1e-6) - slack
    assert small.fills or not large.fills
