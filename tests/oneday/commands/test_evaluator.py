"""A model of a study is asked as it was trained."""

from pathlib import Path

import pytest

from core.files import write_jsonl
from evaluation.scoring import Figure, Scores
from evaluation.suite import Template as Asks
from harness.ledger.account import Account
from harness.ledger.ledger import Ledger
from oneday.commands.evaluation.asked_model import template_of_run
from oneday.commands.studying import evaluator
from oneday.commands.studying.evaluator import CommandEvaluator, metric_rows
from oneday.requests.evaluating import GenerateRequest
from studies.errors import StudyError
from studies.graph import Generation
from studies.running.runner import GenerationWork
from studies.study import Sampling, Suite

ROWS: dict[str, dict[str, object]] = {
    "instruction": {"instruction": "Say it.", "input": "a", "output": "b"},
    "conversation": {"messages": [{"role": "user", "content": "Say it."}, {"role": "assistant", "content": "b"}]},
    "pair": {name: [{"role": "user", "content": "a"}] for name in ("prompt", "chosen", "rejected")},
    "text": {"text": "Once."},
}


def run_of(folder: Path, kind: str) -> Path:
    write_jsonl(folder / "05_mix" / "train.jsonl", [ROWS[kind]])
    return folder


@pytest.mark.parametrize(
    ("kind", "template"),
    [("instruction", Asks.ALPACA), ("conversation", Asks.CHAT), ("pair", Asks.CHAT), ("text", None)],
)
def test_the_rows_of_a_run_say_how_it_is_asked(kind: str, template: Asks | None, tmp_path: Path) -> None:
    assert template_of_run(run_of(tmp_path, kind)) is template


@pytest.mark.parametrize(
    ("kind", "declared", "asked"),
    [
        ("instruction", "alpaca", "alpaca"),
        ("instruction", "auto", "alpaca"),
        ("conversation", "alpaca", "chat"),
        ("pair", "auto", "chat"),
        ("text", "alpaca", "alpaca"),
        ("text", "auto", None),
        ("base", "alpaca", "alpaca"),
        ("base", "auto", None),
    ],
)
def test_a_trained_model_is_asked_as_it_was_trained_and_the_base_as_the_study_declares(
    kind: str, declared: str, asked: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests: list[GenerateRequest] = []

    def kept(command: str, runs: str, request: GenerateRequest, **bounds: object) -> int:
        requests.append(request)
        return 1

    monkeypatch.setattr(evaluator, "run_within", kept)
    suite = Suite(
        items="q.jsonl", scores=("held-out",), languages=("en",), num_items=1, generation=Sampling(max_new_tokens=8)
    )
    generation = Generation(
        identity="g", training="t", base="base", suite="held-out", languages=("en",), num_items=1, arms=("a",)
    )
    items = tmp_path / "q.jsonl"
    items.touch()
    work = GenerationWork(
        generation=generation, suite=suite, items=items, base=tmp_path / "base", weights=None,
        run=None if kind == "base" else run_of(tmp_path / "run", kind), template=declared,
        precision="4bit" if kind == "base" else None, checkpoint={}, folder=tmp_path / "out",
    )  # fmt: skip
    ledger = Ledger.start(tmp_path / "ledger.jsonl", budget_s=60.0)
    account = Account.open(tmp_path / "account.jsonl", of=ledger, name="g", share_s=30.0)
    with pytest.raises(StudyError, match="generate ended with exit code 1"):
        CommandEvaluator().generate(work, account)
    (request,) = requests
    assert (request.template, request.precision) == (asked, work.precision)
    assert request.set == ("questions=1",)


def test_a_suite_whose_items_lack_a_file_is_not_run_and_says_which(tmp_path: Path) -> None:
    sampling = Sampling(max_new_tokens=8)
    suite = Suite(items="i", scores=("modifiers",), languages=("en",), num_items=1, generation=sampling)
    assert CommandEvaluator().not_run(suite, tmp_path / "gone") == f"its items are not here: {tmp_path}/gone"
    (tmp_path / "modifiers.en.jsonl").write_text("{}\n")
    assert "none of judge_prompt.txt in it" in CommandEvaluator().not_run(suite, tmp_path)


@pytest.mark.parametrize(
    ("languages", "expected"),
    [
        (("en", "fi"), [("en", 0.2), ("fi", 0.4), ("all", 0.3)]),
        (("fi",), [("fi", 0.3)]),  # whatever the items call it
    ],
)
def test_figures_stand_by_language_and_together(languages: tuple[str, ...], expected: list[tuple[str, float]]) -> None:
    def figure(value: float) -> Figure:
        return Figure(k=None, n=9, value=value, interval=None)

    by = {"language": {"en": {"accuracy": figure(0.2)}, "fi": {"accuracy": figure(0.4)}}}
    scores = Scores(metrics={"accuracy": figure(0.3)}, by=by, not_run={})
    plain = [row for row in metric_rows("language", scores, languages) if not row.dimension]
    assert [(row.language, row.value) for row in plain] == expected
