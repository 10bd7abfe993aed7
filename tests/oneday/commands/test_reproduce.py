"""Two checkpoints served and asked the same, over real HTTP."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from evaluation.held_out import Question, held_out_questions, score_answer
from harness.reproduce import Verdict, compare_answers
from oneday.commands.reproduce import serve_both
from oneday.display.console import Console
from tests.conftest import write_small_mix
from tests.harness.checkpoint.adapters import write_adapters


def picked(run: Path, adapter: Path, base: Path) -> Path:
    (run / "08_pick").mkdir(parents=True)
    adapter.rename(run / "08_pick" / "adapter")
    (run / "08_pick" / "picked.json").write_text(json.dumps({"base_model": str(base), "precision": "fp32"}))
    return run


@pytest.mark.slow
def test_two_served_checkpoints_are_asked_the_same(tmp_path: Path, demo_base: Path) -> None:
    mix = write_small_mix(tmp_path / "mix")
    adapters = write_adapters(tmp_path / "adapters", demo_base, {"a": 0.0, "b": 0.5})
    runs = [picked(tmp_path / name, adapter, demo_base) for name, adapter in zip("ab", adapters, strict=True)]
    questions = held_out_questions(mix, 6)
    figures = serve_both((runs[0], runs[1]), questions, base=demo_base, console=Console())
    assert [f.name for f in figures] == ["served answers", "their mean score"]
    assert figures[0].now != "6 the same"
    again = serve_both((runs[0], runs[0]), questions, base=demo_base, console=Console())
    assert {f.verdict for f in again} == {Verdict.EQUAL}


def test_held_out_questions_are_always_the_same_rows(tmp_path: Path) -> None:
    mix = write_small_mix(tmp_path / "mix")
    questions = held_out_questions(mix, 5)
    assert questions == held_out_questions(mix, 5)
    assert len(held_out_questions(mix, 500)) == 12
    trained = (mix / "train.jsonl").read_text()
    assert not [q for q in questions if json.dumps(q.input) in trained]


def test_an_answer_is_right_or_wrong_or_near() -> None:
    exact = Question(group="g", task="t", instruction="i", input="x", reference="Cold", exact=True)
    near = Question(group="g", task="t", instruction="i", input="x", reference="a cold plate", exact=False)
    assert score_answer(exact, " cold.") == 1.0
    assert score_answer(exact, "cold plate") == 0.0
    assert score_answer(replace(exact, reference="-1.5"), "15") == 0.0
    assert score_answer(replace(near, reference="[-1, 2]"), "[1, 2]") == 0.0
    assert score_answer(near, "cold plate") == pytest.approx(0.8)


def test_answers_that_part_by_rounding_are_within_bounds_only_if_their_score_is() -> None:
    texts, score = compare_answers(["a", "b"], ["a", "c"], (0.5, 0.48))
    assert texts.verdict is score.verdict is Verdict.WITHIN
    texts, score = compare_answers(["a", "b"], ["x", "c"], (0.5, 0.0))
    assert texts.verdict is score.verdict is Verdict.DIFFERENT
