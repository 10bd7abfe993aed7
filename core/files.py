"""Atomic file writes, JSON and JSON-lines files, hashes.

A file is written under a temporary name, synced and renamed, so that a reader sees all of it or none.

    write_json(path, {"rows": 3})
    with atomic_writer(path) as file: ...

Where it sits: at the bottom; every stage and the harness write with it.
"""

import contextlib
import errno
import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import IO, Any, TypeVar

import orjson

from core.errors import FileError, StageError

JSON_OPTIONS = orjson.OPT_APPEND_NEWLINE

RESTORE = "Restore it, or pass `redo=true`."
"""How a damaged file of a stage is corrected; ends the messages about one."""

Record = TypeVar("Record")


def sha256(data: bytes) -> str:
    """Hex digest of bytes."""
    return hashlib.sha256(data).hexdigest()


_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)
"""Errors of a disk. The operating system does not say of which file."""

_PATH = (errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.ELOOP)
"""Errors of a path that no code of this project causes: a missing permission, a name too long, a link to itself."""

_OS_ERROR = re.compile(r"os error (\d+)")
"""The number of an error in the messages of libraries written in Rust: safetensors raises no OSError."""


def users_error(error: OSError) -> FileError | None:
    """The error as one that the user can mend; None: it is a bug.

    A full disk and a missing permission are the user's wherever they are met. A path that is missing, or that is a file
    where a folder should be, is the user's only where `naming` says that the user named it: anywhere else this project
    has lost a file of its own. An error of a connection, a process or a pipe is never one of a file.
    """
    if isinstance(error, FileError):
        return error
    if error.errno in _DISK or (error.errno in _PATH and error.filename is not None):
        return FileError(error.errno, error.strerror, error.filename)
    return None


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Makes the errors of a file or folder that the user named errors of the user.

    An error of another file, or of a connection, passes unchanged.

    Raises:
        FileError: with the file's name, which the error of a full disk lacks.
    """
    try:
        yield
    except FileError:
        raise
    except OSError as e:
        if e.errno in _DISK or _concerns(e.filename, path):
            raise FileError(e.errno, e.strerror, str(path)) from e
        raise
    except Exception as e:
        error_number_match = _OS_ERROR.search(str(e))
        number = int(error_number_match.group(1)) if error_number_match else 0
        if number not in _DISK:
            raise
        raise FileError(number, os.strerror(number), str(path)) from e


def file_sha256(path: Path) -> str:
    """Hex digest of a file, read in pieces.

    Raises:
        FileError: it cannot be read.
    """
    with naming(path), path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def _concerns(filename: object, path: Path) -> bool:
    """Whether an error's file is this path, its temporary name, or a folder above it."""
    if not isinstance(filename, str | bytes | os.PathLike):
        return False
    named = os.fsdecode(filename)
    return named in (str(path), f"{path}.tmp") or Path(named) in path.parents


def make_folder(path: Path) -> Path:
    """The folder, made if it is not there.

    Raises:
        FileError: a file is in its place or above it, or it may not be made.
    """
    with naming(path):
        path.mkdir(parents=True, exist_ok=True)
    return path


def write_text(path: Path, text: str) -> None:
    """Writes a text as UTF-8, not atomically; makes its folder."""
    make_folder(path.parent)
    with naming(path):
        path.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def atomic_writer(path: Path) -> Iterator[IO[bytes]]:
    """Opens a binary file under a temporary name; it is synced and renamed to `path` if the block raises nothing."""
    if path.is_dir():
        raise FileError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    temporary = path.with_name(path.name + ".tmp")
    make_folder(path.parent)
    with naming(path):
        with temporary.open("wb") as f:
            yield f
            f.flush()
            os.fsync(f.fileno())
        temporary.replace(path)
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Makes a rename inside `directory` durable."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def cut_torn_line(path: Path) -> None:
    """Removes a last line without its end, as a power cut leaves it: the next one to be appended is whole."""
    if not path.is_file():
        return
    with naming(path), path.open("rb+") as f:
        content = f.read()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            f.truncate(whole)


def write_json(path: Path, value: Any) -> None:
    """Writes one value, indented, atomically."""
    with atomic_writer(path) as f:
        f.write(orjson.dumps(value, option=JSON_OPTIONS | orjson.OPT_INDENT_2))


def as_json(value: Any) -> Any:
    """A value as JSON gives it back: records as dictionaries, tuples as lists."""
    return orjson.loads(orjson.dumps(value))


def read_json(path: Path, *, mend: str = RESTORE) -> Any:
    """The value of a JSON file.

    Args:
        mend: How to correct a damaged file; ends the message.
    Raises:
        StageError: missing, not JSON, or nested so deeply that it could not be written again.
        FileError: it cannot be read.
    """
    try:
        value = orjson.loads(path.read_bytes())
        orjson.dumps(value)  # orjson reads deeper than it writes
        return value
    except FileNotFoundError as e:
        raise StageError(f"{path}: no such file. Has the stage before this one run?") from e
    except OSError as e:
        raise FileError(e.errno, e.strerror, str(path)) from e
    except orjson.JSONDecodeError as e:
        raise StageError(f"{path}: not JSON ({e}). {mend}") from e
    except orjson.JSONEncodeError as e:
        raise StageError(f"{path}: nested too deeply ({e}). {mend}") from e


def read_as(kind: type[Record], path: Path, *, key: str = "", mend: str = RESTORE) -> Record:
    """A JSON file as a record, every field of it checked; keys that the record does not know are left out.

    Args:
        key: Reads the value of this key of the file's object; empty: the whole file.
        mend: As for `read_json`.
    Raises:
        StageError: as `read_json`, or a value is not what it should be; the message names its key.
    """
    from pydantic import ValidationError

    value = read_json(path, mend=mend)
    if key:
        value = value.get(key) if isinstance(value, dict) else None
    try:
        record: Record = _adapter(kind).validate_python(value)  # type: ignore[arg-type]  # a class has a hash
        return record
    except ValidationError as e:
        problem = e.errors()[0]
        where = ".".join(map(str, [*([key] if key else []), *problem["loc"]])) or "the whole"
        raise StageError(f"{path}: damaged: {where}: {problem['msg']}. {mend}") from e


@cache
def _adapter(kind: Any) -> Any:
    """Pydantic's checker of a type; making one takes a few milliseconds."""
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def write_jsonl(path: Path, rows: Iterable[Any]) -> int:
    """Writes records as JSON lines, atomically; returns how many."""
    num = 0
    with atomic_writer(path) as f:
        for row in rows:
            f.write(orjson.dumps(row, option=JSON_OPTIONS))
            num += 1
    return num


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """The records of a JSON-lines file.

    Raises:
        StageError: no such file, or a line is not a JSON object; the message has the line number.
    """
    try:
        f = path.open("rb")
    except OSError as e:
        raise StageError(f"{path}: cannot be read ({e.strerror}). Check the path.") from e
    with f:
        for number, line in enumerate(f, start=1):
            if not line.strip():
                continue
            try:
                row = orjson.loads(line)
            except orjson.JSONDecodeError as e:
                raise StageError(f"{path}:{number}: not JSON ({e}). Mend or remove the line.") from e
            if not isinstance(row, dict):
                raise StageError(f"{path}:{number}: not a JSON object. Each line holds one record.")
            yield row


def encodable(*texts: str) -> bool:
    """False if a text holds a lone surrogate, which no tokenizer and no UTF-8 file can take."""
    try:
        "".join(texts).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
