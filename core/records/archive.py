"""The data files of a zip archive, read where they lie: nothing is unpacked under the name that an archive gives.

    parts, skipped = members(Path("mine.zip"), "", Limits())

Where it sits: part -> **archive** -> container.
"""

import re
import stat
import zipfile
from pathlib import Path, PurePosixPath
from typing import IO

from core.errors import DataError
from core.records.name import ABOUT, is_data
from core.records.part import Part, unreadable
from core.records.record import Limits
from core.records.stream import Readable


def members(path: Path, name: str, limits: Limits) -> tuple[list[Part], list[str]]:
    """The data files of a zip archive. Its archives are not opened."""
    try:
        with zipfile.ZipFile(path) as archive:
            found = archive.infolist()
    except (OSError, zipfile.BadZipFile, NotImplementedError, ValueError) as e:
        raise unreadable(str(path), e) from e
    if len(found) > limits.members:
        raise DataError(f"{path}: holds {len(found):,} files, more than {limits.members:,}. Unpack it yourself.")
    parts: list[Part] = []
    skipped: list[str] = []
    for member in sorted(found, key=lambda member: member.filename):
        _check_member(path, member)
        inside = PurePosixPath(member.filename)
        if member.is_dir() or any(p.startswith((".", "__MACOSX")) for p in inside.parts):
            continue
        if is_data(inside.name) and not inside.name.lower().endswith(".zip"):
            parts.append(_member(path, member, f"{name}/{inside}" if name else str(inside), limits))
        elif not ABOUT.fullmatch(inside.name):
            skipped.append(f"{path}/{inside}")
    return parts, skipped


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
