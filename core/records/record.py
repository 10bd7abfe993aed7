"""A record of a file: its columns, and the place where it stands.

    >>> str(Place(file="mine.jsonl", line=7)), str(Place(file="mine.parquet", number=3))
    ('mine.jsonl:7', 'mine.parquet: record 3')

Where it sits: every reader of this package yields these; the layouts of `core/example` read them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a record stands."""

    file: str
    """As it was given; a member of an archive or a folder follows its name."""
    line: int = 0
    """The line in which the record begins, from 1; 0: the file has no lines."""
    number: int = 0
    """The record's number in its file, from 1; 0: its line tells it apart already."""

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file
        return f"{where}: record {self.number}" if self.number else where

    @property
    def name(self) -> str:
        """What tells the record apart in its file.

        >>> Place(file="x.jsonl", line=7).name, Place(file="x.json", line=1, number=3).name
        ('line-7', 'record-3')
        """
        return f"record-{self.number}" if self.number else f"line-{self.line}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One record: a JSON object, a row of a table."""

    place: Place
    columns: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """A record that cannot be used, and why."""

    place: Place
    reason: str
    """A short snake_case word that counts are kept by."""
    detail: str

    def __str__(self) -> str:
        return f"{self.place}: {self.detail}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a file may hold before it is refused: an archive of a few kilobytes can unpack to terabytes."""

    record_bytes: int = 16 << 20
    """The largest record. A book has about 1 MB."""
    document_bytes: int = 256 << 20
    """The largest JSON object that holds all records, as NI's task files do; it is read whole."""
    ratio: int = 200
    """Unpacked bytes per packed byte. JSON of real data packs 3 to 30 times; deflate can reach 1,032, zstd far more."""
    ratio_from_bytes: int = 64 << 20
    """Unpacked bytes from which the ratio counts: a small file of equal rows is no attack."""
    members: int = 100_000
    """Files of an archive or a folder."""
