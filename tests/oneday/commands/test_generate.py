"""`oneday generate` as a person types it, with the tiny base and with the picked checkpoint of a run."""

import json
from pathlib import Path

import pytest

from core.example.prompt import STOP, training_prompt
from core.files import read_json, read_jsonl, sha256, write_jsonl
from harness.budget.clock import Clock
from harness.ledger.ledger import Ledger
from oneday.commands.evaluation.charging import charged
from oneday.demo.demo import DEMO_BASE
from oneday.display.console import Console
from tests.conftest import copy_run
from tests.evaluation.capitals import write
from tests.oneday.commands.test_evaluate import ITEMS
from tests.oneday.test_cli import last_json, run


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "items.jsonl", ITEMS)
    return tmp_path


ASK = ("generate", "ifeval", "--items", "items.jsonl", "--max-new-tokens", 8, "--out", "r.jsonl", "--model")


@pytest.mark.slow
def test_responses_are_generated_once_and_can_be_scored(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*ASK, DEMO_BASE, "--dry-run") == 0
    assert not list(place.glob("r.jsonl*"))
    capsys.readouterr()
    assert run(*ASK, DEMO_BASE, "--json") == 0
    found = last_json(capsys)
    assert (found["responses"], found["generation"]["template"], found["unanswered"]) == (8, "plain", {})
    before = (place / "r.jsonl").read_bytes()
    assert sorted(path.name for path in place.glob("r.jsonl*")) == ["r.jsonl", "r.jsonl.manifest.json"]
    assert run(*ASK, DEMO_BASE) == 0
    assert "generated already" in capsys.readouterr().err
    assert run(*ASK, DEMO_BASE, "--template", "chat") == 2
    assert "generated with other settings (generation.template: plain -> chat)" in capsys.readouterr().err
    assert run("evaluate", "ifeval", "--items", "items.jsonl", "--responses", "r.jsonl", "--json") == 0
    assert last_json(capsys)["metrics"]["prompt_strict"]["n"] == 8
    assert run(*ASK, DEMO_BASE, "--redo") == 0
    assert (place / "r.jsonl").read_bytes() == before


