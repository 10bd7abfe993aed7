"""A bug is a traceback and exit code 1; only what the user can mend is one line and exit code 2."""

import importlib
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from oneday.cli import main
from tests.oneday.place import Place

ONEDAY = [sys.executable, "-m", "oneday.cli"]


def own_file_is_missing() -> None:
    Path("07_train/plan.jsonl").read_bytes()


def own_child_refuses() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    socket.create_connection(("127.0.0.1", port), timeout=5)


def own_pipe_breaks() -> None:
    read, write = os.pipe()
    os.close(read)
    os.write(write, b"x")


def own_module_is_missing() -> None:
    importlib.import_module("core.no_such_module")


def dependency_is_missing() -> None:
    importlib.import_module("no_such_package")


def part_of_an_extra_is_missing() -> None:
    importlib.import_module("pyarrow.no_such_part")


def disk_is_full() -> None:
    with Path("/dev/full").open("wb") as f:
        f.write(b"x")


def extra_is_missing() -> None:
    importlib.import_module("rensa")


def given(command: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line, with this as its only command."""
    monkeypatch.setattr(sys.modules["oneday.cli.main"], "app", click.Command("oneday", callback=command))


@pytest.mark.parametrize(
    ("bug", "error"),
    [
        (own_file_is_missing, FileNotFoundError),
        (own_child_refuses, ConnectionRefusedError),
        (own_pipe_breaks, BrokenPipeError),
        (own_module_is_missing, ModuleNotFoundError),
        (dependency_is_missing, ModuleNotFoundError),
        (part_of_an_extra_is_missing, ModuleNotFoundError),
    ],
)
def test_a_bug_comes_out_with_its_traceback(
    bug: Callable[[], None], error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    given(bug, monkeypatch)
    with pytest.raises(error) as e:
        main([])
    assert bug.__name__ in [entry.name for entry in e.traceback]


@pytest.mark.parametrize(
    ("mishap", "line"),
    [
        (disk_is_full, "the system: No space left on device. Check path, permissions and space."),
        (extra_is_missing, "rensa is not installed. pip install 'oneday-llm[curate]'."),
    ],
)
def test_what_the_user_can_mend_is_one_line(
    mishap: Callable[[], None], line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "rensa", None)  # as if it were not installed
    given(mishap, monkeypatch)
    with pytest.raises(SystemExit) as e:
        main([])
    assert e.value.code == 2
    assert capsys.readouterr().err == f"error: {line}\n"


def test_a_process_with_a_bug_ends_with_1(tmp_path: Path) -> None:
    code = (
        "import sys, click; from oneday.cli import main; from tests.oneday import test_bugs\n"
        "sys.modules['oneday.cli.main'].app = click.Command('oneday', callback=test_bugs.own_pipe_breaks); main([])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert done.stderr.strip().endswith("BrokenPipeError: [Errno 32] Broken pipe")


def test_a_reader_that_has_enough_is_no_error(tmp_path: Path) -> None:
    table = Place(tmp_path, tmp_path).table()
    with subprocess.Popen(
        [*ONEDAY, "score", str(table)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        said = process.stderr.read()
    assert process.returncode == 0, said
    assert "Traceback" not in said
