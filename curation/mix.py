"""The mix: drawn rows, split into train and validation, as JSON lines and as Parquet.

    parts = split(labels, MixParameters(), scale=1.0)
    write_parts(Path("rows.jsonl"), offsets, parts, Path("05_mix"))

Rows are copied as bytes; memory holds one offset and one label per row.

Where it sits: sample -> **mix** -> harness.
"""

import itertools
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson

from core.errors import MixError
from core.files import atomic_writer, naming, sync_directory
from curation.sample import allocate

TRAIN, VALIDATION = "train", "validation"

MIN_VALIDATION, MAX_VALIDATION_SHARE = 64, 0.1
"""A scaled mix has at least so many validation rows, to tell checkpoints apart, but at most a tenth of its rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MixParameters:
    """How validation rows are chosen."""

    validation_rows: int | None = 2_000
    """Number of validation rows of the unscaled mix. Source: the paper. None: `validation_share` decides."""
    validation_share: float = 0.02
    """Source: the winner's script."""
    stratified: bool = True
    """Stratify by task. The winner's script takes the end of a shuffled list."""
    seed: int = 2023

    def __post_init__(self) -> None:
        if self.validation_rows is not None and self.validation_rows < 1:
            raise MixError(
                f"mix.validation_rows: {self.validation_rows}. Give 1 or more: checkpoints are picked by them."
            )
        if not 0 < self.validation_share <= 0.5:
            raise MixError(f"mix.validation_share: {self.validation_share} is not in (0, 0.5]. 0.02 is usual.")


def validation_size(num_rows: int, parameters: MixParameters, scale: float) -> int:
    """Number of validation rows: as configured and scaled, at least 64, at most a tenth of the rows, at least one."""
    if parameters.validation_rows is None:
        return max(1, num_rows - int((1 - parameters.validation_share) * num_rows))
    wanted = max(MIN_VALIDATION, round(parameters.validation_rows * scale))
    return max(1, min(wanted, int(num_rows * MAX_VALIDATION_SHARE)))


def split(labels: Sequence[str], parameters: MixParameters, *, scale: float) -> dict[str, list[int]]:
    """The numbers of the rows of each part, in random order.

    Args:
        labels: The stratum of each row.
        scale: The scale of the mix.
    Raises:
        MixError: fewer than two rows.
    """
    if len(labels) < 2:
        raise MixError(f"the mix has {len(labels)} rows: nothing to train on. Raise `scale=` or `instances_per_task=`.")
    size = validation_size(len(labels), parameters, scale)
    rng = random.Random(f"split-{parameters.seed}")
    order = list(range(len(labels)))
    if not parameters.stratified:
        rng.shuffle(order)
        return {TRAIN: order[:-size], VALIDATION: order[-size:]}
    cells: dict[str, list[int]] = defaultdict(list)
    for number, label in enumerate(labels):
        cells[label].append(number)
    members = [cell for _, cell in sorted(cells.items())]
    amounts = allocate(size, [float(len(cell)) for cell in members], [len(cell) for cell in members])
    validation = [n for cell, amount in zip(members, amounts, strict=True) for n in rng.sample(cell, amount)]
    aside = set(validation)
    train = [n for n in order if n not in aside]
    rng.shuffle(train)
    rng.shuffle(validation)
    return {TRAIN: train, VALIDATION: validation}


def write_parts(rows: Path, offsets: Sequence[int], parts: Mapping[str, Sequence[int]], directory: Path) -> None:
    """Writes `train` and `validation` as JSON lines and as Parquet (zstd).

    Args:
        rows: JSON lines.
        offsets: The offset of each line.
        parts: Name -> numbers of rows, in the order they are written.
        directory: Where to.
    """
    for name, numbers in parts.items():
        with rows.open("rb") as source, atomic_writer(directory / f"{name}.jsonl") as out:
            for number in numbers:
                source.seek(offsets[number])
                out.write(source.readline())
        _write_parquet(directory / f"{name}.jsonl", directory / f"{name}.parquet")


_BATCH_ROWS = 8_192


def _parquet_row(line: bytes) -> dict[str, object]:
    """The columns of a line; lists, which only dialogues have, as JSON."""
    columns = orjson.loads(line)
    return {name: orjson.dumps(value).decode() if isinstance(value, list) else value for name, value in columns.items()}


def _write_parquet(rows: Path, path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    types = {"bucket": pyarrow.int32(), "num_tokens": pyarrow.int32(), "llm_generated": pyarrow.bool_()}
    with rows.open("rb") as f:
        names = list(orjson.loads(f.readline()))
        f.seek(0)
        if any(b'"messages":[' in line for line in f):
            names = list(dict.fromkeys([*names, "messages", "tools"]))
    schema = pyarrow.schema([(name, types.get(name, pyarrow.string())) for name in names])
    temporary = path.with_name(path.name + ".tmp")
    with (
        naming(path),
        pyarrow.parquet.ParquetWriter(temporary, schema, compression="zstd") as writer,
        rows.open("rb") as lines,
    ):
        while batch := [_parquet_row(line) for line in itertools.islice(lines, _BATCH_ROWS)]:
            writer.write_table(pyarrow.Table.from_pylist(batch, schema=schema))
    temporary.replace(path)
    sync_directory(path.parent)