@pytest.mark.slow
def test_a_runs_budget_is_charged_and_ends_the_work(
    place: Path, finished_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In 40 ms no model is loaded."""
    folder = copy_run(finished_run, place / "run")
    ledger = folder / "ledger.jsonl"
    set_budget(ledger, 300)
    assert run(*ASK, "run") == 0
    row = next(read_jsonl(place / "r.jsonl"))
    assert row["generation"]["template"] == "alpaca"
    assert read_json(place / "r.jsonl.manifest.json")["settings"]["precision"].startswith("4 bits")
    assert set(row["checkpoint"]) == {"name", "sha256", "base_sha256", "adapter_sha256"}
    day = Ledger.of_run(ledger).report()
    assert day.by_phase["generate"] > 1
    assert Ledger.of_run(ledger).is_closed
    set_budget(ledger, day.charged_s + 0.04)
    capsys.readouterr()
    assert run(*ASK, "run", "--redo") == 2
    assert "its budget ended after 0 of 8 responses, which are kept" in capsys.readouterr().err
    assert Ledger.of_run(ledger).report().overshoot_s < 0.5


def test_time_outside_of_a_budget_is_noted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A used-up budget is not charged, nor one that is to be left alone; a folder without a ledger has none."""
    with charged(tmp_path, "generate", Console()) as charge:
        assert not charge.is_bounded
    up = [1_000.0]
    path = tmp_path / "ledger.jsonl"
    ledger = Ledger.start(path, budget_s=50, clock=Clock(up=lambda: up[0], wall=lambda: up[0], boot=lambda: "a boot"))
    ledger.enter("train")
    up[0] += 50
    ledger.stop()
    with charged(tmp_path, "generate", Console()) as charge:
        assert not charge.is_bounded
    assert "its budget of 50.0s is used up; this is not charged to it" in capsys.readouterr().err
    set_budget(path, 90)
    with charged(tmp_path, "generate", Console(), uncharged=True) as charge:
        assert not charge.is_bounded
    report = Ledger.of_run(path).report()
    assert (report.by_phase, set(report.not_charged or {})) == ({"train": 50.0}, {"generate"})
    with charged(tmp_path, "generate", Console()) as charge:
        assert charge.is_bounded


def set_budget(path: Path, seconds: float) -> None:
    first, *rest = path.read_text().splitlines(keepends=True)
    path.write_text(json.dumps(json.loads(first) | {"budget_s": seconds}) + "\n" + "".join(rest))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "gone/model"], "gone/model: neither a folder nor whole in the hub's cache on this machine"),
        (["--model", "http://127.0.0.1:9/v1"], "http://127.0.0.1:9/v1: no answer after 3 tries"),
        (["--model", str(DEMO_BASE), "--out", "."], "--out .: a folder"),
        (["--model", str(DEMO_BASE), "--set", "x=1"], "x: no option of ifeval"),
        (["--model", str(DEMO_BASE), "--max-new-tokens", "2048"], "none of 8 prompts can be asked (prompt_too_long"),
    ],
)
def test_what_cannot_be_asked_is_one_line(
    place: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert run("generate", "ifeval", "--items", "items.jsonl", *arguments) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ")
    assert message in error


QUESTIONS = [{"instruction": "Say it.", "input": f"{n}", "output": f"{n}"} for n in range(2)]
ASK_HELD_OUT = ("generate", "held-out", "--items", "q.jsonl", "--max-new-tokens", 4, "--model", DEMO_BASE)


def test_an_instruction_with_its_input_becomes_one_alpaca_prompt_or_one_message(place: Path) -> None:
    """A base without a chat template gets the Alpaca prompt, once, whether it is asked for or not."""
    write_jsonl(place / "q.jsonl", QUESTIONS)
    asked = {}
    for name in ("default", "plain", "alpaca", "chat"):
        template = () if name == "default" else ("--template", name)
        assert run(*ASK_HELD_OUT, *template, "--out", f"{name}.jsonl") == 0
        rows = list(read_jsonl(place / f"{name}.jsonl"))
        assert [row["prompt"] for row in rows] == [training_prompt("Say it.", str(n)) for n in range(2)]
        asked[name] = [row["prompt_sha256"] for row in rows]
        assert {tuple(row["generation"]["stop"]) for row in rows} == {() if name == "chat" else (STOP,)}
        assert run("evaluate", "held-out", "--items", "q.jsonl", "--responses", f"{name}.jsonl", "--out", name) == 0
    alpaca = [sha256(training_prompt("Say it.", str(n)).encode()) for n in range(2)]
    assert asked["default"] == asked["plain"] == asked["alpaca"] == alpaca
    assert asked["chat"] == [
        sha256(f"<|im_start|>user\nSay it.\n\n{n}<|im_end|>\n<|im_start|>assistant\n".encode()) for n in range(2)
    ]


def test_conversations_among_instructions_keep_the_chat_template(place: Path) -> None:
    """As the rows of such a mix are trained: the Alpaca prompt is for instructions."""
    talk = {"messages": [{"role": role, "content": "Why?"} for role in ("user", "assistant", "user", "assistant")]}
    write_jsonl(place / "q.jsonl", [QUESTIONS[0], talk])
    for template in ("alpaca", "plain"):
        assert run(*ASK_HELD_OUT, "--template", template, "--out", f"{template}.jsonl") == 0
        instruction, conversation = read_jsonl(place / f"{template}.jsonl")
        assert instruction["prompt_sha256"] == sha256(training_prompt("Say it.", "0").encode())
        turns = "".join(f"<|im_start|>{role}\nWhy?<|im_end|>\n" for role in ("user", "assistant", "user"))
        assert conversation["prompt_sha256"] == sha256(f"{turns}<|im_start|>assistant\n".encode())
