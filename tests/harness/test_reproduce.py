"""A run again from its record; the child is the torch-free one, which is deterministic."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import oneday.commands.training.train
from core.files import read_jsonl
from core.run_folder import TRAIN
from harness.budget.schedule import Segment, write_segment
from harness.errors import ConfigError, DataError, TrainError
from harness.reproduce import Verdict, compare_runs, read_record
from harness.run import train
from harness.supervise import BATCHES, SCHEDULE
from oneday.commands.reproduce import run_reproduce
from oneday.display.console import Console
from oneday.requests.submission import ReproduceRequest
from tests.harness.test_run import MEASURED, fake, make_job

LAUNCH = fake(save="1,3")


@pytest.fixture
def run(tmp_path: Path, write_mix: Callable[..., Path], demo_base: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished run with its mix inside; rehearsals of it are known to cost nothing."""
    job = make_job(tmp_path, write_mix(), demo_base, budget_s=60.0)
    train(job, MEASURED, launch=LAUNCH)
    shutil.copytree(job.mix, job.run / "05_mix")
    write_segment(job.run / TRAIN / SCHEDULE, Segment(step=3, progress=1.0, horizon=3, reason="end: epochs"))
    monkeypatch.setattr(oneday.commands.training.train, "rehearse", lambda job, **others: MEASURED)
    return job.run


def again(record: Path, tmp_path: Path, **changes: object) -> ReproduceRequest:
    request = ReproduceRequest(manifest=record / "manifest.json", run=tmp_path / "again", questions=0)
    return replace(request, **changes)  # type: ignore[arg-type]


def test_a_run_repeats_itself_to_the_last_figure(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_reproduce(again(run, tmp_path), Console(json_line=True), launch=LAUNCH)
    seen = capsys.readouterr()
    figures = {f["name"]: f for f in json.loads(seen.out.splitlines()[-1])["figures"]}
    assert {f["verdict"] for f in figures.values()} == {"equal"}
    assert figures["batch hashes"]["now"] == "3 equal"
    assert figures["picked"]["now"] == "checkpoint-3"
    assert {"pack plan", "learning rates", "losses of the steps", "bytes of the adapter"} <= set(figures)
    assert "recorded and repeated run" in seen.out


def test_what_came_out_different_is_named_and_ends_with_an_error(run: Path, tmp_path: Path) -> None:
    batches = list(read_jsonl(run / TRAIN / BATCHES))
    batches[1]["batch"] = "0" * 16
    batches[2]["loss"] = 7.0
    (run / TRAIN / BATCHES).write_text("".join(json.dumps(b) + "\n" for b in batches))
    with pytest.raises(TrainError, match=r"differs from .*: batch hashes, losses of the steps"):
        run_reproduce(again(run, tmp_path), Console(), launch=LAUNCH)


def test_losses_that_differ_by_rounding_are_within_bounds(run: Path, tmp_path: Path) -> None:
    run_reproduce(again(run, tmp_path), Console(), launch=LAUNCH)
    batches = list(read_jsonl(run / TRAIN / BATCHES))
    batches[0]["loss"] = float(batches[0]["loss"]) + 0.001
    (run / TRAIN / BATCHES).write_text("".join(json.dumps(b) + "\n" for b in batches))
    found = {f.name: f.verdict for f in compare_runs(run, tmp_path / "again")}
    assert found["losses of the steps"] is Verdict.WITHIN
    assert found["batch hashes"] is found["learning rates"] is Verdict.EQUAL


def test_another_version_is_shown_and_is_no_error(run: Path, tmp_path: Path) -> None:
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["versions"]["torch"] = "1.0"
    (run / "manifest.json").write_text(json.dumps(manifest))
    run_reproduce(again(run, tmp_path), Console(), launch=LAUNCH)
    found = {f.name: f.verdict for f in compare_runs(run, tmp_path / "again")}
    assert found["version of torch"] is Verdict.DIFFERENT


def test_other_rows_and_another_base_are_refused_before_anything_starts(run: Path, tmp_path: Path) -> None:
    mix = Path(shutil.copytree(run / "05_mix", tmp_path / "other"))
    with (mix / "train.jsonl").open("a") as f:
        f.write('{"instruction": "x", "input": "", "output": "y"}\n')
    with pytest.raises(DataError, match=r"other/train.jsonl: its hash is .*, the recorded one"):
        run_reproduce(again(run, tmp_path, mix=mix), Console(), launch=LAUNCH)
    assert not (tmp_path / "again").exists()


def test_a_run_that_was_cut_short_or_is_itself_cannot_be_repeated(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="this is the recorded run"):
        run_reproduce(again(run, tmp_path, run=run), Console(), launch=LAUNCH)
    plan = run / TRAIN / SCHEDULE
    plan.write_text(plan.read_text().splitlines()[0] + "\n")
    with pytest.raises(ConfigError, match="the run was interrupted"):
        run_reproduce(again(run, tmp_path), Console(), launch=LAUNCH)


@pytest.mark.parametrize(
    "content", [None, "{", "[]", '{"versions": {}}', '{"versions": {}, "train": {"recipe": {"x": 1}}}']
)
def test_a_manifest_of_another_kind_is_refused(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(DataError, match="not the manifest of a trained run"):
        read_record(tmp_path / "manifest.json")


def test_a_manifest_alone_is_not_enough(run: Path, tmp_path: Path) -> None:
    shutil.copy(run / "manifest.json", tmp_path / "manifest.json")
    with pytest.raises(DataError, match="not only the manifest"):
        read_record(tmp_path / "manifest.json")
