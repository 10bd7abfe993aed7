"""The command line as a person meets it: help, errors in one line, the published commands."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from oneday.cli import main
from oneday.demo.demo import DEMO_BASE, RECIPE
from tests.conftest import REDUCED

ROOT = Path(__file__).parents[2]
TASKS = ROOT / "tests" / "data" / "tasks"
WITHOUT = "--without=lima,open-platypus,openbookqa,quac,cnn_dailymail,mathinstruct"


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as e:
        main([str(a) for a in arguments])
    code = e.value.code
    assert isinstance(code, int)
    return code


def last_json(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    return json.loads(capsys.readouterr().out.splitlines()[-1])


@pytest.mark.timed
def test_help_answers_in_under_half_a_second() -> None:
    command = [sys.executable, "-m", "oneday.cli", "--help"]
    subprocess.run(command, check=True, capture_output=True)  # compiles
    start = time.monotonic()
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "curate" in done.stdout
    assert time.monotonic() - start < 5  # a gate against importing torch; the goal of 0.5 s is measured in README


def test_help_imports_nothing_heavy() -> None:
    heavy = ("torch", "transformers", "datasets", "sklearn", "pydantic", "rich.table")
    code = f"import sys, oneday.cli; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize(
    "command",
    [
        ["curate"],
        ["curate", "score"],
        ["train"],
        ["rehearse"],
        ["plan"],
        ["ledger"],
        ["pick"],
        ["serve"],
        ["try"],
        ["demo"],
    ],
)
def test_every_command_has_help_with_an_example(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*command, "--help") == 0
    out = capsys.readouterr().out
    assert "Example: oneday" in out or "Examples: oneday" in out


def curate(tasks: object, base: object = DEMO_BASE, *more: object) -> list[object]:
    return ["curate", "--tasks", tasks, "--base", base, "--scale", "0.001", WITHOUT, *more]


def assert_one_line(capsys: pytest.CaptureFixture[str], message: str) -> None:
    lines = capsys.readouterr().err.strip().splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    assert len(errors) == 1
    assert lines[-1] == errors[0]
    assert message in errors[0]
    assert "Traceback" not in "".join(lines)


def test_curate_writes_a_mix_and_refuses_other_parameters_afterwards(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = ["--run", tmp_path / "run"]
    assert run(*curate(TASKS), *folder, "--json") == 0
    result = last_json(capsys)
    assert result["train_rows"] + result["validation_rows"] == sum(result["rows_by_source"].values())
    assert (tmp_path / "run" / "manifest.json").is_file()
    assert run(*curate(TASKS), *folder, "--seed", "7") == 2
    assert_one_line(capsys, "seed: 2023 -> 7")


def test_curate_replays_stored_predictions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        {"task": "task1_even_or_odd", "id": f"task1-{n}", "references": ["even"], "prediction": "odd"}
        for n in range(12)
    ]
    path = tmp_path / "predictions.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    command = ["curate", "--tasks", TASKS, "--scale", "0.001", WITHOUT, "--predictor", "replay", "--predictions", path]
    assert run(*command, "--run", tmp_path / "run", "--json") == 0
    assert last_json(capsys)["rows_by_source"] == {"ni_exact_match": 6}


@pytest.mark.parametrize("card", ["4090", "a100_40gb"])
def test_a_dry_run_prints_what_a_day_would_be(card: str, capsys: pytest.CaptureFixture[str]) -> None:
    name = {"4090": "rtx4090", "a100_40gb": "a100-40gb"}[card]
    recipe = RECIPE.parent / f"mistral_7b_qlora_{card}.yml"
    assert run("train", "--config", recipe, "--card", name, "--budget", "24h", "--dry-run") == 0
    out = capsys.readouterr().out
    for expected in ("24h00m00s", "49,152 tokens a step", "r 128, alpha 256", "paged_adamw_32bit", name):
        assert expected in out


@pytest.mark.parametrize(
    ("rouge", "empty", "first"), [("rouge-score", "zero", 26), ("rouge", "reference", 26), ("rouge", "zero", 28)]
)
def test_scoring_stored_predictions_ends_with_their_buckets(
    capsys: pytest.CaptureFixture[str], rouge: str, empty: str, first: int
) -> None:
    """The counts of all buckets, of these and of the whole file, stand in tests/core/test_score.py."""
    path = REDUCED / "gpt3-predictions" / "predictions.jsonl"
    assert run("curate", "score", "--predictions", path, "--rouge", rouge, "--empty", empty, "--json") == 0
    buckets = last_json(capsys)["buckets"]
    assert [sum(counts) for counts in buckets.values()] == [85, 115]
    assert next(iter(buckets.values()))[0] == first


def test_try_asks_in_the_training_template(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["try", "Write the first word of the list.", "--input", "apple, lamp, saw", "--checkpoint", DEMO_BASE]
    assert run(*command) == 0
    assert capsys.readouterr().out == "apple\n"


def test_version_names_the_stack(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == 0
    out = capsys.readouterr().out
    assert "oneday 0.1.0" in out
    assert "axolotl 0.19.0" in out


def test_the_ledger_shows_the_day_as_table_bar_and_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from harness.budget.clock import Clock
    from harness.ledger.ledger import Ledger

    up = [1_000.0]
    day = Ledger.start(tmp_path / "ledger.jsonl", budget_s=100, clock=Clock(up=lambda: up[0]))
    day.note_not_charged("rehearsal", 12.0)
    for phase, spent in (("load", 10), ("train", 60), ("pick", 5)):
        day.enter(phase)
        up[0] += spent
    day.stop()
    assert run("ledger", tmp_path, "--json") == 0
    output = capsys.readouterr()
    assert json.loads(output.out.splitlines()[-1]) == {
        "budget_s": 100.0, "charged_s": 75.0, "overshoot_s": 0.0, "downtime_past_deadline_s": 0.0,
        "by_phase": {"load": 10.0, "train": 60.0, "pick": 5.0}, "resumes": 0, "not_charged": {"rehearsal": 12.0},
    }  # fmt: skip
    assert "rehearsal" in output.out
    assert f"[{'l' * 6}{'█' * 36}{'k' * 3}{' ' * 15}]" in output.err
