"""Scratch files of the rows that may be drawn: every row is built and written once, then copied by its offset.

    files = RowFiles(stage.path(SCRATCH))
    rows = files.read(files.of(candidate), [candidate.offset])

Where it sits: written by examination, read by near_duplicates and rendering, deleted when the stage ends.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import IO

from core.files import make_folder, naming
from curation.candidate import Candidate
from curation.sources.source import MixRow, read_row, row_line

TOGETHER = 512
"""Rows that a worker gets at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """Rows of one file."""

    path: Path
    offsets: tuple[int, ...]
    num_tokens: tuple[int, ...]
    """Of each row; 0: not counted yet."""


class RowFiles:
    """One file a task, and one a source that is not NI."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        for name in ("tasks", "sources"):
            make_folder(folder / name)

    def of_task(self, task: str) -> Path:
        """The file of a task's rows."""
        return self._folder / "tasks" / f"{task}.jsonl"

    def of_source(self, source: str) -> Path:
        """The file of another source's rows."""
        return self._folder / "sources" / f"{source}.jsonl"

    def of(self, candidate: Candidate) -> Path:
        """The file that holds a candidate's row."""
        return self.of_source(candidate.source) if candidate.kind is None else self.of_task(candidate.task)

    def batches(self, candidates: Iterable[Candidate]) -> Iterator[Lines]:
        """The candidates' rows in their order, at most `TOGETHER` of one file at a time."""
        for path, group in groupby(candidates, key=self.of):
            members = list(group)
            for start in range(0, len(members), TOGETHER):
                part = members[start : start + TOGETHER]
                offsets = tuple(c.offset for c in part)
                yield Lines(path=path, offsets=offsets, num_tokens=tuple(c.num_tokens for c in part))


@contextmanager
def writing(path: Path) -> Iterator[IO[bytes]]:
    """A scratch file, begun anew; an error of the disk names it."""
    with naming(path), path.open("wb") as file:
        yield file


def write_row(file: IO[bytes], row: MixRow) -> int:
    """Writes a row and returns its offset."""
    offset = file.tell()
    file.write(row_line(row))
    return offset


def lines_at(path: Path, offsets: Sequence[int]) -> Iterator[bytes]:
    """Lines of a file by their offsets."""
    with path.open("rb") as file:
        for offset in offsets:
            file.seek(offset)
            yield file.readline()


def rows_at(path: Path, offsets: Sequence[int]) -> Iterator[MixRow]:
    """Rows of a file by the offsets of their lines."""
    return (read_row(line) for line in lines_at(path, offsets))
