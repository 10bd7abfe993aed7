import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation.preset import CurationParameters, with_settings
from curation.sources.shortfall import LEAST_SCALE, Shortfall, nothing_left, shortfalls
from curation.sources.source import LIMA, MIXES, NI_EXACT_MATCH, NI_GENERATION, QUAC, mix_targets
from oneday.cli import app
from oneday.cli.spelling import spelled
from oneday.requests.curation import CurateRequest

REASONS = {
    "non_commercial": "`policies.licences=all` takes 1,200 non-commercial rows",
    "unknown_licence": "`policies.licences=commercial` takes 1,200 rows of unknown licence",
    "already_solved": "`samples.retain_share=0.25` takes up to a quarter from 1,200 rows that the base already answers",
    "too_long": "`policies.max_tokens=4096` takes some of 1,200 long rows",
    "several_references": "`candidates.references=first` takes 1,200 rows with several answers",
    "short_input": "`policies.min_input_words=0` takes 1,200 rows with short inputs",
    "near_duplicate": "`policies.near_duplicates=none` takes 1,200 near duplicates",
}


def one(source: str, target: int, rows: int, scale: float = 1.0, **lost: int) -> Shortfall:
    (found,) = shortfalls({source: target}, {source: rows}, {source: lost}, scale=scale)
    return found


def test_a_source_that_meets_its_target_is_no_shortfall() -> None:
    assert shortfalls({QUAC: 10, LIMA: 5}, {QUAC: 10, LIMA: 6}, {QUAC: {"too_long": 3}}, scale=1.0) == []


def test_a_shortfall_reads_as_one_line_with_reasons_and_two_ways_out() -> None:
    found = one(NI_GENERATION, 50_000, 40_000, too_long=2_000, already_solved=31_000)
    assert spelled(str(found), CurateRequest) == (
        "ni_generation gives 40,000 of 50,000 rows (31,000 already_solved, 2,000 too_long). Ways out: --retain 0.25 "
        "takes up to a quarter from 31,000 rows that the base already answers; or --scale 0.8 shrinks every source so "
        "that this one fills its share."
    )


def test_only_short_sources_are_told_each_with_its_own_reasons() -> None:
    targets = {QUAC: 100, LIMA: 100, NI_EXACT_MATCH: 100}
    lost = {QUAC: {"too_long": 1}, LIMA: {"non_commercial": 9}, NI_EXACT_MATCH: {"duplicate": 2}}
    found = shortfalls(targets, {QUAC: 100, LIMA: 91, NI_EXACT_MATCH: 50}, lost, scale=1.0)
    assert [(s.source, s.target, s.rows, s.because) for s in found] == [
        (LIMA, 100, 91, {"non_commercial": 9}),
        (NI_EXACT_MATCH, 100, 50, {"duplicate": 2}),
    ]


def test_reasons_stand_by_number_and_those_without_rows_not_at_all() -> None:
    found = one(QUAC, 10, 1, short_input=2, duplicate=5, llm_generated=0, too_long=2)
    assert list(found.because.items()) == [("duplicate", 5), ("short_input", 2), ("too_long", 2)]


def test_the_mend_is_for_the_most_frequent_reason_that_can_be_mended() -> None:
    found = one(QUAC, 10, 1, duplicate=50, too_long=3, near_duplicate=4)
    assert found.ways_out[0] == "`policies.near_duplicates=none` takes 4 near duplicates"


@pytest.mark.parametrize(
    ("source", "what"), [(NI_GENERATION, "more task files with `tasks=`"), (QUAC, "a larger file")]
)
def test_where_no_setting_helps_more_data_does(source: str, what: str) -> None:
    found = one(source, 1_000, 1)
    assert found.ways_out[0] == f"give {what}: 999 rows are missing"
    assert "(the source holds no more)" in str(found)
    assert one(source, 1_000, 1, duplicate=10).ways_out == found.ways_out


def test_a_source_without_any_row_is_left_out_not_scaled_to_nothing() -> None:
    found = one(LIMA, 1_000, 0)
    assert found.ways_out[-1] == "`without=lima` leaves it out"
    assert str(found).startswith("lima gives 0 of 1,000 rows")


def test_the_scale_is_of_the_mix_as_it_was_scaled_before() -> None:
    assert one(QUAC, 1_000, 500, scale=0.1).ways_out[-1].startswith("`scale=0.05` ")


