"""The table as the trainer takes it: the ids, labels and masks of the table, and positions where rows are packed."""

from pathlib import Path

import pytest

from core.encoding.table import ROWS_AT_ONCE, TableRow, write_table
from core.model.token_ids import RowIds
from harness.inside.rows import training_rows
from harness.inside.trainer import lengths_of


@pytest.fixture
def table(tmp_path: Path) -> Path:
    rows = (
        TableRow(id=str(n), ids=RowIds(input_ids=(n,) * (1 + n % 3), labels=(-100,) * (n % 3) + (n,)))
        for n in range(ROWS_AT_ONCE + 3)
    )
    return write_table(tmp_path / "train.parquet", rows).path


def test_packed_rows_have_positions_of_their_own(table: Path) -> None:
    rows = training_rows(table, packed=True)
    assert len(rows) == ROWS_AT_ONCE + 3
    for number in (0, 1, 5, ROWS_AT_ONCE - 1, ROWS_AT_ONCE, ROWS_AT_ONCE + 2):
        length = 1 + number % 3
        assert rows[number] == {
            "length": length, "input_ids": [number] * length, "labels": [-100] * (length - 1) + [number],
            "attention_mask": [1] * length, "position_ids": list(range(length)),
        }  # fmt: skip
    assert lengths_of(rows) == [1 + n % 3 for n in range(ROWS_AT_ONCE + 3)]


def test_rows_of_their_own_have_a_mask_and_no_positions(table: Path) -> None:
    assert training_rows(table, packed=False, masked=False).column_names == [
        "length", "input_ids", "labels", "attention_mask",
    ]  # fmt: skip


def test_some_models_pack_without_a_mask(table: Path) -> None:
    assert "attention_mask" not in training_rows(table, packed=True, masked=False).column_names


def test_rows_are_named_by_the_content_of_their_file(table: Path, tmp_path: Path) -> None:
    """Else `datasets` hashes every row for a name: seconds, at 200,000 rows."""
    copy = tmp_path / "copy.parquet"
    copy.write_bytes(table.read_bytes())
    first, second = (training_rows(path, packed=True) for path in (table, copy))
    assert first._fingerprint == second._fingerprint
