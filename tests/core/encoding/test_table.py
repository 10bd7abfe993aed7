"""The tokenised table: what is written is what is read, and the same rows are the same bytes."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.encoding.table import ROWS_AT_ONCE, TableRow, mean_lengths, read_lengths, read_rows, schema, write_table
from core.model.token_ids import IGNORED_LABEL, RowIds


def row(number: int, num_prompt: int = 3, num_answer: int = 2, source: str = "") -> TableRow:
    answer = tuple(range(100, 100 + num_answer))
    ids = RowIds(input_ids=(*[number] * num_prompt, *answer), labels=(*[IGNORED_LABEL] * num_prompt, *answer))
    return TableRow(id=f"row-{number}", source=source, ids=ids)


def test_a_table_says_what_it_holds(tmp_path: Path) -> None:
    table = write_table(tmp_path / "rows.parquet", [row(1, 3, 2), row(2, 5, 1)])
    assert (table.num_rows, table.num_tokens, table.num_answer_tokens, table.longest) == (2, 11, 3, 6)
    assert table.is_whole()
    assert pq.read_table(table.path).to_pylist() == [
        {
            "id": "row-1", "source": "", "length": 5, "input_ids": [1, 1, 1, 100, 101],
            "labels": [-100, -100, -100, 100, 101], "attention_mask": [1] * 5,
        },
        {
            "id": "row-2", "source": "", "length": 6, "input_ids": [2, 2, 2, 2, 2, 100],
            "labels": [-100] * 5 + [100], "attention_mask": [1] * 6,
        },
    ]  # fmt: skip


@settings(deadline=None)  # it writes files
@given(st.lists(st.tuples(st.lists(st.integers(0, 2**31 - 1), min_size=1), st.integers(0, 5)), max_size=20))
def test_what_is_written_is_read_back(tmp_path_factory: pytest.TempPathFactory, given: list[tuple]) -> None:
    rows = [
        RowIds(input_ids=tuple(ids), labels=tuple([IGNORED_LABEL] * min(masked, len(ids)) + ids[masked:]))
        for ids, masked in given
    ]
    path = tmp_path_factory.mktemp("table") / "rows.parquet"
    write_table(path, (TableRow(id=str(n), ids=ids) for n, ids in enumerate(rows)))
    assert read_rows(path) == rows
    assert list(read_lengths(path)) == [len(ids.input_ids) for ids in rows]


def test_rows_beyond_one_group_keep_their_order_and_are_taken_a_group_at_a_time(tmp_path: Path) -> None:
    taken = []

    def rows() -> Iterator[TableRow]:
        for number in range(2 * ROWS_AT_ONCE + 5):
            taken.append(number)
            yield row(number, 1 + number % 3, 1)

    table = write_table(tmp_path / "rows.parquet", rows())
    file = pq.ParquetFile(table.path)
    assert [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)] == [ROWS_AT_ONCE, ROWS_AT_ONCE, 5]
    assert file.schema_arrow.equals(schema())
    assert [ids.input_ids[0] for ids in read_rows(table.path)] == taken == list(range(table.num_rows))


def test_the_same_rows_are_the_same_bytes(tmp_path: Path) -> None:
    rows = [row(n, 1 + n % 40, 1 + n % 7, source=f"s{n % 3}") for n in range(1_000)]
    first, second = (write_table(tmp_path / f"{name}.parquet", iter(rows)) for name in "ab")
    assert first.sha256 == second.sha256
    assert first.path.read_bytes() == second.path.read_bytes()
    other = write_table(tmp_path / "c.parquet", [*rows[:-1], row(7)])
    assert other.sha256 != first.sha256


def test_a_file_that_was_altered_or_is_gone_is_not_whole(tmp_path: Path) -> None:
    table = write_table(tmp_path / "rows.parquet", [row(1)])
    table.path.write_bytes(table.path.read_bytes() + b"x")
    assert not table.is_whole()
    table.path.unlink()
    assert not table.is_whole()


def test_a_writer_that_fails_leaves_no_table(tmp_path: Path) -> None:
    def rows() -> Iterator[TableRow]:
        yield row(1)
        raise KeyError("no more")

    with pytest.raises(KeyError, match="no more"):
        write_table(tmp_path / "rows.parquet", rows())
    assert not (tmp_path / "rows.parquet").exists()


def test_lengths_are_averaged_by_source(tmp_path: Path) -> None:
    rows = [row(1, 3, 1, "ni"), row(2, 5, 1, "ni"), row(3, 9, 1, "lima")]
    table = write_table(tmp_path / "rows.parquet", rows)
    assert mean_lengths(table.path) == {"ni": 5.0, "lima": 10.0}
