"""The mix as a tokenised table, which is rendered and tokenised once for `plan`, rehearsal and training.

    dataset = find_dataset(Path("runs/demo"), mix=Path("runs/demo/05_mix"), base=..., sequence_len=512)
    dataset.train.num_tokens

The table is in `05_table/`, in a folder named by a digest of everything that determines its rows (`TableInputs`). A
changed mix, tokenizer or `sequence_len` gives another folder, so that a table never serves other inputs. A row longer
than `sequence_len` is counted and recorded in `dropped.jsonl`.

Where it sits: mix -> **dataset** -> plan, rehearsal, Axolotl.
"""

import itertools
import os
import shutil
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson

from core.encoding.example_ids import ExampleEncoder, PairIds
from core.encoding.labels import trained_runs
from core.encoding.long_example import LongExamples, fitted
from core.encoding.rendering import CHAT_TEMPLATE, CHATML
from core.encoding.table import ROWS_AT_ONCE, Table, TableRow, read_lengths, read_rows, schema, write_table
from core.errors import StageError
from core.example.example import Text, Unusable
from core.example.mix_line import MixExample, read_line
from core.example.prompt import training_prompt
from core.files import (
    file_sha256,
    make_folder,
    read_as,
    read_json,
    read_jsonl,
    sha256,
    write_json,
    write_jsonl,
    write_text,
)
from core.manifest import versions
from core.model.folder import tokenizer_fingerprint
from core.model.token_ids import RowIds, rows_ids, without_end
from core.run_folder import TABLE
from core.stage import OPT_SORT, Dropped, locked
from harness.base_model import load_tokenizer
from harness.errors import DataError

DESCRIPTION = "dataset.json"
"""Written last, so the files beside it are complete if it exists."""

PARTS, DROPPED = ("train", "validation"), "dropped.jsonl"

SAMPLE = "sample.txt"
"""The first training rows as text, in which the trained parts are marked."""

NUM_SAMPLES = 3

TABLE_PATIENCE_S = 600.0
"""Seconds to wait for a table that another command writes; trainings of a study share their tables."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableInputs:
    """Everything that determines the rows of a table."""

    train: str
    """SHA-256 of the mix's `train.jsonl`."""
    validation: str
    """SHA-256 of the mix's `validation.jsonl`."""
    tokenizer: str
    """Fingerprint of the base's tokenizer files."""
    sequence_len: int
    rendering: str
    """SHA-256 of the templates and of the table's columns."""
    long_examples: LongExamples
    libraries: str
    """Versions of the libraries that tokenise."""
    pairs: bool = False
    """Each pair of answers is two rows, the chosen one first."""

    @classmethod
    def of(
        cls, mix: Path, *, base: Path, sequence_len: int, long_examples: LongExamples, pairs: bool = False
    ) -> "TableInputs":
        """Hashes the current files.

        Raises:
            DataError: A file of the mix is missing or empty.
        """
        check_mix(mix)
        prompts = [training_prompt(*parts) for parts in (("a", "b"), ("a", ""), ("", "b"))]
        installed = versions()
        return cls(
            train=file_sha256(mix / "train.jsonl"),
            validation=file_sha256(mix / "validation.jsonl"),
            tokenizer=tokenizer_fingerprint(base),
            sequence_len=sequence_len,
            rendering=sha256("\0".join([*prompts, CHATML, str(schema())]).encode()),
            long_examples=long_examples,
            pairs=pairs,
            libraries=", ".join(f"{k} {installed[k]}" for k in ("tokenizers", "transformers") if k in installed),
        )

    @property
    def digest(self) -> str:
        """The digest that names the table's folder."""
        return sha256(orjson.dumps(self, option=OPT_SORT))


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """The tokenised training and validation rows."""

    inputs: TableInputs
    train: Table
    validation: Table
    num_dropped: int
    num_ends_removed: int
    """Answers whose text ended with the end token; it was removed, because tokenising adds the token itself."""
    num_split: int = 0
    """Texts longer than `sequence_len` that were split into several rows."""
    num_truncated: int = 0
    """Examples that were cut to `sequence_len`."""
    chat_template: str = ""
    """A sentence about the chat template of conversations; empty if there are none."""

    @property
    def num_examples(self) -> int:
        """Rows of both tables; a pair of answers, which is two rows, is one."""
        return (self.train.num_rows + self.validation.num_rows) // (2 if self.inputs.pairs else 1)

    def lengths(self) -> tuple[int, ...]:
        """Token count of each training row, in order; of a pair the sum of both sides."""
        lengths = read_lengths(self.train.path)
        return tuple(map(sum, zip(lengths[::2], lengths[1::2], strict=True))) if self.inputs.pairs else lengths