@pytest.mark.parametrize("reason", REASONS)
def test_each_reason_has_its_way_out(reason: str) -> None:
    assert one(QUAC, 5_000, 10, **{reason: 1_200}).ways_out[0] == REASONS[reason]


@pytest.mark.parametrize("reason", [*REASONS, "bucket_certain", "not_asked", "over_quota"])
def test_every_way_out_can_be_typed(reason: str) -> None:
    curate = app.commands["curate"]
    options = {name for parameter in curate.params for name in parameter.opts}
    for rows in (0, 10):
        text = spelled(str(one(NI_GENERATION, 5_000, rows, **{reason: 1_200})), CurateRequest)
        assert "`" not in text
        assert set(re.findall(r"--[a-z-]+", text)) <= options
        for key, value in re.findall(r"--set (\S+)=(\S+)", text):
            assert with_settings(CurationParameters(), {key: value})


@settings(deadline=None)
@given(st.sampled_from(sorted(MIXES)), st.sampled_from(sorted(MIXES["200k"])), st.floats(0.001, 1), st.data())
def test_the_scale_that_is_offered_mends_the_shortfall(
    mix: str, source: str, scale: float, data: st.DataObject
) -> None:
    target = mix_targets(mix, scale, frozenset())[source]
    rows = data.draw(st.integers(0, target - 1))
    assert_scale_mends(mix, source, scale, rows)


@pytest.mark.parametrize(("mix", "rows"), [("200k", 33_337), ("700k", 219_950)])
def test_the_scale_that_is_offered_mends_a_shortfall_of_the_whole_mix(mix: str, rows: int) -> None:
    assert_scale_mends(mix, NI_GENERATION, 1.0, rows)


def assert_scale_mends(mix: str, source: str, scale: float, rows: int) -> None:
    target = mix_targets(mix, scale, frozenset())[source]
    offered = one(source, target, rows, scale=scale).ways_out[-1]
    if rows == 0:
        assert offered == f"`without={source}` leaves it out"
        return
    found = re.findall(r"`scale=(\S+)`", offered)
    if scale * rows / target < LEAST_SCALE:
        assert found == [], "no way out of anything"
        return
    assert float(found[0]) >= LEAST_SCALE
    assert mix_targets(mix, float(found[0]), frozenset())[source] <= rows


OWN = {"mine": {"already_solved": 7, "used_as_example": 3, "too_long": 2}}


def test_own_rows_are_offered_what_brings_them_back_and_no_scale() -> None:
    (found,) = shortfalls({"mine": 50}, {"mine": 38}, OWN, scale=1.0, own=["mine"], is_papers=False)
    assert spelled(str(found)) == (
        "mine gives 38 of 50 rows (7 already_solved, 3 used_as_example, 2 too_long). Ways out: --set "
        "policies.max_tokens=4096 takes some of 2 long rows; or --take-all keeps every row of it that the policies let "
        "pass."
    )
    (found,) = shortfalls({"mine": 50}, {"mine": 0}, {"mine": {"duplicate": 50}}, scale=1.0, own=["mine"])
    assert str(found) == "mine gives 0 of 50 rows (50 duplicate)."


def test_no_row_at_all_names_what_took_most_and_the_way_to_get_it_back() -> None:
    solved, long = {"already_solved": 90, "duplicate": 400}, {"too_long": 30, "degenerate": 2}
    assert spelled(nothing_left(0, {NI_GENERATION: solved, "mine": long}, own=["mine"])) == (
        "no row is left to train on (mine: 30 too_long, 2 degenerate; ni_generation: 400 duplicate, 90 already_solved)."
        " Way out: give other tasks with --tasks: the base already answers 90 rows of these, with --redo."
    )
    assert "`samples.take_all=true` keeps every row" in nothing_left(1, {"mine": {"already_solved": 9}}, own=["mine"])
    assert spelled(nothing_left(1, {})) == (
        "only 1 row is left to train on (nothing was left out). Way out: give more rows with --tasks, with --redo."
    )


def test_where_no_mix_was_asked_for_nothing_is_shrunk() -> None:
    (found,) = shortfalls({NI_GENERATION: 500}, {NI_GENERATION: 400}, {}, scale=0.01, is_papers=False)
    assert "`scale=" not in str(found)
