from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from evaluation.difference import differences
from evaluation.errors import EvaluationError
from evaluation.join import join
from evaluation.resampling import wilson
from evaluation.responses import read_responses
from evaluation.scoring import Evaluation, evaluate
from tests.evaluation.capitals import ANSWERS, Capitals, capital, recorded, three, write


def scored(path: Path, rows: list[Any], suite: Capitals | None = None, name: str = "r") -> Evaluation:
    suite = suite or three()
    responses = read_responses(write(path / name, rows))
    return evaluate(suite, join(suite, responses, partial=True), responses)


def many(path: Path, right: Mapping[str, int], of: int, name: str = "r") -> Evaluation:
    """`right[part]` of `of` questions of each part are right."""
    suite = Capitals([capital(part, str(n), f"C{n}", "yes") for part in right for n in range(of)])
    rows = [recorded(part, str(n), "yes" if n < num else "no") for part, num in right.items() for n in range(of)]
    return scored(path, rows, suite, name)


def test_a_share_has_its_count_and_a_wilson_interval(tmp_path: Path) -> None:
    figure = scored(tmp_path, ANSWERS).metrics["accuracy"]
    assert (figure.k, figure.n, figure.value, figure.interval) == (2, 3, 2 / 3, wilson(2, 3))


def test_a_macro_average_weighs_labels_alike(tmp_path: Path) -> None:
    evaluation = scored(tmp_path, ANSWERS)
    figure = evaluation.metrics["macro"]
    assert (figure.k, figure.n, figure.value) == (None, 3, (1 / 2 + 1) / 2)
    assert {label: f["accuracy"].k for label, f in evaluation.by["continent"].items()} == {"asia": 1, "europe": 1}


def test_a_mean_has_no_count_and_a_median_no_interval(tmp_path: Path) -> None:
    evaluation = scored(tmp_path, ANSWERS)
    mean, median = evaluation.metrics["characters"], evaluation.metrics["median_characters"]
    assert (mean.k, mean.value) == (None, pytest.approx((15 + 4 + 5) / 3))
    assert mean.interval is not None
    assert mean.interval[0] <= 8 <= mean.interval[1]
    assert (median.value, median.interval) == (5, None)


def test_an_undecided_outcome_is_counted_and_never_a_number(tmp_path: Path) -> None:
    evaluation = scored(tmp_path, [recorded("asia", "0", "?"), *ANSWERS[1:]])
    assert evaluation.nulls == {"accuracy": 1}
    assert (evaluation.metrics["accuracy"].k, evaluation.metrics["accuracy"].n) == (1, 2)
    nothing = scored(tmp_path, [{**row, "response": "?"} for row in ANSWERS]).metrics["accuracy"]
    assert (nothing.k, nothing.n, nothing.value, nothing.interval) == (0, 0, None, None)


def test_a_missing_response_counts_as_failed_and_is_told(tmp_path: Path) -> None:
    evaluation = scored(tmp_path, ANSWERS[1:])
    assert (evaluation.metrics["accuracy"].k, evaluation.metrics["accuracy"].n) == (1, 3)
    assert evaluation.warnings == ["partial: items without a response, which count as failed: 1"]


def test_a_shuffled_file_gives_the_same_result_to_the_last_digit(tmp_path: Path) -> None:
    one, other = (scored(tmp_path, rows).as_json() for rows in (ANSWERS, ANSWERS[::-1]))
    assert one == other


def test_two_swapped_responses_change_exactly_their_rows(tmp_path: Path) -> None:
    before = scored(tmp_path, ANSWERS)
    swapped = [{**ANSWERS[0], "response": ANSWERS[2]["response"]}, ANSWERS[1], {**ANSWERS[2], "response": "Tokyo"}]
    after = scored(tmp_path, swapped)
    pairs = zip(before.rows, after.rows, strict=True)
    changed = [(a.item.suite, a.item.id) for a, b in pairs if a.outcomes != b.outcomes]
    assert changed == [("capitals/europe", "0"), ("capitals/asia", "0")]


def test_a_difference_is_paired_and_says_whether_it_is_one(tmp_path: Path) -> None:
    base, better = many(tmp_path, {"a": 50, "b": 40}, 100), many(tmp_path, {"a": 70, "b": 45}, 100, "s")
    found = differences(better, base)
    accuracy = found.metrics["accuracy"]
    assert accuracy.value == pytest.approx(0.125)
    assert accuracy.interval is not None
    assert 0.07 < accuracy.interval[0] < 0.125 < accuracy.interval[1] < 0.18
    assert accuracy.is_distinguished
    assert found.metrics["macro"].value == pytest.approx(0.125)
    assert found.by["continent"]["b"]["accuracy"].value == pytest.approx(0.05)
    assert found.metrics["median_characters"].interval is None
    assert found.settings == ()


def test_equal_responses_are_not_distinguished(tmp_path: Path) -> None:
    same = differences(many(tmp_path, {"a": 50}, 100), many(tmp_path, {"a": 50}, 100, "s")).metrics["accuracy"]
    assert (same.value, same.interval, same.is_distinguished) == (0.0, (0.0, 0.0), False)


def test_generation_settings_that_differ_are_told_but_for_the_engine(tmp_path: Path) -> None:
    def file(name: str, **settings: Any) -> Evaluation:
        rows = [
            {"suite": f"capitals/{i.suite[9:]}", "language": "en", "id": i.id, "response": "", "generation": settings}
            for i in three().items()
        ]
        return scored(tmp_path, rows, name=name)

    ours, theirs = file("r", engine="ray", temperature=0, seed=1), file("s", engine="openai", temperature=0, seed=2)
    assert differences(ours, theirs).settings == ("generation.seed: 1, 2",)


def test_a_file_of_two_settings_is_not_compared(tmp_path: Path) -> None:
    rows = [
        {"suite": i.suite, "language": "en", "id": i.id, "response": "", "generation": {"seed": n}}
        for n, i in enumerate(three().items())
    ]
    evaluation = scored(tmp_path, rows)
    with pytest.raises(EvaluationError, match=r"r:2: its generation settings differ from those of line 1"):
        differences(evaluation, evaluation)