def check_mix(mix: Path) -> None:
    """Refuses a mix that lacks one of its two files. Their rows are checked when they are read.

    Raises:
        DataError: A file is missing or empty.
    """
    for name in PARTS:
        _check_file(mix / f"{name}.jsonl")


def _check_file(path: Path) -> None:
    if not path.is_file():
        raise DataError(f"{path}: no such file. `mix=` takes a folder with train.jsonl and validation.jsonl.")
    if path.stat().st_size == 0:
        raise DataError(NO_ROWS.format(path=path))


NO_ROWS = "{path}: a mix with no rows. Run `oneday curate` again: it says why rows were dropped."


def check_rows(mix: Path) -> None:
    """Reads and checks every row of both files of a mix.

    Raises:
        DataError: As for `read_mix`.
    """
    for name in PARTS:
        deque(read_mix(mix / f"{name}.jsonl"), maxlen=0)


def read_mix(path: Path) -> Iterator[MixExample]:
    """Every example of a mix file. An answer may be empty, as in the 2023 winner's mixes.

    Raises:
        DataError: The file is missing or empty, or a line is not an example.
    """
    _check_file(path)
    number = 0
    try:
        for number, line in enumerate(read_jsonl(path), start=1):
            yield read_line(line, number=number)
    except Unusable as e:
        raise DataError(f"{path}: row {number} {e.detail}. Mend the row.") from e
    except StageError as e:
        raise DataError(str(e)) from e
    if not number:
        raise DataError(NO_ROWS.format(path=path))


def find_dataset(
    run: Path,
    *,
    mix: Path,
    base: Path,
    sequence_len: int,
    long_examples: LongExamples = LongExamples.AUTO,
    pairs: bool = False,
) -> Dataset:
    """The run's table for these inputs: the one that an earlier command wrote, or a new one.

    Raises:
        DataError: As for `prepare_dataset`.
        StageError: Another command is still writing a table of this run after `TABLE_PATIENCE_S`.
    """
    inputs = TableInputs.of(mix, base=base, sequence_len=sequence_len, long_examples=long_examples, pairs=pairs)
    out = run / TABLE / f"{sequence_len}-{inputs.digest[:16]}"
    with locked(run / TABLE, patience_s=TABLE_PATIENCE_S):
        return read_dataset(out) or prepare_dataset(
            mix, base=base, sequence_len=sequence_len, out=out, long_examples=long_examples, pairs=pairs
        )


def prepare_dataset(
    mix: Path,
    *,
    base: Path,
    sequence_len: int,
    out: Path,
    long_examples: LongExamples = LongExamples.AUTO,
    pairs: bool = False,
) -> Dataset:
    """Renders and tokenises both files of a mix into `out`.

    Args:
        pairs: The mix holds pairs of answers for a preference objective.

    Raises:
        DataError: A file is missing or empty, or none of its rows can be trained on.
    """
    inputs = TableInputs.of(mix, base=base, sequence_len=sequence_len, long_examples=long_examples, pairs=pairs)
    (out / DESCRIPTION).unlink(missing_ok=True)
    work = _Preparation(encoder=ExampleEncoder(tokenizer=load_tokenizer(base)), inputs=inputs)
    train, validation = (work.write(mix / f"{name}.jsonl", out / f"{name}.parquet") for name in PARTS)
    dataset = Dataset(
        inputs=inputs,
        train=train,
        validation=validation,
        num_dropped=len(work.dropped),
        num_ends_removed=work.encoder.num_ends_removed,
        num_split=work.num_split,
        num_truncated=work.num_truncated,
        chat_template=work.chat_template,
    )
    write_jsonl(out / DROPPED, work.dropped)
    write_text(out / SAMPLE, _sample(train, work.encoder.tokenizer))
    if work.encoder.added_template:
        write_text(out / CHAT_TEMPLATE, work.encoder.added_template)
    description = asdict(dataset)
    for name in PARTS:
        description[name]["path"] = f"{name}.parquet"
    write_json(out / DESCRIPTION, description)
    return dataset


