"""Base against tuned, through the suite, its scores and their differences."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from core.comparison import OVERALL, Comparison
from core.example.prompt import STOP
from evaluation.asking.base_against_tuned import comparisons_of
from evaluation.errors import EvaluationError
from evaluation.held_out import HeldOut, Question
from evaluation.join import join
from evaluation.responses import Instruction, Response, read_responses, recorded_prompt, write_responses
from evaluation.scoring import evaluate
from evaluation.suites import load_suite
from tests.evaluation.capitals import write

ROW = {"instruction": "Say it.", "input": "a", "output": "b", "source": "ni_exact_match"}


def question(group: str, *, exact: bool = True) -> Question:
    return Question(group=group, task="t", instruction="i", input="x", reference="one two three four", exact=exact)


def compared(tmp_path: Path, groups: Sequence[str], base: Sequence[str], tuned: Sequence[str]) -> list[Comparison]:
    suite = HeldOut([question(group, exact=group != "rouge") for group in groups])
    found = []
    for name, texts in (("base", base), ("tuned", tuned)):
        rows = [
            Response(id=item.id, suite=item.suite, language=item.language, text=text, expected_language="en")
            for item, text in zip(suite.items(), texts, strict=True)
        ]
        write_responses(tmp_path / name, rows, suite_sha256=suite.fingerprint(), settings={})
        responses = read_responses(tmp_path / name)
        found.append(evaluate(suite, join(suite, responses), responses))
    return comparisons_of(*found)


RIGHT, WRONG = "one two three four", "five"


def test_means_groups_and_an_interval_around_the_difference(tmp_path: Path) -> None:
    groups = ["a"] * 80 + ["b"] * 20
    tuned = [RIGHT if n % 4 else WRONG for n in range(80)] + [RIGHT] * 20
    a, b, overall = compared(tmp_path, groups, [WRONG] * 80 + [RIGHT] * 20, tuned)
    assert (a.group, a.num, a.base, a.tuned) == ("a", 80, 0.0, 0.75)
    assert a.low < 0.75 < a.high
    assert a.p < 0.001
    assert (b.low, b.high, b.p) == (0.0, 0.0, 1.0)
    assert (overall.group, overall.num) == (OVERALL, 100)
    assert overall.tuned - overall.base == pytest.approx(0.6)


def test_no_difference_is_not_significant(tmp_path: Path) -> None:
    base, tuned = ([RIGHT if n % 2 == side else WRONG for n in range(100)] for side in (0, 1))
    assert compared(tmp_path, ["a"] * 100, base, tuned)[0].p > 0.5


def test_pairing_is_kept(tmp_path: Path) -> None:
    """Base and tuned vary much, their difference does not: an unpaired interval would be wide."""
    words = RIGHT.split()
    base = [" ".join(words[: n % 3 + 1]) for n in range(90)]
    found = compared(tmp_path, ["rouge"] * 90, base, base)[0]
    assert 0 < found.base < 1
    assert (found.low, found.high, found.p) == (0.0, 0.0, 1.0)


def test_the_suite_asks_the_rows_of_a_mix_as_they_were_trained(tmp_path: Path) -> None:
    write(tmp_path / "validation.jsonl", [ROW, {**ROW, "source": "mine"}])
    suite = load_suite("held-out", tmp_path, {})
    asked = Instruction(instruction="Say it.", input="a")
    assert [suite.prompt(item) for item in suite.items()] == [asked] * 2
    assert recorded_prompt(asked) == "### Instruction:\nSay it.\n\n### Input:\na\n\n### Response:\n"
    assert (asked.message, Instruction(instruction="Say it.").message) == ("Say it.\n\na", "Say it.")
    assert suite.generation().stop == (STOP,)
    assert [item.id for item in suite.items()] == ["0", "1"]
    answer = Response(id="", suite="", text="B.")
    scored = [[(o.metric, o.value) for o in suite.score(item, answer)] for item in suite.items()]
    assert scored == [[("score", 1.0), ("exact_match", 1.0)], [("score", 1.0), ("rouge_l", 1.0)]]
    assert len(load_suite("held-out", tmp_path / "validation.jsonl", {"questions": "1"}).items()) == 1
    turns = [{"role": role, "content": text} for role, text in (("user", "a"), ("assistant", "b"), ("user", "c"))]
    dialogue = {"messages": [*turns, {"role": "assistant", "content": "d"}], "source": "talks"}
    write(tmp_path / "validation.jsonl", [ROW, dialogue, {"text": "asks nothing"}])
    mixed = load_suite("held-out", tmp_path, {})
    assert [mixed.prompt(item) for item in mixed.items()] == [asked, turns]
    assert (mixed.reference(mixed.items()[1]), mixed.generation().stop) == ("d", ())
    with pytest.raises(EvaluationError, match=r"gone: no validation\.jsonl in it"):
        load_suite("held-out", tmp_path / "gone", {})
