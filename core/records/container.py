"""What stands at a path: one file, a folder of them, a zip archive; and the records in it.

    for part in parts(Path("mine.zip")):
        for item in part.records():
            ...

A file is known by its first bytes, not by its name. Nothing is unpacked to disk under the name that an archive gives.

Where it sits: json_text + table -> **container** -> the layouts of `core/example`.
"""

import contextlib
import io
import json
import os
import re
import stat
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from core.errors import DataError
from core.files import encodable
from core.records.json_text import Items, read_json_text
from core.records.record import Limits
from core.records.stream import Readable, open_stream, seekable
from core.records.table import PARQUET, header, is_arrow, read_arrow, read_csv, read_parquet

PACKED = (".gz", ".zst")
SUFFIXES = (".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".parquet", ".arrow", ".zip")
"""By which files of a folder are known; a file that is given by itself may have any name."""

KINDS = "JSON, JSON lines, CSV, Parquet, Arrow, also as .gz, .zst or .zip, or a folder of them"

_STATE, _SPLITS = "state.json", "dataset_dict.json"
"""What `save_to_disk` writes beside one data set, and above several."""

_ABOUT = re.compile(r"(dataset_infos?|state|dataset_dict|manifest|package|config)\.json", re.IGNORECASE)
"""Files that describe data and hold none."""

_ZIP = b"PK"
_TRAIN = re.compile(r"(?:^|[/_.-])train(?:ing)?(?=[/_.-]|$)", re.IGNORECASE)
_HELD_OUT = re.compile(r"(?:^|[/_.-])(?:test|valid|validation|val|dev|eval)(?=[/_.-]|$)", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One file of records."""

    where: str
    """Its name in messages."""
    name: str
    """Its name below what was given, with `/`; empty: it is what was given."""
    size: int
    """Packed bytes."""
    path: Path
    """The file on disk that holds it."""
    open_file: Callable[[], Readable]
    limits: Limits
    is_member: bool = False
    """It is one of several in an archive."""

    def records(self) -> Items:
        """Every record, streamed.

        Raises:
            DataError: it is of no known kind, damaged, or a bomb.
        """
        try:
            file = self.open_file()
        except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError) as e:
            raise _unreadable(self.where, e) from e
        with (
            contextlib.closing(file),
            open_stream(file, size=self.size, where=self.where, limits=self.limits) as stream,
        ):
            yield from self._read(stream)

    def _read(self, stream: io.BufferedReader) -> Items:
        """The records of a stream, by its first bytes."""
        head = stream.peek(1)
        if head.startswith(PARQUET) or is_arrow(head):
            with self._whole(stream, head) as file:
                yield from (
                    read_parquet(file, self.where) if head.startswith(PARQUET) else read_arrow(file, head, self.where)
                )
        elif not head.strip():
            return
        elif _is_csv(head, self.where):
            yield from read_csv(stream, self.where, self.limits)
        elif b"\0" in head[:1024] or head.startswith(_ZIP):
            raise DataError(f"{self.where}: not a kind of file that is known. Give {KINDS}.")
        else:
            yield from read_json_text(stream, self.where, self.limits)

    def _whole(self, stream: io.BufferedReader, head: bytes) -> IO[bytes]:
        """A file that can be read from its end: itself, or a copy of what was packed."""
        if not self.is_member:
            file = self.path.open("rb")
            if file.read(4) == head[:4]:
                file.seek(0)
                return file
            file.close()
        return seekable(stream)


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What was found at a path."""

    parts: tuple[Part, ...]
    skipped: tuple[str, ...]
    """Names of files that were not taken for data, or that hold another split."""


def contents(path: Path, limits: Limits | None = None) -> Contents:
    """The files of records at a path.

    Raises:
        DataError: nothing there that could be read; the message lists what can.
    """
    limits = limits or Limits()
    if not encodable(str(path)):
        raise DataError(f"{str(path)!a}: its name is no UTF-8. Rename it.")
    if path.is_dir():
        found = _folder(path, limits)
    elif path.is_file():
        found = _file(path, "", limits)
    elif path.exists():
        raise DataError(f"{path}: cannot be read (neither a file nor a folder). Give {KINDS}.")
    else:
        raise DataError(f"{path}: cannot be read (no such file or folder). Check the path.")
    if not found.parts:
        raise DataError(f"{path}: no file of data in it. Give {KINDS}.")
    return _training_split(found)


def stem(path: Path) -> str:
    """The name of what is at a path, without what says how it is written.

    >>> stem(Path("data/mine.JSONL.gz")), stem(Path("data/mine.v2"))
    ('mine', 'mine.v2')
    """
    name = path.name or path.resolve().name
    while name.lower().endswith((*PACKED, *SUFFIXES)):
        name = name[: name.rindex(".")]
    return name or path.name


def _training_split(found: Contents) -> Contents:
    """Where files are named after splits, those that are trained on: the others are there to test what was learnt."""
    train = tuple(part for part in found.parts if _TRAIN.search(part.name))
    others = tuple(part for part in found.parts if part not in train and _HELD_OUT.search(part.name))
    if not train or not others:
        return found
    left = tuple(part for part in found.parts if part not in others)
    return Contents(parts=left, skipped=(*found.skipped, *(part.where for part in others)))


def _file(path: Path, name: str, limits: Limits) -> Contents:
    try:
        with path.open("rb") as file:
            head = file.read(4)
        size = path.stat().st_size
    except OSError as e:
        raise _unreadable(str(path), e) from e
    if head.startswith(_ZIP) and zipfile.is_zipfile(path):
        return _archive(path, name, limits)

    def open_file() -> Readable:
        return path.open("rb")

    part = Part(where=str(path), name=name, size=size, path=path, open_file=open_file, limits=limits)
    return Contents(parts=(part,), skipped=())


def _folder(path: Path, limits: Limits) -> Contents:
    if (path / _SPLITS).is_file() or (path / _STATE).is_file():
        return _saved(path, limits)
    parts: list[Part] = []
    skipped: list[str] = []
    files = sorted(p for p in _walk(path) if not p.name.startswith("."))
    if len(files) > limits.members:
        raise DataError(f"{path}: holds more than {limits.members:,} files. Give the folder that holds the data.")
    for file in files:
        name = file.relative_to(path).as_posix()
        if file.parent != path and (file.parent / _STATE).is_file():
            if file.name == _STATE:
                parts += _saved_parts(file.parent, name.removesuffix(_STATE), limits)
        elif is_data(file.name):
            found = _file(file, name, limits)
            parts += found.parts
            skipped += found.skipped
        elif not _ABOUT.fullmatch(file.name):
            skipped.append(str(file))
    return Contents(parts=tuple(parts), skipped=tuple(skipped))


def _walk(folder: Path) -> Iterator[Path]:
    """Every file below; hidden folders, where version control and caches lie, are left out."""
    for parent, names, files in os.walk(folder):
        names[:] = [name for name in names if not name.startswith(".")]
        yield from (Path(parent) / name for name in files if (Path(parent) / name).is_file())


def is_data(name: str) -> bool:
    """Whether a file of this name is taken for data in a folder or an archive."""
    lower = name.lower()
    for packed in PACKED:
        lower = lower.removesuffix(packed)
    return lower.endswith(SUFFIXES) and not _ABOUT.fullmatch(name)


def _saved(path: Path, limits: Limits) -> Contents:
    """What `save_to_disk` wrote: one data set, or one a split."""
    if not (path / _SPLITS).is_file():
        return Contents(parts=tuple(_saved_parts(path, "", limits)), skipped=())
    splits = _json_file(path / _SPLITS).get("splits")
    names = [Path(str(split)).name for split in splits] if isinstance(splits, list) else []
    parts = [part for split in names for part in _saved_parts(path / split, f"{split}/", limits)]
    return Contents(parts=tuple(parts), skipped=())


def _saved_parts(folder: Path, prefix: str, limits: Limits) -> list[Part]:
    """The Arrow files of one data set, in their order."""
    listed = _json_file(folder / _STATE).get("_data_files")
    files = listed if isinstance(listed, list) else []
    names = [Path(str(item.get("filename"))).name for item in files if isinstance(item, dict)]
    return [part for name in names for part in _file(folder / name, f"{prefix}{name}", limits).parts]


def _json_file(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as e:
        raise DataError(f"{path}: cannot be read ({e}). Save the data set again.") from e
    return value if isinstance(value, dict) else {}


def _archive(path: Path, name: str, limits: Limits) -> Contents:
    """The data files of a zip archive. Its archives are not opened."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (OSError, zipfile.BadZipFile, NotImplementedError, ValueError) as e:
        raise _unreadable(str(path), e) from e
    if len(members) > limits.members:
        raise DataError(f"{path}: holds {len(members):,} files, more than {limits.members:,}. Unpack it yourself.")
    parts: list[Part] = []
    skipped: list[str] = []
    for member in sorted(members, key=lambda member: member.filename):
        _check_member(path, member)
        inside = PurePosixPath(member.filename)
        if member.is_dir() or any(p.startswith((".", "__MACOSX")) for p in inside.parts):
            continue
        if is_data(inside.name) and not inside.name.lower().endswith(".zip"):
            parts.append(_member(path, member, f"{name}/{inside}" if name else str(inside), limits))
        elif not _ABOUT.fullmatch(inside.name):
            skipped.append(f"{path}/{inside}")
    return Contents(parts=tuple(parts), skipped=tuple(skipped))


def _check_member(path: Path, member: zipfile.ZipInfo) -> None:
    inside = PurePosixPath(member.filename.replace("\\", "/"))
    if inside.is_absolute() or ".." in inside.parts or re.match(r"[A-Za-z]:", member.filename):
        raise DataError(f"{path}: its member {member.filename!r} points out of the archive. Refused: pack it again.")
    if stat.S_ISLNK(member.external_attr >> 16):
        raise DataError(f"{path}: its member {member.filename!r} is a link. Refused: pack the file itself.")
    if member.flag_bits & 1:
        raise DataError(f"{path}: its member {member.filename!r} is encrypted. Unpack it, and give the folder.")


def _member(path: Path, member: zipfile.ZipInfo, name: str, limits: Limits) -> Part:
    def open_file() -> Readable:
        archive = zipfile.ZipFile(path)
        try:
            return _Member(archive, archive.open(member))
        except BaseException:
            archive.close()
            raise

    where = f"{path}/{member.filename}"
    return Part(
        where=where, name=name, size=max(1, member.compress_size), path=path, open_file=open_file, limits=limits,
        is_member=True,
    )  # fmt: skip


class _Member:
    """An open member, which closes its archive with it."""

    def __init__(self, archive: zipfile.ZipFile, file: IO[bytes]) -> None:
        self._archive, self._file = archive, file

    def read(self, size: int, /) -> bytes:
        return self._file.read(size)

    def close(self) -> None:
        self._file.close()
        self._archive.close()


def _is_csv(head: bytes, where: str) -> bool:
    """Text that is no JSON, and either is called CSV or has a header of columns whose names are words."""
    if head.lstrip().startswith((b"{", b"[")):
        return False
    name = where.lower().removesuffix(".gz").removesuffix(".zst")
    if name.endswith((".csv", ".tsv")):
        return True
    if name.endswith((".json", ".jsonl", ".ndjson")):
        return False
    names = header(head)
    return len(names) > 1 and all(re.fullmatch(r"\w[\w .-]{0,40}", column.strip()) for column in names)


def _unreadable(where: str, e: Exception) -> DataError:
    told = e.strerror if isinstance(e, OSError) and e.strerror else next(iter(str(e).splitlines()), type(e).__name__)
    return DataError(f"{where}: cannot be read ({told}). Check the file and its permissions.")
