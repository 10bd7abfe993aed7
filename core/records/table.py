"""Tables: CSV, Parquet, and Arrow files as `save_to_disk` writes them.

    for item in read_csv(stream, "mine.csv", Limits()):
        ...

Where it sits: stream -> **table** -> container.
"""

import csv
import io
from collections.abc import Iterator
from typing import IO, Any

from core.errors import DataError
from core.records.json_text import Items, too_large
from core.records.record import Limits, Place, Record, Rejected

PARQUET, ARROW = b"PAR1", b"ARROW1"
_ARROW_STREAM = b"\xff\xff\xff\xff"
_BATCH_ROWS = 256
_DELIMITERS = ",\t;|"


def is_arrow(head: bytes) -> bool:
    """Whether a file that begins like this is an Arrow file or stream."""
    return head.startswith((ARROW, _ARROW_STREAM))


def csv_delimiter(head: bytes) -> str:
    """What separates the columns of a header: the most frequent of the usual ones; a comma if there is one column."""
    first = head.partition(b"\n")[0].decode("utf-8", "replace")
    return max(_DELIMITERS, key=first.count)


def header(head: bytes) -> list[str]:
    """The column names of a CSV that begins like this; none, if it is no CSV."""
    first = head.partition(b"\n")[0].decode("utf-8", "replace")
    try:
        return next(csv.reader([first.rstrip("\r")], delimiter=csv_delimiter(head)), [])
    except csv.Error:
        return []


def read_csv(stream: io.BufferedReader, where: str, limits: Limits) -> Items:
    """Every row of a CSV; its first row names the columns. A row has the line in which it begins.

    Raises:
        DataError: two columns of one name.
    """
    csv.field_size_limit(limits.record_bytes)
    delimiter = csv_delimiter(stream.peek(1))
    # A byte that is no UTF-8 becomes a lone surrogate, which the layout names with its line.
    text = io.TextIOWrapper(stream, encoding="utf-8", errors="surrogateescape", newline="")
    rows = csv.reader(_bounded(text, limits), delimiter=delimiter, strict=True)
    names: list[str] | None = None
    while True:
        place = Place(file=where, line=rows.line_num + 1)
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as e:
            large = "field larger" in str(e) or "line too long" in str(e)
            yield too_large(place, limits) if large else _bad(place, f"not CSV ({e}); nothing after it is read")
            return
        if not any(cell.strip() for cell in row):
            continue
        if names is None:
            names = _names(row, where)
        elif len(row) != len(names):
            yield _bad(place, f"has {len(row)} cells, its header {len(names)}")
        else:
            yield Record(place=place, columns=dict(zip(names, row, strict=True)))


def _bounded(text: io.TextIOWrapper, limits: Limits) -> Iterator[str]:
    while line := text.readline(limits.record_bytes + 1):
        if len(line) > limits.record_bytes:
            raise csv.Error("line too long")
        yield line


def _names(row: list[str], where: str) -> list[str]:
    names = [name.strip() for name in row]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise DataError(f"{where}:1: two columns are called {twice!r}. Rename one.")
    return names


def _bad(place: Place, detail: str) -> Rejected:
    return Rejected(place=place, reason="malformed", detail=detail)


def read_parquet(file: IO[bytes], where: str) -> Items:
    """Every row of a Parquet file.

    Raises:
        DataError: it is damaged.
    """
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(file) as parquet:
            yield from _rows(parquet.iter_batches(batch_size=_BATCH_ROWS), where)
    except (OSError, pyarrow.ArrowException, UnicodeDecodeError) as e:
        raise _damaged(where, "Parquet", e) from e


def read_arrow(file: IO[bytes], head: bytes, where: str) -> Items:
    """Every row of an Arrow file or stream.

    Raises:
        DataError: it is damaged.
    """
    import pyarrow
    import pyarrow.ipc

    try:
        if head.startswith(ARROW):
            reader = pyarrow.ipc.open_file(file)
            yield from _rows((reader.get_batch(n) for n in range(reader.num_record_batches)), where)
        else:
            yield from _rows(pyarrow.ipc.open_stream(file), where)
    except (OSError, pyarrow.ArrowException, UnicodeDecodeError) as e:
        raise _damaged(where, "Arrow", e) from e


def _rows(batches: Iterator[Any], where: str) -> Items:
    number = 0
    for batch in batches:
        batch.validate(full=True)  # a damaged one would be read beyond its end
        for start in range(0, batch.num_rows, _BATCH_ROWS):
            for row in batch.slice(start, _BATCH_ROWS).to_pylist():
                number += 1
                yield Record(place=Place(file=where, number=number), columns=row)


def _damaged(where: str, kind: str, e: Exception) -> DataError:
    told = next(iter(str(e).splitlines()), type(e).__name__)
    return DataError(f"{where}: not {kind} that can be read ({told}). Fetch or write it again.")
