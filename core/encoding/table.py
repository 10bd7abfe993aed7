"""The tokenised table: rows of token ids, each with an id and a source, as one Parquet file.

    table = write_table(Path("train.parquet"), rows)      # rows: an iterable of TableRow, read once
    read_lengths(table.path)                              # (231, 87, ...)

A trainer reads the columns `input_ids`, `labels` and `attention_mask`; `length` is the number of tokens of a row, `id`
and `source` say where it comes from. The same rows give the same bytes.

Where it sits: examples and tokenizer -> **table** -> plan, rehearsal, training, pick.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from core.files import atomic_writer, file_sha256
from core.model.token_ids import IGNORED_LABEL, RowIds

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq


@cache
def schema() -> pa.Schema:
    """Names and types of the columns."""
    import pyarrow as pa

    return pa.schema(
        [
            ("id", pa.string()),
            ("source", pa.string()),
            ("length", pa.int32()),
            ("input_ids", pa.list_(pa.int32())),
            ("labels", pa.list_(pa.int32())),
            ("attention_mask", pa.list_(pa.int8())),
        ]
    )


ROWS_AT_ONCE = 8_192
"""Rows of a row group: what a writer or reader holds in memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableRow:
    """One row."""

    id: str
    source: str = ""
    ids: RowIds


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """What one file holds."""

    path: Path
    num_rows: int
    num_tokens: int
    num_answer_tokens: int
    longest: int
    """Tokens of the longest row; 0 if there is none."""
    sha256: str

    def is_whole(self) -> bool:
        """Whether the file is there, as it was written."""
        return self.path.is_file() and file_sha256(self.path) == self.sha256


def write_table(path: Path, rows: Iterable[TableRow]) -> Table:
    """Writes rows atomically, a row group at a time."""
    table = Table(path=path, num_rows=0, num_tokens=0, num_answer_tokens=0, longest=0, sha256="")
    with atomic_writer(path) as file, _writer(file) as writer:
        for some in _in_groups(rows):
            lengths = [len(row.ids.input_ids) for row in some]
            labels = _flat(row.ids.labels for row in some)
            writer.write_batch(_batch(some, lengths, labels))
            table = replace(
                table,
                num_rows=table.num_rows + len(some),
                num_tokens=table.num_tokens + sum(lengths),
                num_answer_tokens=table.num_answer_tokens + int(np.count_nonzero(labels != IGNORED_LABEL)),
                longest=max(table.longest, *lengths),
            )
    return replace(table, sha256=file_sha256(path))


def _writer(file: IO[bytes]) -> pq.ParquetWriter:
    """Ids are not written through a dictionary: that would make the file larger."""
    import pyarrow.parquet as pq

    return pq.ParquetWriter(file, schema(), compression="zstd", use_dictionary=["source"])


def _in_groups(rows: Iterable[TableRow]) -> Iterator[list[TableRow]]:
    rows = iter(rows)
    while some := list(itertools.islice(rows, ROWS_AT_ONCE)):
        yield some


def _flat(parts: Iterable[Sequence[int]]) -> npt.NDArray[np.int32]:
    return np.fromiter(itertools.chain.from_iterable(parts), np.int32)


def _batch(rows: Sequence[TableRow], lengths: Sequence[int], labels: npt.NDArray[np.int32]) -> pa.RecordBatch:
    import pyarrow as pa

    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())
    mask = np.ones(len(labels), np.int8)
    columns = [
        pa.array([row.id for row in rows], pa.string()),
        pa.array([row.source for row in rows], pa.string()),
        pa.array(lengths, pa.int32()),
        *(
            pa.ListArray.from_arrays(offsets, pa.array(values))
            for values in (_flat(row.ids.input_ids for row in rows), labels, mask)
        ),
    ]
    return pa.record_batch(columns, schema=schema())


def read_rows(path: Path, *, num: int | None = None) -> list[RowIds]:
    """The ids and labels of the first `num` rows, or of every row."""
    import pyarrow.parquet as pq

    columns = ["input_ids", "labels"]
    if num is None:
        table = pq.read_table(path, columns=columns)
    else:
        table = pq.ParquetFile(path).read_row_group(0, columns=columns).slice(0, num)
    pairs = zip(table["input_ids"].to_pylist(), table["labels"].to_pylist(), strict=True)
    return [RowIds(input_ids=tuple(ids), labels=tuple(labels)) for ids, labels in pairs]


def read_lengths(path: Path) -> tuple[int, ...]:
    """Tokens of each row, in order."""
    import pyarrow.parquet as pq

    return tuple(pq.read_table(path, columns=["length"])["length"].to_pylist())


def mean_lengths(path: Path) -> dict[str, float]:
    """Mean number of tokens of a row, by source."""
    import pyarrow.parquet as pq

    table = pq.read_table(path, columns=["source", "length"])
    means = table.group_by("source").aggregate([("length", "mean")]).sort_by("source")
    return dict(zip(means["source"].to_pylist(), means["length_mean"].to_pylist(), strict=True))
