"""`oneday study`: the plan that needs neither base nor data, and a small study on the real trainer."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from oneday.cli import main
from oneday.demo.demo import DEMO_BASE
from studies.running.folder import LEDGER
from tests.oneday.own_rows import letters, write_rows


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as e:
        main([*map(str, arguments)])
    return int(str(e.value.code))


def last_line(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    return found


def test_a_dry_run_lists_all_trainings_whatever_the_budget_drops(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("study", "finnish", "--dry-run", "--json") == 0
    whole = last_line(capsys)
    assert {"trainings", "generations", "dropped", "hours", "deviations"} <= set(whole)
    assert (len(whole["trainings"]), whole["dropped"]) == (14, [])
    assert run("study", "finnish", "--dry-run", "--json", "--budget", "8h") == 0
    less = last_line(capsys)
    assert len(less["trainings"]) == 14
    assert less["dropped"][:2] == ["neftune", "masked"]  # the lowest priority; the later in the file first
    assert less["hours"] <= 8 < whole["hours"]
    assert {t["arms"][0] for t in less["trainings"] if t["dropped"]} >= {"masked", "neftune"}
    assert "en-fi-100pct" not in less["dropped"]


def test_a_dry_run_shows_what_is_shared_how_arms_differ_and_what_departs_from_the_paper(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run("study", "taiwan", "--dry-run", "--set", "sft.learning_rate=1e-4") == 0
    seen = capsys.readouterr()
    assert "sft is trained once for 7b, 7b-no-feedback" in seen.out
    assert "without cpt" in seen.out
    assert "not declared" in seen.out  # the learning rate of this call
    assert "identities come from declared names" in seen.err


def test_the_shipped_studies_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("study", "--list", "--json") == 0
    assert set(last_line(capsys)["studies"]) == {"birbal", "finnish", "taiwan", "transfer"}


STUDY = """
study: mini
about: a sweep and an arm that takes its choice, on the tiny base
base: {base}
models: {{{base}: {{parameters: 6.0e5}}}}
card: cpu
budget: 10m
data_folder: {folder}
sources: {{mine: {{path: mine.jsonl, rows: 60, tokens: 30}}}}
stages:
  - {{name: sft, kind: sft, data: {{build: rows, source: mine}}, weights: lora, learning_rate: 1.0e-3, max_steps: 6,
     micro_batch_size: 2, sequence_len: 128, eval_steps: 3, gradient_checkpointing: false}}
anchor: plain
arms:
  plain: {{priority: 100}}
  noisy: {{changes: {{sft.neftune_noise_alpha: 5}}}}
sweep: {{stage: sft, key: learning_rate, values: [1.0e-4, 5.0e-3], arm: plain}}
selection: {{metrics: [eval_loss]}}
"""


@pytest.mark.slow
def test_a_small_study_is_trained_killed_and_gone_on_with(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_rows(tmp_path / "mine.jsonl", letters(60))
    study, folder = tmp_path / "mini.yml", tmp_path / "run"
    study.write_text(STUDY.format(base=DEMO_BASE, folder=tmp_path))
    command = ["study", str(study), "--run", str(folder), "--card", "cpu", "--json"]

    with (tmp_path / "log").open("wb") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "oneday.cli", *command], stdout=log, stderr=log, start_new_session=True
        )
    while child.poll() is None and not [*folder.glob("trainings/*/07_train/output/checkpoint-3")]:
        time.sleep(0.05)
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    begun = {path.name for path in folder.glob("trainings/*")}
    assert len(begun) == 1, (tmp_path / "log").read_text()

    assert run(*command) == 0
    found = last_line(capsys)
    assert {name: arm["state"] for name, arm in found["arms"].items()} == {"plain": "done", "noisy": "done"}
    assert [record["step"] for record in found["trainings"].values()] == [6, 6, 6]
    assert found["selections"]["plain"]["value"] == 5e-3
    assert (found["overshoot_s"], len(found["by_account"])) == (0.0, 3)
    events = (folder / "trainings" / begun.pop() / "07_train/metrics.jsonl").read_text()
    assert events.count('"train_begin"') == 2, "it went on with what the kill left"

    before = (folder / LEDGER).read_text().count("\n")
    assert run(*command) == 0
    again = last_line(capsys)
    assert {key: value for key, value in again.items() if key != "charged_s"} == {
        key: value for key, value in found.items() if key != "charged_s"
    }
    assert (folder / LEDGER).read_text().count("\n") - before <= 3
