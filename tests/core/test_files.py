"""Which errors of the operating system are the user's, and which are bugs."""

import errno
import os
import pickle
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from core.errors import FileError, OnedayError
from core.files import atomic_writer, make_folder, naming, read_json, users_error, write_json


def error_of(action: Callable[[], object]) -> OSError:
    with pytest.raises(OSError) as e:  # noqa: PT011  any
        action()
    return e.value


def test_a_full_disk_is_the_users_wherever_it_is_met() -> None:
    def fill() -> None:
        with Path("/dev/full").open("wb") as f:
            f.write(b"x")

    assert str(users_error(error_of(fill))) == "the system: No space left on device. Check path, permissions and space."


def test_a_path_that_no_code_causes_is_the_users(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert "Too many levels" in str(users_error(error_of((tmp_path / "loop").read_bytes)))
    assert "File name too long" in str(users_error(error_of((tmp_path / ("x" * 5_000)).read_bytes)))
    assert "mine: Permission denied" in str(users_error(PermissionError(errno.EACCES, "Permission denied", "mine")))


def test_what_is_missing_is_a_bug_unless_the_user_named_it(tmp_path: Path) -> None:
    missing = tmp_path / "plan.jsonl"
    assert users_error(error_of(missing.read_bytes)) is None
    assert users_error(error_of(lambda: tmp_path.joinpath("gone").iterdir().__next__())) is None

    def named() -> None:
        with naming(missing):
            missing.read_bytes()

    found = error_of(named)
    assert isinstance(found, FileError)
    assert isinstance(found, OnedayError)
    assert (found.errno, found.filename) == (errno.ENOENT, str(missing))
    assert users_error(found) is found


def test_errors_of_connections_processes_and_pipes_are_bugs() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert users_error(error_of(lambda: socket.create_connection(("127.0.0.1", port), timeout=5))) is None
    read, write = os.pipe()
    os.close(read)
    assert users_error(error_of(lambda: os.write(write, b"x"))) is None
    os.close(write)
    assert users_error(PermissionError(errno.EPERM, "Operation not permitted")) is None  # of os.kill: it names no file


def test_an_error_of_another_file_passes_unchanged(tmp_path: Path) -> None:
    def copied() -> None:
        with atomic_writer(tmp_path / "out") as f:
            f.write((tmp_path / "gone").read_bytes())

    found = error_of(copied)
    assert not isinstance(found, FileError)
    assert users_error(found) is None


def test_a_file_in_place_of_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file", tmp_path / "file" / "below" / "deep"):
        assert str(path) in str(error_of(lambda path=path: make_folder(path)))  # type: ignore[misc]
    assert isinstance(error_of(lambda: write_json(tmp_path / "file" / "x.json", {})), FileError)
    assert "Is a directory" in str(error_of(lambda: write_json(tmp_path, {})))
    assert "Is a directory" in str(error_of(lambda: read_json(tmp_path)))


def test_the_error_comes_out_of_a_worker_process_as_it_was() -> None:
    error = FileError(errno.ENOSPC, "No space left on device", "rows.jsonl")
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.filename) == (FileError, str(error), "rows.jsonl")
