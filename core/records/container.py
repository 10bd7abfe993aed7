"""What stands at a path: one file, a folder of them, a zip archive; and the records in it.

    for part in contents(Path("mine.zip")).parts:
        for item in part.records():
            ...

Where it sits: part + archive -> **container** -> the layouts of `core/example`.
"""

import json
import os
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import DataError
from core.files import encodable
from core.records.archive import members
from core.records.name import ABOUT, is_data
from core.records.part import KINDS, ZIP, Part, unreadable
from core.records.record import Limits
from core.records.stream import Readable

_STATE, _SPLITS = "state.json", "dataset_dict.json"
"""What `save_to_disk` writes beside one data set, and above several."""

_TRAIN = re.compile(r"(?:^|[/_.-])train(?:ing)?(?=[/_.-]|$)", re.IGNORECASE)
_HELD_OUT = re.compile(r"(?:^|[/_.-])(?:test|valid|validation|val|dev|eval)(?=[/_.-]|$)", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What was found at a path."""

    parts: tuple[Part, ...]
    skipped: tuple[str, ...]
    """Names of files that were not taken for data."""
    held_out: tuple[str, ...] = ()
    """Names of files that hold a split to test on, where others hold one to train on."""


def contents(path: Path, limits: Limits | None = None, *, may_be_empty: bool = False) -> Contents:
    """The files of records at a path.

    Args:
        may_be_empty: A folder without data is no error.
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
    if not found.parts and not may_be_empty:
        raise DataError(f"{path}: no file of data in it. Give {KINDS}.")
    return _training_split(found)


def _training_split(found: Contents) -> Contents:
    """Where files are named after splits, those that are trained on: the others are there to test what was learnt."""
    train = tuple(part for part in found.parts if _TRAIN.search(part.name))
    others = tuple(part for part in found.parts if part not in train and _HELD_OUT.search(part.name))
    if not train or not others:
        return found
    left = tuple(part for part in found.parts if part not in others)
    return Contents(parts=left, skipped=found.skipped, held_out=tuple(part.where for part in others))


def _file(path: Path, name: str, limits: Limits) -> Contents:
    try:
        with path.open("rb") as file:
            head = file.read(4)
        size = path.stat().st_size
    except OSError as e:
        raise unreadable(str(path), e) from e
    if head.startswith(ZIP) and zipfile.is_zipfile(path):
        parts, skipped = members(path, name, limits)
        return Contents(parts=tuple(parts), skipped=tuple(skipped))

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
        elif not ABOUT.fullmatch(file.name):
            skipped.append(str(file))
    return Contents(parts=tuple(parts), skipped=tuple(skipped))


def _walk(folder: Path) -> Iterator[Path]:
    """Every file below; hidden folders, where version control and caches lie, are left out."""
    for parent, names, files in os.walk(folder):
        names[:] = [name for name in names if not name.startswith(".")]
        yield from (Path(parent) / name for name in files if (Path(parent) / name).is_file())


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
