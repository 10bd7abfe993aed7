"""Recorded responses of two real models against published figures, and small files where those are not at hand."""

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evaluation.join import join
from evaluation.report import write_report
from evaluation.responses import Response, ResponseFile, read_responses
from evaluation.scoring import Evaluation, evaluate
from evaluation.suite import Suite
from evaluation.tc_eval.suites import Drcd, Fgc, ImdbTc, Penguins, Prompts, TcEvalParameters, Tmmlu, Ttqa, XsumTc
from tests.evaluation.tc_eval.conftest import constant

GPT35, MODEL_7C = "gpt3.5", "model_7c_chat"
DEFAULT = TcEvalParameters()


@pytest.fixture(scope="session")
def recorded(shared_data: Path) -> dict[str, ResponseFile]:
    folder = shared_data / "tc_eval" / "responses"
    return {name: read_responses(folder / f"{name}.jsonl.gz") for name in (GPT35, MODEL_7C)}


@pytest.fixture(scope="session")
def score(shared_data: Path, recorded: dict[str, ResponseFile]) -> Callable[[type[Any], str], Evaluation]:
    suites: dict[type[Any], Suite[Any]] = {}

    def scored(kind: type[Any], model: str) -> Evaluation:
        suite = suites.setdefault(kind, kind(shared_data / "tc_eval", DEFAULT))
        return evaluate(suite, join(suite, recorded[model]), recorded[model])

    return scored


def counts(evaluation: Evaluation, metric: str) -> tuple[int | None, int]:
    return evaluation.metrics[metric].k, evaluation.metrics[metric].n


@pytest.mark.parametrize(
    ("kind", "model", "right", "num"),
    [(Ttqa, GPT35, 77, 103), (Ttqa, MODEL_7C, 67, 103), (Penguins, GPT35, 60, 149), (Penguins, MODEL_7C, 40, 149)],
)
def test_choices_of_recorded_models(
    kind: type[Any], model: str, right: int, num: int, score: Callable[..., Evaluation]
) -> None:
    assert counts(score(kind, model), "accuracy") == (right, num)


@pytest.mark.parametrize(
    ("model", "macro", "micro", "first", "unexpected", "subjects"),
    [
        (GPT35, 0.521574, 1799, 132, 0, {"國際法": 0.476190, "邏輯推理": 0.533333, "會考數學": 0.4}),
        (MODEL_7C, 0.399668, 1343, 1267, 7, {"國際法": 0.571429, "邏輯推理": 0.333333, "會考數學": 0.4}),
    ],
)
def test_tmmlu_of_recorded_models(
    model: str,
    macro: float,
    micro: int,
    first: int,
    unexpected: int,
    subjects: dict[str, float],
    score: Callable[..., Evaluation],
) -> None:
    evaluation = score(Tmmlu, model)
    assert evaluation.metrics["macro"].value == pytest.approx(macro, abs=1e-6)
    assert counts(evaluation, "micro") == (micro, 3343)
    assert counts(evaluation, "first_character") == (first, 3343)
    assert list(evaluation.by["prompts"]) == ["not recorded"]
    assert len(evaluation.unexpected) == unexpected
    by_subject = {name: evaluation.by["subject"][name]["macro"].value for name in subjects}
    assert by_subject == pytest.approx(subjects, abs=1e-6)
    assert len(evaluation.by["subject"]) == 53


def test_the_unexpected_answers_are_named(score: Callable[..., Evaluation]) -> None:
    named = [f"TMMLU/普通化學 {n}" for n in range(47, 52)] + [f"TMMLU/會考數學 {n}" for n in (5, 6)]
    assert sorted(score(Tmmlu, MODEL_7C).unexpected) == sorted(named)


def test_tmmlu_from_csv_is_the_same_questions(shared_data: Path) -> None:
    of_csv = Tmmlu(shared_data / "tc_eval" / "tmmlu_csv", DEFAULT).items()
    subjects = {item.suite for item in of_csv}
    assert len(subjects) == 3
    by_key = {(item.suite, item.id): item for item in Tmmlu(shared_data / "tc_eval", DEFAULT).items()}
    assert len(of_csv) == sum(item.suite in subjects for item in by_key.values())
    assert all(by_key[item.suite, item.id] == item for item in of_csv)


@pytest.mark.parametrize(
    ("model", "prefix", "contain", "mean", "median"),
    [(GPT35, 2737, 3207, 7.58, 5), (MODEL_7C, 2691, 2988, 31.85, 32)],
)
def test_drcd_of_recorded_models(
    model: str, prefix: int, contain: int, mean: float, median: int, score: Callable[..., Evaluation]
) -> None:
    evaluation = score(Drcd, model)
    assert counts(evaluation, "prefix") == (prefix, 3493)
    assert counts(evaluation, "contain") == (contain, 3493)
    assert evaluation.metrics["characters_mean"].value == pytest.approx(mean, abs=0.005)
    assert evaluation.metrics["characters_median"].value == median


def test_drcd_is_scored_in_two_seconds(shared_data: Path) -> None:
    began = time.process_time()
    responses = read_responses(shared_data / "tc_eval" / "responses" / f"{GPT35}.jsonl.gz")
    suite = Drcd(shared_data / "tc_eval" / "DRCD_test.json.gz", DEFAULT)
    evaluate(suite, join(suite, responses), responses)
    assert time.process_time() - began < 2


