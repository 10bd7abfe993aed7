"""Selection reads a table and nothing else."""

import random

import pytest

from studies.errors import SelectionRefused
from studies.selection import ALL, EVAL_LOSS, MetricRow, Selection, select

SURFACE = Selection(metrics=("language.accuracy", "spelling.micro", "relevance.relevance"))


def rows(loss: float, **cells: tuple[float | None, ...]) -> list[MetricRow]:
    """Metrics of one candidate; each in English, then in French."""
    names = {"language": "language.accuracy", "spelling": "spelling.micro", "relevance": "relevance.relevance"}
    found = [MetricRow(metric=EVAL_LOSS, language="", value=loss)]
    for name, values in cells.items():
        found += [
            MetricRow(metric=names[name], language=lang, value=value)
            for lang, value in zip(("en", "fr"), values, strict=True)
        ]
    return found


TABLES = {
    # the lowest loss, but it answers in English; irrelevant; good
    1e-4: rows(0.8, language=(1.0, 0.1), spelling=(0.99, 0.3), relevance=(0.9, 0.9)),
    1e-6: rows(1.4, language=(1.0, 1.0), spelling=(0.99, 0.98), relevance=(0.1, 0.1)),
    1e-5: rows(1.1, language=(1.0, 0.9), spelling=(0.99, 0.97), relevance=(0.9, 0.8)),
}


def test_surface_metrics_choose_another_rate_than_the_loss() -> None:
    assert select(SURFACE, TABLES).value == 1e-5
    assert select(Selection(metrics=(EVAL_LOSS,)), TABLES).value == 1e-4
    assert select(SURFACE, TABLES).scores["1e-05"] == pytest.approx((1.0 + 0.99 + 0.9 + 0.9 + 0.97 + 0.8) / 6)


def test_a_figure_of_all_languages_together_selects_nothing() -> None:
    """Each language does already."""
    together = [MetricRow(metric="language.accuracy", language=ALL, value=9.0)]
    assert select(SURFACE, {**TABLES, 1e-4: [*TABLES[1e-4], *together]}) == select(SURFACE, TABLES)


def test_the_order_of_rows_and_candidates_changes_nothing() -> None:
    first = select(SURFACE, TABLES)
    for seed in range(5):
        draw = random.Random(seed)
        shuffled = {value: draw.sample(table, len(table)) for value, table in draw.sample([*TABLES.items()], 3)}
        assert select(SURFACE, shuffled) == first


def test_only_the_languages_of_the_rule_count() -> None:
    rule = Selection(metrics=("language.accuracy",), languages=("en",))
    assert select(rule, TABLES).value == 1e-6  # all are equal, so the smaller


def test_ties_go_to_further_metrics_and_then_to_the_stated_side() -> None:
    tables = {value: [MetricRow(metric="a.b", language="en", value=0.5)] for value in (0.01, 0.05, 0.1)}
    assert select(Selection(metrics=("a.b",)), tables).value == 0.01
    chosen = select(Selection(metrics=("a.b",), tie="larger"), tables)
    assert (chosen.value, chosen.notes) == (0.1, ("0.01, 0.05, 0.1 are equal: the larger value is taken",))
    tables[0.05] = [*tables[0.05], MetricRow(metric="c.d", language="fi", value=0.9)]
    tables[0.01] = [*tables[0.01], MetricRow(metric="c.d", language="fi", value=0.1)]
    both = {value: tables[value] for value in (0.01, 0.05)}
    assert select(Selection(metrics=("a.b",), then=("c.d",)), both).value == 0.05


def test_a_metric_that_did_not_run_is_left_out_for_all_and_said() -> None:
    tables = {value: [row for row in table if "relevance" not in row.metric] for value, table in TABLES.items()}
    chosen = select(SURFACE, tables)
    assert chosen.value == 1e-6
    assert chosen.notes == ("relevance.relevance did not run", "2 of 3 metrics decide")


def test_a_metric_that_one_candidate_lacks_counts_for_none() -> None:
    tables = {**TABLES, 1e-6: rows(1.4, language=(1.0, 1.0), spelling=(0.99, 0.98), relevance=(None, None))}
    assert select(SURFACE, tables).value == 1e-6  # the others' relevance is not added to theirs alone
    with pytest.raises(SelectionRefused, match="missing for a candidate"):
        select(SURFACE.model_copy(update={"null": "refuse"}), tables)


def test_all_null_is_refused_with_a_reason() -> None:
    empty = {value: [MetricRow(metric="language.accuracy", language="en", value=None)] for value in (1, 2)}
    with pytest.raises(SelectionRefused, match=r"none of language\.accuracy, .* was computed .* did not run"):
        select(SURFACE, empty)