def _sample(table: Table, tokenizer: Any) -> str:
    """The first rows as text, with [[ ]] around the parts that are trained."""
    shown = []
    for number, row in enumerate(read_rows(table.path, num=NUM_SAMPLES), start=1):
        runs = trained_runs(tokenizer, row)
        shown.append(f"--- row {number} ---\n" + "".join(f"[[{t}]]" if is_trained else t for t, is_trained in runs))
    return "\n".join(shown) + "\n"


@dataclass(slots=True, kw_only=True)
class _Preparation:
    """Tokenises the files of a mix and records the rows that it drops."""

    encoder: ExampleEncoder
    inputs: TableInputs
    dropped: list[Dropped] = field(default_factory=list)
    num_split: int = 0
    num_truncated: int = 0
    chat_template: str = ""

    def write(self, mix: Path, out: Path) -> Table:
        before = len(self.dropped)
        table = write_table(out, self._rows(mix))
        if not table.num_rows:
            dropped = self.dropped[before:]
            raise DataError(f"{mix}: none of {len(dropped)} rows can be trained on; {_drop_summary(dropped)}")
        return table

    def _rows(self, mix: Path) -> Iterator[TableRow]:
        examples = read_mix(mix)
        encode = self.encoder.encode_pairs if self.inputs.pairs else self.encoder.encode
        while batch := list(itertools.islice(examples, ROWS_AT_ONCE)):
            for item, encoded in zip(batch, encode(batch), strict=True):
                try:
                    rows = self._rows_of(item, encoded)
                except Unusable as e:
                    detail = f"{mix.stem}: {e.detail}"
                    place = item.origin
                    self.dropped.append(Dropped(unit="row", id=item.id, reason=e.reason, detail=detail, source=place))
                    continue
                yield from (TableRow(id=row_id, source=item.source, ids=ids) for row_id, ids in rows)
        self.chat_template = self.encoder.chat_template

    def _rows_of(self, item: MixExample, encoded: RowIds | PairIds | Unusable) -> list[tuple[str, RowIds]]:
        """The rows of an example with their ids."""
        if isinstance(encoded, PairIds):
            if encoded.longest > self.inputs.sequence_len:
                raise Unusable("too_long", f"one side has {encoded.longest} tokens")
            return [(f"{item.id}#chosen", encoded.chosen), (f"{item.id}#rejected", encoded.rejected)]
        pieces = self._fitted(item, encoded)
        if len(pieces) == 1:
            return [(item.id, pieces[0])]
        return [(f"{item.id}#{number}", ids) for number, ids in enumerate(pieces, start=1)]

    def _fitted(self, item: MixExample, encoded: RowIds | Unusable) -> list[RowIds]:
        """The rows of an example, each at most `sequence_len` tokens long."""
        if isinstance(encoded, Unusable):
            raise encoded
        is_text = isinstance(item.example, Text)
        choice = self.inputs.long_examples
        choice = choice.of_text() if is_text else choice.of_answers()
        decode = self.encoder.tokenizer.decode
        pieces = fitted(encoded, self.inputs.sequence_len, choice, text_of=decode)
        self.num_split += len(pieces) > 1
        self.num_truncated += len(pieces) == 1 and len(pieces[0].input_ids) < len(encoded.input_ids)
        return pieces


def _drop_summary(dropped: Sequence[Dropped]) -> str:
    """The number of rows by reason, and the mend for the most frequent one."""
    reasons = Counter(d.reason for d in dropped)
    counts = ", ".join(f"{n:,} {reason}" for reason, n in reasons.most_common())
    mend = "Raise sequence_len" if reasons.most_common(1)[0][0] == "too_long" else "Give the rows answers"
    return f"{counts}, the last one {dropped[-1].detail}. {mend}."


def long_notes(dataset: Dataset) -> list[str]:
    """What became of examples longer than `sequence_len`, besides those that were dropped."""
    counts = (
        (dataset.num_split, "texts are longer than sequence_len and are split"),
        (dataset.num_truncated, "examples are longer than sequence_len, and only their first tokens are kept"),
    )
    return [f"{num:,} {what}" for num, what in counts if num]