def test_a_constant_response_gets_each_suites_known_score(folder: Path) -> None:
    assert counts(constant(Drcd(folder, DEFAULT), "北部"), "prefix") == (1, 2)
    assert counts(constant(Fgc(folder, DEFAULT), "北部"), "contain") == (0, 1)
    assert counts(constant(Ttqa(folder, DEFAULT), "A"), "accuracy") == (1, 2)
    assert counts(constant(Penguins(folder, DEFAULT), "10 隻"), "accuracy") == (1, 1)
    assert counts(constant(Tmmlu(folder, DEFAULT), "B) 二"), "first_character") == (1, 2)
    assert counts(constant(ImdbTc(folder, DEFAULT), "正面"), "accuracy") == (1, 2)
    assert counts(constant(ImdbTc(folder, DEFAULT), "1"), "first_character") == (1, 2)


@pytest.mark.parametrize("kind", [Drcd, Fgc, Ttqa, Penguins, Tmmlu, ImdbTc, XsumTc])
def test_empty_responses_score_zero_everywhere(kind: type[Any], folder: Path) -> None:
    evaluation = constant(kind(folder, DEFAULT), "")
    assert evaluation.nulls == {}
    assert {figure.value for figure in evaluation.metrics.values()} <= {0.0}


def test_summaries_are_scored_or_the_extra_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sumeval", reason="sumeval and jieba (extra `eval`) are not installed")
    assert constant(XsumTc(folder, DEFAULT), "台灣的首都是台北。").metrics["rouge_2"].value == 0.5
    for name in ("sumeval", "jieba"):
        monkeypatch.setitem(sys.modules, name, None)  # as if it were not installed
    evaluation = constant(XsumTc(folder, DEFAULT), "台灣的首都是台北。")
    assert evaluation.metrics == {}
    assert evaluation.not_run["rouge_2"] == "sumeval, jieba not installed: pip install 'oneday-llm[eval]'"


def test_prompts_are_those_of_either_runner(folder: Path) -> None:
    assert (
        Penguins(folder, DEFAULT).prompt(Penguins(folder, DEFAULT).items()[0])
        == "幾隻？ \n請從以下選項中選擇並回答: (A) 1;(B) 10"
    )
    suite = ImdbTc(folder, DEFAULT)
    assert str(suite.prompt(suite.items()[0])).endswith("如果是正面，請回答'(1)';，如果是負面，請回答'(0)'")
    other = ImdbTc(folder, TcEvalParameters(prompts=Prompts.TC_EVAL))
    assert str(other.prompt(other.items()[0])).endswith("\n\n評論：好看\n\n")
    assert suite.fingerprint() != other.fingerprint()


def test_first_characters_are_told_apart_by_what_the_prompt_ended_with(folder: Path) -> None:
    suite = Ttqa(folder, DEFAULT)
    item = suite.items()[0]

    def prompts(**fields: Any) -> str:
        outcomes = suite.score(item, Response(id="0", suite="ttqa", text="A", **fields))
        return next(o.by["prompts"] for o in outcomes if o.metric == "first_character")

    assert prompts() == "not recorded"
    assert prompts(generation={"response_prefix": " ("}) == "end in ' ('"
    assert prompts(prompt="問題 (") == "end in ' ('"
    assert prompts(prompt=str(suite.prompt(item))) == "do not end in ' ('"


def test_order_changes_nothing_and_swapped_responses_change_their_rows_alone(
    shared_data: Path, recorded: dict[str, ResponseFile]
) -> None:
    suite = Ttqa(shared_data / "tc_eval", DEFAULT)
    rows = [row for row in recorded[GPT35].rows if row.suite == "TTQA"]

    def scored(rows: list[Response]) -> Evaluation:
        responses = replace(recorded[GPT35], rows=tuple(rows))
        return evaluate(suite, join(suite, responses), responses)

    before = scored(rows)
    assert scored(rows[::-1]).metrics == before.metrics
    right = next(n for n, row in enumerate(before.rows) if row.outcomes[0].value == 1)
    wrong = next(n for n, row in enumerate(before.rows) if row.outcomes[0].value == 0)
    rows[right], rows[wrong] = (
        replace(rows[right], text="不知道"),
        replace(rows[wrong], text=before.rows[right].response.text),
    )
    after = scored(rows)
    changed = {n for n, pair in enumerate(zip(before.rows, after.rows, strict=True)) if pair[0] != pair[1]}
    assert changed == {right, wrong}


def test_the_page_shows_references_grades_and_titles_without_what_all_prompts_begin_with(
    folder: Path, tmp_path: Path
) -> None:
    write_report(tmp_path / "page.html", constant(Drcd(folder, DEFAULT), "北部"), None)
    page = (tmp_path / "page.html").read_text()
    assert "<summary>0: 北在北部。 問題：在哪？</summary>" in page
    assert "<pre>北部 / 北</pre>" in page
    assert '<span class="pill good">✓ prefix</span><span class="pill good">✓ contain</span>' in page
    assert '<span class="pill soft">characters mean 2</span>' in page
