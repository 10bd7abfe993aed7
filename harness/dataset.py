"""The mix as Axolotl reads it: rendered with the one template, tokenised once, as a Parquet table of ids.

    dataset = prepare_dataset(Path("runs/demo/05_mix"), base=..., sequence_len=512, out=Path("07_train/data"))
    dataset.train.num_tokens

Axolotl passes rows with `input_ids`, `labels` and `attention_mask` through as they are, so what is trained on is what
curation asked and what the server encodes. A row longer than `sequence_len` is counted and kept in `dropped.jsonl`.

Where it sits: mix -> **dataset** -> Axolotl.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from core.errors import StageError
from core.example.prompt import training_prompt
from core.files import atomic_writer, file_sha256, read_json, read_jsonl, write_json, write_jsonl
from core.model.libraries import quieten
from core.model.token_ids import RowIds, end_id, rows_ids, without_end
from core.stage import Dropped
from harness.errors import DataError

SCHEMA = pa.schema(
    [("input_ids", pa.list_(pa.int32())), ("labels", pa.list_(pa.int32())), ("attention_mask", pa.list_(pa.int8()))]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One file of the dataset."""

    path: Path
    num_rows: int
    num_tokens: int
    num_answer_tokens: int
    longest: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """What is trained and validated on."""

    train: Part
    validation: Part
    num_dropped: int
    num_ends_removed: int
    """Answers that ended in the text of the end token, which is there by its id already."""
    lengths: tuple[int, ...]
    """Tokens of each training row, in order."""

    @property
    def digest(self) -> str:
        """Names the content of both files."""
        return f"{self.train.sha256[:16]}{self.validation.sha256[:16]}"


def load_tokenizer(base: Path) -> Any:
    """The tokenizer of a model folder, loaded by the class that Axolotl loads it by.

    Raises:
        DataError: none there.
        PredictionError: it has no end token.
    """
    quieten()
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(base, local_files_only=True)
    except Exception as e:  # its files can be wrong in as many ways as there are tokenizers
        why = " ".join([type(e).__name__, *str(e).splitlines()[:1]])
        raise DataError(f"{base}: its tokenizer cannot be loaded ({why}). Check `base=`.") from e
    end_id(tokenizer)
    return tokenizer


def check_embeddings(base: Path, tokenizer: Any) -> None:
    """Refuses a tokenizer with more tokens than the model has embeddings.

    Axolotl would add rows to them without a word, and what it then saves does not load onto this base.

    Raises:
        DataError: it has.
    """
    num_embeddings = read_json(base / "config.json").get("vocab_size")
    if isinstance(num_embeddings, int) and len(tokenizer) > num_embeddings:
        raise DataError(
            f"{base}: its tokenizer has {len(tokenizer):,} tokens, its model embeddings for {num_embeddings:,}. Resize "
            "them first and train on that folder: model.resize_token_embeddings(len(tokenizer)), then save both."
        )


