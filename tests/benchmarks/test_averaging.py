"""The comparison of averages: its statistics, and the script on a run whose checkpoints are noise around the base."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from benchmarks.real import averaging
from benchmarks.real.averaging_report import MeasuredRun, RowsOf, differences, loss_difference, schedule_differences
from core.files import write_json, write_jsonl
from harness.checkpoint.content import EMA_WEIGHTS, RESUME_FILES
from harness.checkpoint.seal import seal
from tests.conftest import DEMO_BASE
from tests.harness.checkpoint.adapters import write_adapters

ROWS = RowsOf(kind="held-out", tasks=["a", "a", "b"], num_answer_tokens=[1, 3, 4])


def run(name: str, schedule: str, **losses: list[float]) -> MeasuredRun:
    of_kinds = {candidate: [sums] for candidate, sums in losses.items()}
    return MeasuredRun(name=name, schedule=schedule, trained_on=("rows", 1), rows=[ROWS], losses=of_kinds)


def test_a_difference_is_by_token_and_resampled_by_task() -> None:
    found = loss_difference([(ROWS, [1.0, 2.0, 0.0], [2.0, 4.0, 1.0])])
    assert found.value == pytest.approx(-4 / 8)
    assert found.interval == pytest.approx((-3 / 4, -1 / 4))  # task a alone, and task b alone
    assert (found.verdict, found.num_tasks, found.num_questions) == ("below", 2, 3)
    both = loss_difference([(ROWS, [1.0, 2.0, 0.0], [2.0, 4.0, 1.0]), (ROWS, [0.0] * 3, [0.0] * 3)])
    assert both.value == pytest.approx(-4 / 16)
    assert both.by_seed == pytest.approx((-0.5, 0.0))


def test_candidates_are_compared_with_the_best_of_their_run_and_schedules_with_the_cosine() -> None:
    cosine = run("one", "cosine", best=[8.0, 0.0, 0.0], last=[8.0, 0.0, 8.0])
    constant = run("two", "constant", best=[0.0, 0.0, 16.0], uniform=[0.0, 0.0, 0.0])
    found = {(d["ours"], d["runs"]): d["value"] for d in differences([cosine, constant])}
    assert found == {("last", 1): 1.0, ("uniform", 1): -2.0}
    schedules = {d["ours"]: d["value"] for d in schedule_differences([cosine, constant])}
    assert schedules == {"constant, best": 1.0, "constant, uniform": -1.0}
    assert schedule_differences([cosine, cosine]) == []


def test_the_script_measures_every_candidate_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "run" / "07_train" / "output"
    noises = {"checkpoint-10": 0.3, "checkpoint-20": 0.1, "checkpoint-30": 0.2}
    folders = write_adapters(output, DEMO_BASE, noises)
    shutil.copy(folders[1] / "adapter_model.safetensors", folders[2] / EMA_WEIGHTS)
    for folder, noise in zip(folders, noises.values(), strict=True):
        for file in RESUME_FILES:
            (folder / file).write_text("x")
        seal(folder, step=int(folder.name[11:]), validation_loss=noise)
    rows = [
        {"id": str(n), "task": f"t{n % 4}", "instruction": "Say it.", "input": str(n), "output": "it"} for n in range(9)
    ]
    for name in ("mix/validation.jsonl", "held_out.jsonl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write_jsonl(tmp_path / name, rows if name.startswith("h") else rows[:3])
    recipe = {"adapter": "lora", "lr_scheduler": "cosine", "seed": 1, "learning_rate": 0.001}
    origins = {
        "train": "rows",
        "base": "base",
        "card": "cpu",
        "base_path": str(DEMO_BASE),
        "mix_path": str(tmp_path / "mix"),
    }
    write_json(tmp_path / "run" / "manifest.json", {"train": {**origins, "recipe": recipe}})
    command = ["averaging", str(tmp_path / "run"), "--held-out", str(tmp_path / "held_out.jsonl"), "--questions", "5",
               "--num", "2", "--state", str(tmp_path / "state")]  # fmt: skip
    monkeypatch.setattr(sys, "argv", command)
    averaging.main()
    first = json.loads(capsys.readouterr().out)
    described = first["runs"]["run"]
    assert described["made_of"]["best"] == "checkpoint-20"
    assert described["made_of"]["last"] == "checkpoint-30"
    assert described["made_of"]["uniform"] == "checkpoint-20 x 0.500, checkpoint-30 x 0.500"
    assert described["rows"] == {"validation": 3, "held-out": 5}
    assert described["losses"]["moving"] == described["losses"]["best"]
    assert described["losses"]["products"] != described["losses"]["uniform"]
    assert {d["ours"] for d in first["differences"]} == {"last", "uniform", "loss-weighted", "products", "moving"}

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("a loss is measured twice")

    monkeypatch.setattr(averaging, "CheckpointLosses", refuse)
    averaging.main()
    assert json.loads(capsys.readouterr().out)["runs"] == first["runs"]