def described_dataset(out: Path) -> Dataset:
    """The dataset that `prepare_dataset` wrote, read from its description without checking the tables.

    Raises:
        StageError: The description is missing or damaged.
    """
    dataset = read_as(Dataset, out / DESCRIPTION)
    train, validation = (replace(part, path=out / part.path) for part in (dataset.train, dataset.validation))
    return replace(dataset, train=train, validation=validation)


def read_dataset(out: Path) -> Dataset | None:
    """The dataset that `prepare_dataset` wrote; None if it is missing, incomplete or altered."""
    try:
        dataset = described_dataset(out)
    except StageError:
        return None
    is_whole = (
        dataset.train.is_whole()
        and dataset.validation.is_whole()
        and (out / DROPPED).is_file()
        and (out / SAMPLE).is_file()
    )
    return dataset if is_whole else None


def link_dataset(dataset: Dataset, out: Path) -> Dataset:
    """Puts the files into another folder as hard links, or as copies where the file system has no hard links.

    A training run thereby keeps the rows that it started with, even if `05_table/` is changed or deleted.
    """
    make_folder(out)
    added = [CHAT_TEMPLATE] if dataset.train.path.with_name(CHAT_TEMPLATE).is_file() else []
    for name in (*(f"{part}.parquet" for part in PARTS), DROPPED, SAMPLE, *added, DESCRIPTION):
        (out / name).unlink(missing_ok=True)
        try:
            os.link(dataset.train.path.with_name(name), out / name)
        except OSError:
            shutil.copyfile(dataset.train.path.with_name(name), out / name)
    return described_dataset(out)


def check_window(dataset: Dataset, base: Path, overrides: Mapping[str, object] | None) -> None:
    """Checks that no sample is longer than the base's sliding window if the recipe disables that window.

    Raises:
        DataError: A sample is longer, so training without the window would not be exact.
    """
    if not overrides or overrides.get("sliding_window", 0) is not None:
        return
    window = read_json(base / "config.json").get("sliding_window")
    longest = max(dataset.train.longest, dataset.validation.longest)
    if window and longest > window:
        raise DataError(
            f"a row has {longest} tokens, but sliding_window: null is exact only up to the base's window of {window}. "
            f"Curate with `policies.max_tokens={window}`, or remove overrides_of_model_config from the recipe."
        )


def read_dataset_rows(path: Path, base: Path) -> list[RowIds]:
    """Tokenised rows from a table, a mix, or JSON lines with `prompt` and `answer`, for computing losses.

    Raises:
        DataError: The file is missing or empty, or a row is in none of these formats.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file. Give JSON lines with prompt and answer, or a mix's validation.jsonl.")
    if path.suffix == ".parquet":
        return read_rows(path)
    tokenizer = load_tokenizer(base)
    try:
        first = next(read_jsonl(path), None)
        if first is None:
            raise DataError(f"{path}: the file has no rows. Give another one with `validation=`.")
        if "prompt" in first and "chosen" not in first:
            return rows_ids(tokenizer, [(p, without_end(tokenizer, answer)) for p, answer in _rendered_rows(path)])
    except StageError as e:
        raise DataError(str(e)) from e
    encoded = ExampleEncoder(tokenizer=tokenizer).encode(list(read_mix(path)))
    unusable = [(number, ids) for number, ids in enumerate(encoded, start=1) if not isinstance(ids, RowIds)]
    if unusable:
        number, why = unusable[0]
        raise DataError(
            f"{path}: {len(unusable)} of {len(encoded)} rows have no loss (row {number}: {why.reason}). Mend them, or "
            "take them away."
        )
    return [ids for ids in encoded if isinstance(ids, RowIds)]


def _rendered_rows(path: Path) -> list[tuple[str, str]]:
    rows = list(read_jsonl(path))
    for number, row in enumerate(rows, start=1):
        if not (isinstance(row.get("prompt"), str) and isinstance(row.get("answer"), str) and row["answer"]):
            raise DataError(f"{path}: row {number} lacks prompt or answer as text. Mend the row.")
    return [(row["prompt"], row["answer"]) for row in rows]