def read_mix(path: Path) -> list[tuple[str, str, str]]:
    """(id, prompt, answer) of every row of a mix file. An answer may be empty, as in mixes that follow the winner's.

    Raises:
        DataError: missing, empty, or a row lacks a field.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file. `mix=` takes a folder with train.jsonl and validation.jsonl.")
    rows = []
    try:
        for number, row in enumerate(read_jsonl(path), start=1):
            fields = [row.get(name) for name in ("instruction", "input", "output")]
            if not all(isinstance(field, str) for field in fields) or row["output"].isspace():
                raise DataError(f"{path}: row {number} lacks instruction, input or output as text. Mend the row.")
            rows.append((str(row.get("id", number)), training_prompt(row["instruction"], row["input"]), row["output"]))
    except StageError as e:
        raise DataError(str(e)) from e
    if not rows:
        raise DataError(f"{path}: a mix with no rows. Run `oneday curate` again: it says what took them.")
    return rows


def prepare_dataset(mix: Path, *, base: Path, sequence_len: int, out: Path) -> Dataset:
    """Renders and tokenises both files of a mix into `out`.

    Raises:
        DataError: a file is missing or empty, or no row of it can be trained on.
    """
    tokenizer = load_tokenizer(base)
    parts: dict[str, Part] = {}
    lengths: dict[str, tuple[int, ...]] = {}
    dropped: list[Dropped] = []
    num_ends_removed = 0
    for name in ("train", "validation"):
        texts = read_mix(mix / f"{name}.jsonl")
        pairs = [(prompt, without_end(tokenizer, answer)) for _, prompt, answer in texts]
        num_ends_removed += sum(text[2] != pair[1] for text, pair in zip(texts, pairs, strict=True))
        kept: list[RowIds] = []
        for (row_id, _, _), row in zip(texts, rows_ids(tokenizer, pairs), strict=True):
            reason = _unusable(row, sequence_len)
            if reason:
                dropped.append(Dropped(unit="row", id=row_id, reason=reason[0], detail=f"{name}: {reason[1]}"))
            else:
                kept.append(row)
        if not kept:
            here = [d for d in dropped if d.detail.startswith(f"{name}: ")]
            raise DataError(f"{mix / name}.jsonl: no row of {len(texts)} can be trained on; {_why_none(here)}")
        parts[name], lengths[name] = write_part(out / f"{name}.parquet", kept)
    write_jsonl(out / "dropped.jsonl", dropped)
    dataset = Dataset(
        train=parts["train"],
        validation=parts["validation"],
        num_dropped=len(dropped),
        num_ends_removed=num_ends_removed,
        lengths=lengths["train"],
    )
    described = asdict(replace(dataset, lengths=()))
    for part in parts:
        described[part]["path"] = f"{part}.parquet"
    write_json(out / "lengths.json", dataset.lengths)
    write_json(out / DESCRIPTION, described)
    return dataset


def _why_none(dropped: Sequence[Dropped]) -> str:
    """What became of every row, and what mends most of them."""
    reasons = Counter(d.reason for d in dropped)
    told = ", ".join(f"{n:,} {reason}" for reason, n in reasons.most_common())
    mend = "Raise sequence_len" if reasons.most_common(1)[0][0] == "too_long" else "Give the rows answers"
    return f"{told}, the last one {dropped[-1].detail}. {mend}."


def _unusable(row: RowIds, sequence_len: int) -> tuple[str, str] | None:
    """Why a row cannot be trained on: reason and detail."""
    if len(row.input_ids) > sequence_len:
        return "too_long", f"{len(row.input_ids)} tokens, sequence_len {sequence_len}"
    if row.num_answer_tokens < 2:
        return "no_answer", "its answer is the end token alone"
    return None


DESCRIPTION = "dataset.json"
"""Written last: what stands beside it is whole."""


def prepared_dataset(out: Path) -> Dataset | None:
    """What `prepare_dataset` wrote before; None if it is not there, or not as it was."""
    if not (out / DESCRIPTION).is_file():
        return None
    described = read_json(out / DESCRIPTION)
    parts = {name: Part(**{**described[name], "path": out / f"{name}.parquet"}) for name in ("train", "validation")}
    if any(not part.path.is_file() or file_sha256(part.path) != part.sha256 for part in parts.values()):
        return None
    return Dataset(**{**described, **parts, "lengths": tuple(read_json(out / "lengths.json"))})


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


def write_part(path: Path, rows: Sequence[RowIds]) -> tuple[Part, tuple[int, ...]]:
    """Writes rows as a Parquet table; returns what it holds, and the tokens of each row."""
    columns = {
        "input_ids": [row.input_ids for row in rows],
        "labels": [row.labels for row in rows],
        "attention_mask": [[1] * len(row.input_ids) for row in rows],
    }
    with atomic_writer(path) as file:
        pq.write_table(pa.table(columns, schema=SCHEMA), file, compression="zstd")
    lengths = tuple(len(row.input_ids) for row in rows)
    part = Part(
        path=path,
        num_rows=len(rows),
        num_tokens=sum(lengths),
        num_answer_tokens=sum(row.num_answer_tokens for row in rows),
        longest=max(lengths),
        sha256=file_sha256(path),
    )
    return part, lengths


def read_part(path: Path) -> list[RowIds]:
    """The rows of a table that `write_part` wrote."""
    table = pq.read_table(path, columns=["input_ids", "labels"])
    pairs = zip(table["input_ids"].to_pylist(), table["labels"].to_pylist(), strict=True)
    return [RowIds(input_ids=tuple(ids), labels=tuple(labels)) for ids, labels in pairs]


def read_dataset_rows(path: Path, base: Path) -> list[RowIds]:
    """Rows to compute losses on: of a table, of a mix, or of JSON lines with `prompt` and `answer`.

    Raises:
        DataError: missing, empty, or a row is none of these.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file. Give JSON lines with prompt and answer, or a mix's validation.jsonl.")
    if path.suffix == ".parquet":
        return read_part(path)
    tokenizer = load_tokenizer(base)
    return rows_ids(tokenizer, [(prompt, without_end(tokenizer, answer)) for prompt, answer in _texts(path)])


def _texts(path: Path) -> list[tuple[str, str]]:
    try:
        first = next(read_jsonl(path), None)
        if first is None:
            raise DataError(f"{path}: no rows in it. Give others with `validation=`.")
        if "prompt" not in first:
            return [(prompt, answer) for _, prompt, answer in read_mix(path)]
        rows = list(read_jsonl(path))
    except StageError as e:
        raise DataError(str(e)) from e
    for number, row in enumerate(rows, start=1):
        if not (isinstance(row.get("prompt"), str) and isinstance(row.get("answer"), str) and row["answer"]):
            raise DataError(f"{path}: row {number} lacks prompt or answer as text. Mend the row.")
    return [(row["prompt"], row["answer"]) for row in rows]


def chosen_rows(dataset: Dataset, numbers: Sequence[int], out: Path) -> Part:
    """Training rows by their numbers, in that order, as a table of their own: what a rehearsal trains on."""
    rows = read_part(dataset.train.path)
    return write_part(out, [rows[number] for number in numbers])[0]
