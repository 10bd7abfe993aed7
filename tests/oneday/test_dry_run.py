"""`--dry-run` of every command that has it: the run folder and the working directory are the same before and after."""

import hashlib
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from oneday.cli import app, main
from oneday.demo.demo import DEMO_BASE, RECIPE
from oneday.reference import commands
from tests.conftest import copy_run
from tests.curation.test_curate import DATA as NI_TASKS
from tests.oneday.own_rows import letters, write_rows

Given = Callable[[Path], Sequence[object]]

CASES: dict[str, Given] = {
    "train": lambda p: ["train", "--mix", p / "run/05_mix", "--config", RECIPE, "--base", DEMO_BASE, "--redo"],
    "train, elsewhere": lambda p: ["train", "--mix", p / "run/05_mix", "--config", RECIPE, "--run", p / "new"],
    "train, detached": lambda p: ["train", "--mix", p / "run/05_mix", "--config", RECIPE, "--detach"],
    "plan": lambda p: ["plan", "--card", "rtx4090", "--run", p / "run"],
    "pick": lambda p: ["pick", p / "run"],
    "pick, with time": lambda p: ["pick", p / "run", "--time", "1m", "--average", "2"],
    "pick, of anybody's": lambda p: ["pick", p / "run/07_train/output", "--validation", p / "run/05_mix/train.jsonl"],
    "pick, of nothing": lambda p: ["pick", p / "new"],
    "generate": lambda p: ["generate", "held-out", "--items", p / "run/05_mix", "--model", p / "run"],
    "study": lambda p: ["study", "finnish", "--run", p / "new"],
    "base": lambda p: ["base", "smollm2-135m", p / "new"],
    "helm": lambda p: ["helm", "--checkpoint", p / "run", "--out", p / "new", "--environment", p / "helm"],
    "curate": lambda p: ["curate", "--tasks", NI_TASKS, "--base", DEMO_BASE, "--run", p / "new"],
    "curate, own rows": lambda p: ["curate", "--tasks", "mine.jsonl", "--base", DEMO_BASE],
    "curate, all own rows": lambda p: ["curate", "--tasks", "mine.jsonl", "--base", DEMO_BASE, "--take-all"],
    "curate, in a run": lambda p: [
        "curate", "--tasks", "mine.jsonl", "--tasks", NI_TASKS, "--base", DEMO_BASE, "--run", "curated", "--redo",
        "--seed", "7",
    ],
}  # fmt: skip


def content(folder: Path) -> dict[str, str]:
    """Every file, folder and link below, hidden ones too."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = f"-> {path.readlink()}"
        elif path.is_file():
            found[name] = f"{path.stat().st_mtime_ns} {hashlib.sha256(path.read_bytes()).hexdigest()}"
        else:
            found[name] = "folder"
    return found


@pytest.fixture(scope="module")
def place(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, rows of somebody's own, and what was curated from them."""
    folder = tmp_path_factory.mktemp("place")
    copy_run(finished_run, folder / "run")
    write_rows(folder / "mine.jsonl", letters(12))
    tasks = ["--tasks", str(folder / "mine.jsonl"), "--base", str(DEMO_BASE)]
    with pytest.raises(SystemExit) as e:
        main(["curate", *tasks, "--run", str(folder / "curated")])
    assert e.value.code == 0
    return folder


@pytest.mark.parametrize("name", CASES)
def test_a_dry_run_writes_nothing(
    name: str, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(place, tmp_path / "place", symlinks=True))
    monkeypatch.chdir(folder)
    before = content(folder)
    assert ".lock" in str(sorted(before)), "hidden files are looked at"
    with pytest.raises(SystemExit) as e:
        main([*map(str, CASES[name](folder)), "--dry-run"])
    said = capsys.readouterr()
    assert e.value.code == 0, said.err
    assert content(folder) == before
    assert said.out


def test_every_command_that_has_a_dry_run_is_among_them() -> None:
    with_it = {
        path.removeprefix("oneday ")
        for path, command in commands(app)
        if any("--dry-run" in parameter.opts for parameter in command.params)
    }
    assert with_it == {name.partition(",")[0] for name in CASES}
