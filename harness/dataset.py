"""The mix as a tokenised table: rendered with the one template, and tokenised once for `plan`, rehearsal and training.

    dataset = find_dataset(Path("runs/demo"), mix=Path("runs/demo/05_mix"), base=..., sequence_len=512)
    dataset.train.num_tokens

The table lies in `05_table/`, in a folder whose name is a digest of everything that decides its rows (`TableInputs`). A
changed mix, tokenizer or `sequence_len` has another name, so that a table is never used for inputs it was not made
from. A row longer than `sequence_len` is counted and kept in `dropped.jsonl`.

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

from core.encoding.example_ids import ExampleEncoder
from core.encoding.labels import trained_runs
from core.encoding.long_example import LongExamples, fitted
from core.encoding.rendering import CHATML
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
"""Written last: what stands beside it is whole."""

PARTS, DROPPED = ("train", "validation"), "dropped.jsonl"

SAMPLE = "sample.txt"
"""The first training rows as text, with marks around what is trained."""

NUM_SAMPLES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class TableInputs:
    """Everything that decides the rows of a table."""

    train: str
    """SHA-256 of the mix's file, as `validation`."""
    validation: str
    tokenizer: str
    """Fingerprint of the base's tokenizer files."""
    sequence_len: int
    rendering: str
    """SHA-256 of the templates and of the table's columns."""
    long_examples: LongExamples
    libraries: str
    """Versions of the libraries that tokenise."""

    @classmethod
    def of(cls, mix: Path, *, base: Path, sequence_len: int, long_examples: LongExamples) -> "TableInputs":
        """As they are at this moment.

        Raises:
            DataError: a file of the mix is missing or empty.
        """
        check_mix(mix)
        prompts = [training_prompt(*parts) for parts in (("a", "b"), ("a", ""), ("", "b"))]
        found = versions()
        return cls(
            train=file_sha256(mix / "train.jsonl"),
            validation=file_sha256(mix / "validation.jsonl"),
            tokenizer=tokenizer_fingerprint(base),
            sequence_len=sequence_len,
            rendering=sha256("\0".join([*prompts, CHATML, str(schema())]).encode()),
            long_examples=long_examples,
            libraries=", ".join(f"{name} {found[name]}" for name in ("tokenizers", "transformers") if name in found),
        )

    @property
    def digest(self) -> str:
        """Names the table."""
        return sha256(orjson.dumps(self, option=OPT_SORT))


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """What is trained and validated on."""

    inputs: TableInputs
    train: Table
    validation: Table
    num_dropped: int
    num_ends_removed: int
    """Answers that ended in the text of the end token, which is there by its id already."""
    num_split: int = 0
    """Texts that were longer than `sequence_len` and stand in several rows."""
    num_truncated: int = 0
    """Examples of which only the first tokens are kept."""
    chat_template: str = ""
    """What conversations were rendered by, in a sentence; empty: there are none."""

    def lengths(self) -> tuple[int, ...]:
        """Tokens of each training row, in order."""
        return read_lengths(self.train.path)


def check_mix(mix: Path) -> None:
    """Refuses a mix without both of its files. What is in them is checked when they are read.

    Raises:
        DataError: one is missing or empty.
    """
    for name in PARTS:
        _check_file(mix / f"{name}.jsonl")


def _check_file(path: Path) -> None:
    if not path.is_file():
        raise DataError(f"{path}: no such file. `mix=` takes a folder with train.jsonl and validation.jsonl.")
    if path.stat().st_size == 0:
        raise DataError(NO_ROWS.format(path=path))


NO_ROWS = "{path}: a mix with no rows. Run `oneday curate` again: it says what took them."


def check_rows(mix: Path) -> None:
    """Reads both files of a mix to their ends.

    Raises:
        DataError: as `read_mix`.
    """
    for name in PARTS:
        deque(read_mix(mix / f"{name}.jsonl"), maxlen=0)


