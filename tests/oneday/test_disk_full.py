"""A full disk ends in one line that names the file and exit code 2; with room again the command continues.

The tests use a small file system if one can be mounted, and the kernel's limit on the size of a file, which gives the
same kind of error.
"""

import contextlib
import os
import resource
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from core.files import atomic_writer, naming, write_json, write_text
from core.stage import Dropped, Stage
from harness.ledger.ledger import Ledger
from oneday.demo.demo import DEMO_BASE
from tests.conftest import copy_run
from tests.oneday.own_rows import letters, write_rows

ROOT = Path(__file__).parents[2]
ONEDAY = [sys.executable, "-P", "-m", "oneday.cli"]


def run(*command: object, most_bytes: int | None = None, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
    def bounded() -> None:
        if most_bytes:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))

    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [*ONEDAY, *map(str, command)], capture_output=True, text=True, env=environment, preexec_fn=bounded, cwd=cwd
    )  # fmt: skip


def assert_names(done: "subprocess.CompletedProcess[str]", path: str, why: str) -> None:
    last = done.stderr.splitlines()[-1]
    assert done.returncode == 2, done.stderr
    assert last.startswith("error: "), done.stderr
    assert path in last
    assert why in last
    assert "Traceback" not in done.stderr, done.stderr


# One writer at a time, to a device that is always full


@pytest.fixture
def full(tmp_path: Path) -> Path:
    """A name under which everything is full."""
    (tmp_path / "full").symlink_to("/dev/full")
    return tmp_path / "full"


def test_a_text_that_does_not_fit_is_named(full: Path) -> None:
    with pytest.raises(OSError, match="No space left") as e:
        write_text(full, "x")
    assert e.value.filename == str(full)


def test_an_atomic_file_is_named_as_it_will_be_called(tmp_path: Path) -> None:
    (tmp_path / "rows.json.tmp").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left") as e:
        write_json(tmp_path / "rows.json", {"a": 1})
    assert e.value.filename == str(tmp_path / "rows.json")
    assert not (tmp_path / "rows.json").exists()


def test_an_error_in_what_is_written_is_not_the_files(tmp_path: Path) -> None:
    def write() -> None:
        with atomic_writer(tmp_path / "rows"):
            raise ConnectionResetError(104, "reset")

    with pytest.raises(ConnectionResetError) as e:
        write()
    assert e.value.filename is None


def test_tensors_that_do_not_fit_are_named(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file

    with small_disk(tmp_path, "64k") as disk, pytest.raises(OSError, match="No space left") as e, naming(disk / "w"):
        save_file({"w": torch.ones(100_000)}, disk / "w")
    assert e.value.filename == str(disk / "w")


def test_a_ledger_and_the_dropped_rows_are_named(tmp_path: Path) -> None:
    ledger = Ledger.start(tmp_path / "ledger.jsonl", budget_s=9.0)
    (tmp_path / "ledger.jsonl").unlink()
    (tmp_path / "ledger.jsonl").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left") as e:
        ledger.enter("train")
    assert e.value.filename == str(tmp_path / "ledger.jsonl")
    stage = Stage(tmp_path / "01_tasks", inputs={})
    stage.drop(Dropped(unit="row", id="1", reason="x"))
    (stage.directory / "dropped.jsonl.tmp").unlink()
    (stage.directory / "dropped.jsonl.tmp").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left") as e:
        stage.keep_drops()
    assert e.value.filename == str(stage.path("dropped.jsonl"))


# Whole commands


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A file system of this size. Skips where none can be mounted."""
    disk = folder / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip("no file system can be mounted here, so no disk is full: root may")
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("size", ["16k", "96k", "256k"])
def test_a_curation_on_a_full_disk_names_the_file_and_goes_on_with_room(tmp_path: Path, size: str) -> None:
    mine = write_rows(tmp_path / "mine.jsonl", letters(400))
    with small_disk(tmp_path, size) as disk:
        command = ["curate", "--tasks", mine, "--base", DEMO_BASE, "--run", disk / "run"]
        assert_names(run(*command), str(disk / "run"), "No space left on device")
        subprocess.run(["mount", "-o", "remount,size=32m", str(disk)], check=True)
        done = run(*command)
        assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def finished(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_run(finished_run, tmp_path_factory.mktemp("finished") / "run")


COMMANDS: dict[str, tuple[Sequence[str], int, str]] = {
    "demo": (["demo", "--run", "new"], 5_000, "new/00_corpus/"),
    "curate": (["curate", "--tasks", "mine.jsonl", "--base", str(DEMO_BASE), "--run", "new"], 30_000, "new/00_own/"),
    "export": (["export", "run", "--merge", "fp32"], 500_000, "run/09_export/merged.tmp/model.safetensors"),
    "export, adapter": (["export", "run"], 20_000, "run/09_export/adapter.tmp/"),
    "report": (["report", "run", "--out", "page.html"], 200_000, "page.html"),
    "compare": (["compare", "run", "--redo", "--questions", "7", "--max-new-tokens", "64"], 1_200, "run/"),
    "rehearse": (["rehearse", "--mix", "run/05_mix", "--base", str(DEMO_BASE), "--config", "tiny_cpu.yml", "--card",
                  "cpu", "--run", "new"], 1_000, "new/05_table/"),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_the_file_that_grew_too_large_is_named(name: str, finished: Path, tmp_path: Path) -> None:
    command, most_bytes, path = COMMANDS[name]
    (tmp_path / "run").symlink_to(finished)
    write_rows(tmp_path / "mine.jsonl", letters(400))
    assert_names(run(*command, most_bytes=most_bytes, cwd=tmp_path), path, "File too large")
