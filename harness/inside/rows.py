"""The tokenised table as a data set for Axolotl's trainer, with position ids if rows are packed.

    training_rows(Path("05_table/512-0123456789abcdef/train.parquet"), packed=True)

Where it sits: table -> **rows** -> the plugin's `load_datasets`.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from core.files import file_sha256

if TYPE_CHECKING:
    from datasets import Dataset

PACKED_WITHOUT_MASK = ("mamba", "gemma3")
"""Model types whose packed samples have position ids and no attention mask. Source: Axolotl's
`process_datasets_for_packing`."""


def training_rows(path: Path, *, packed: bool, masked: bool = True) -> "Dataset":
    """The rows of a table in the same order.

    Args:
        packed: Whether rows share a sequence. Each row then gets position ids that begin at 0.
        masked: Whether packed rows keep their attention mask.
    """
    from datasets import Dataset

    mask = ["attention_mask"] if masked or not packed else []
    table = pq.read_table(path, columns=["length", "input_ids", "labels", *mask])
    if packed:
        table = pa.Table.from_batches([_with_positions(batch) for batch in table.to_batches()])
    return Dataset(table, fingerprint=file_sha256(path)[:16])  # else datasets hashes the table


def _with_positions(batch: pa.RecordBatch) -> pa.RecordBatch:
    lengths = batch["length"].to_numpy()
    ends = np.cumsum(lengths)
    positions = np.arange(ends[-1], dtype=np.int32) - np.repeat(ends - lengths, lengths)
    offsets = pa.array(np.concatenate([[0], ends]), pa.int32())
    return batch.append_column("position_ids", pa.ListArray.from_arrays(offsets, pa.array(positions, pa.int32())))