def read_mix(path: Path) -> Iterator[MixExample]:
    """Every example of a mix file. An answer may be empty, as in mixes that follow the winner's.

    Raises:
        DataError: missing, empty, or a line holds no example.
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
    run: Path, *, mix: Path, base: Path, sequence_len: int, long_examples: LongExamples = LongExamples.AUTO
) -> Dataset:
    """The run's table of these inputs: the one that an earlier command wrote, or a new one.

    Raises:
        DataError: as `prepare_dataset`.
        StageError: another command is writing one at this moment.
    """
    inputs = TableInputs.of(mix, base=base, sequence_len=sequence_len, long_examples=long_examples)
    out = run / TABLE / f"{sequence_len}-{inputs.digest[:16]}"
    with locked(run / TABLE):
        return read_dataset(out) or prepare_dataset(
            mix, base=base, sequence_len=sequence_len, out=out, long_examples=long_examples
        )


def prepare_dataset(
    mix: Path, *, base: Path, sequence_len: int, out: Path, long_examples: LongExamples = LongExamples.AUTO
) -> Dataset:
    """Renders and tokenises both files of a mix into `out`.

    Raises:
        DataError: a file is missing or empty, or no row of it can be trained on.
    """
    inputs = TableInputs.of(mix, base=base, sequence_len=sequence_len, long_examples=long_examples)
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
    described = asdict(dataset)
    for name in PARTS:
        described[name]["path"] = f"{name}.parquet"
    write_json(out / DESCRIPTION, described)
    return dataset


def _sample(table: Table, tokenizer: Any) -> str:
    """The first rows: [[what is trained]], and what is not."""
    shown = []
    for number, row in enumerate(read_rows(table.path, num=NUM_SAMPLES), start=1):
        runs = trained_runs(tokenizer, row)
        shown.append(f"--- row {number} ---\n" + "".join(f"[[{t}]]" if is_trained else t for t, is_trained in runs))
    return "\n".join(shown) + "\n"


@dataclass(slots=True, kw_only=True)
class _Preparation:
    """Tokenises the files of a mix, and keeps account of what it leaves out."""

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
            left_out = self.dropped[before:]
            raise DataError(f"{mix}: no row of {len(left_out)} can be trained on; {_why_none(left_out)}")
        return table

    def _rows(self, mix: Path) -> Iterator[TableRow]:
        examples = read_mix(mix)
        while some := list(itertools.islice(examples, ROWS_AT_ONCE)):
            for item, encoded in zip(some, self.encoder.encode(some), strict=True):
                try:
                    pieces = self._fitted(item, encoded)
                except Unusable as e:
                    detail = f"{mix.stem}: {e.detail}"
                    place = item.origin
                    self.dropped.append(Dropped(unit="row", id=item.id, reason=e.reason, detail=detail, source=place))
                    continue
                for number, ids in enumerate(pieces, start=1):
                    row_id = item.id if len(pieces) == 1 else f"{item.id}#{number}"
                    yield TableRow(id=row_id, source=item.source, ids=ids)
        self.chat_template = self.encoder.chat_template

    def _fitted(self, item: MixExample, encoded: RowIds | Unusable) -> list[RowIds]:
        """The rows of an example, none longer than `sequence_len`."""
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


def _why_none(dropped: Sequence[Dropped]) -> str:
    """What became of every row, and what mends most of them."""
    reasons = Counter(d.reason for d in dropped)
    told = ", ".join(f"{n:,} {reason}" for reason, n in reasons.most_common())
    mend = "Raise sequence_len" if reasons.most_common(1)[0][0] == "too_long" else "Give the rows answers"
    return f"{told}, the last one {dropped[-1].detail}. {mend}."


def long_notes(dataset: Dataset) -> list[str]:
    """What became of examples longer than `sequence_len`, besides those that were dropped."""
    counts = (
        (dataset.num_split, "texts are longer than sequence_len and are split"),
        (dataset.num_truncated, "examples are longer than sequence_len, and only their first tokens are kept"),
    )
    return [f"{num:,} {what}" for num, what in counts if num]


def described_dataset(out: Path) -> Dataset:
    """What `prepare_dataset` wrote, by its description alone.

    Raises:
        StageError: the description is missing or damaged.
    """
    found = read_as(Dataset, out / DESCRIPTION)
    train, validation = (replace(part, path=out / part.path) for part in (found.train, found.validation))
    return replace(found, train=train, validation=validation)


def read_dataset(out: Path) -> Dataset | None:
    """What `prepare_dataset` wrote; None if it is not there, or not as it was written."""
    try:
        found = described_dataset(out)
    except StageError:
        return None
    whole = (
        found.train.is_whole()
        and found.validation.is_whole()
        and (out / DROPPED).is_file()
        and (out / SAMPLE).is_file()
    )
    return found if whole else None


def link_dataset(dataset: Dataset, out: Path) -> Dataset:
    """The same files in another folder, without a second copy where the file system has hard links.

    A training keeps the rows that it was begun with, whatever becomes of `05_table/`.
    """
    make_folder(out)
    for name in (*(f"{part}.parquet" for part in PARTS), DROPPED, SAMPLE, DESCRIPTION):
        (out / name).unlink(missing_ok=True)
        try:
            os.link(dataset.train.path.with_name(name), out / name)
        except OSError:
            shutil.copyfile(dataset.train.path.with_name(name), out / name)
    return described_dataset(out)


def check_window(dataset: Dataset, base: Path, overrides: Mapping[str, Any] | None) -> None:
    """A base with a sliding window may be trained without it as long as no sample is longer than the window.

    Raises:
        DataError: one is.
    """
    if not overrides or overrides.get("sliding_window", 0) is not None:
        return
    window = read_json(base / "config.json").get("sliding_window")
    longest = max(dataset.train.longest, dataset.validation.longest)
    if window and longest > window:
        raise DataError(
            f"a row has {longest} tokens, and sliding_window: null is exact up to the base's window of {window} alone. "
            f"Curate with `policies.max_tokens={window}`, or take overrides_of_model_config out of the recipe."
        )


def read_dataset_rows(path: Path, base: Path) -> list[RowIds]:
    """Rows to compute losses on: of a table, of a mix, or of JSON lines with `prompt` and `answer`.

    Raises:
        DataError: missing, empty, or a row is none of these.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file. Give JSON lines with prompt and answer, or a mix's validation.jsonl.")
    if path.suffix == ".parquet":
        return read_rows(path)
    tokenizer = load_tokenizer(base)
    try:
        first = next(read_jsonl(path), None)
        if first is None:
            raise DataError(f"{path}: no rows in it. Give others with `validation=`.")
        if "prompt" in first and "chosen" not in first:
            return rows_ids(tokenizer, [(p, without_end(tokenizer, answer)) for p, answer in _rendered_rows(path)])
    except StageError as e:
        raise DataError(str(e)) from e
    encoded = ExampleEncoder(tokenizer=tokenizer).encode(list(read_mix(path)))
    return [ids for ids in encoded if isinstance(ids, RowIds)]


def _rendered_rows(path: Path) -> list[tuple[str, str]]:
    rows = list(read_jsonl(path))
    for number, row in enumerate(rows, start=1):
        if not (isinstance(row.get("prompt"), str) and isinstance(row.get("answer"), str) and row["answer"]):
            raise DataError(f"{path}: row {number} lacks prompt or answer as text. Mend the row.")
    return [(row["prompt"], row["answer"]) for row in rows]
