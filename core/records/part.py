"""One file of records, known by its first bytes, wherever it lies.

    for item in part.records():
        ...

Where it sits: json_text + table -> **part** -> archive and container, which find the files.
"""

import contextlib
import io
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from core.errors import DataError
from core.records.json_text import Items, read_json_text
from core.records.record import Limits
from core.records.stream import Readable, open_stream, seekable
from core.records.table import PARQUET, header, is_arrow, read_arrow, read_csv, read_parquet

KINDS = "JSON, JSON lines, CSV, Parquet, Arrow, also as .gz, .zst or .zip, or a folder of them"
ZIP = b"PK"
_COLUMN = re.compile(r"\w[\w .-]{0,40}")


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
            raise unreadable(self.where, e) from e
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
        elif b"\0" in head[:1024] or head.startswith(ZIP):
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
    return len(names) > 1 and all(_COLUMN.fullmatch(column.strip()) for column in names)


def unreadable(where: str, e: Exception) -> DataError:
    """The error of a file that the system or a library does not open."""
    told = e.strerror if isinstance(e, OSError) and e.strerror else next(iter(str(e).splitlines()), type(e).__name__)
    return DataError(f"{where}: cannot be read ({told}). Check the file and its permissions.")
