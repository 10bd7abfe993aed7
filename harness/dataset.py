"""The mix as Axolotl reads it: rendered with the one template, measured with the real tokenizer.

    dataset = prepare_dataset(Path("runs/demo/05_mix"), base=..., sequence_len=512, out=Path("07_train/data"))
    dataset.train.num_tokens

A row longer than `sequence_len` is counted and kept in `dropped.jsonl`; Axolotl itself never drops one.

Where it sits: mix -> **dataset** -> Axolotl.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from curation.errors import StageError
from curation.files import file_sha256, read_json, read_jsonl, write_json, write_jsonl
from curation.language_model import IGNORED_LABEL
from curation.libraries import quieten
from curation.prompt import training_prompt
from curation.stage import Dropped
from harness.errors import DataError


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenisedRow:
    """A row as it is trained on: ids of prompt and answer, loss on the answer and its end token alone."""

    prompt: str
    answer: str
    input_ids: tuple[int, ...]
    labels: tuple[int, ...]


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
    num_too_long: int
    lengths: tuple[int, ...]
    """Tokens of each training row, in order."""

    @property
    def digest(self) -> str:
        """Names the content of both files."""
        return f"{self.train.sha256[:16]}{self.validation.sha256[:16]}"


class RowTokenizer:
    """Tokenises rows as Axolotl does: prompt and answer apart, BOS in front, EOS behind.

    Args:
        base: A model folder. The tokenizer is loaded by the class that Axolotl loads it by.
    Raises:
        DataError: no tokenizer there.
    """

    def __init__(self, base: Path) -> None:
        quieten()
        from transformers import AutoTokenizer

        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(base, local_files_only=True)
        except Exception as e:  # its files can be wrong in as many ways as there are tokenizers
            why = " ".join([type(e).__name__, *str(e).splitlines()[:1]])
            raise DataError(f"{base}: its tokenizer cannot be loaded ({why}). Check --base.") from e

    def __call__(self, prompt: str, answer: str) -> TokenisedRow:
        """Ids and labels of one row."""
        head: list[int] = self._tokenizer(prompt)["input_ids"]
        if head and head[-1] == self._tokenizer.eos_token_id:
            head = head[:-1]
        tail: list[int] = self._tokenizer(answer, add_special_tokens=False)["input_ids"]
        tail = [*tail, self._tokenizer.eos_token_id]
        return TokenisedRow(
            prompt=prompt,
            answer=answer,
            input_ids=(*head, *tail),
            labels=(*[IGNORED_LABEL] * len(head), *tail),
        )


def read_mix(path: Path) -> list[tuple[str, str, str]]:
    """(id, prompt, answer) of every row of a mix file.

    Raises:
        DataError: missing, empty, or a row lacks a field.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file. --mix takes a folder with train.jsonl and validation.jsonl.")
    rows = []
    try:
        for number, row in enumerate(read_jsonl(path), start=1):
            fields = [row.get(name) for name in ("instruction", "input", "output")]
            if not all(isinstance(field, str) for field in fields) or not row["output"].strip():
                raise DataError(f"{path}: row {number} lacks instruction, input or output as text. Mend the row.")
            rows.append((str(row.get("id", number)), training_prompt(row["instruction"], row["input"]), row["output"]))
    except StageError as e:
        raise DataError(str(e)) from e
    if not rows:
        raise DataError(f"{path}: a mix with no rows. Run `oneday curate` with a larger --scale first.")
    return rows


def prepare_dataset(mix: Path, *, base: Path, sequence_len: int, out: Path) -> Dataset:
    """Renders and measures both files of a mix into `out`.

    Raises:
        DataError: a file is missing or empty, or every row is too long.
    """
    tokenise = RowTokenizer(base)
    parts: dict[str, Part] = {}
    lengths: dict[str, tuple[int, ...]] = {}
    dropped: list[Dropped] = []
    for name in ("train", "validation"):
        kept: list[TokenisedRow] = []
        for row_id, prompt, answer in read_mix(mix / f"{name}.jsonl"):
            row = tokenise(prompt, answer)
            if len(row.input_ids) > sequence_len:
                detail = f"{name}: {len(row.input_ids)} tokens, sequence_len {sequence_len}"
                dropped.append(Dropped(unit="row", id=row_id, reason="too_long", detail=detail))
            else:
                kept.append(row)
        if not kept:
            raise DataError(f"{mix / name}.jsonl: every row is longer than sequence_len {sequence_len}. Raise it.")
        parts[name], lengths[name] = _write_part(out / f"{name}.jsonl", kept)
    write_jsonl(out / "dropped.jsonl", dropped)
    dataset = Dataset(**parts, num_too_long=len(dropped), lengths=lengths["train"])
    described = asdict(replace(dataset, lengths=()))
    for part in parts:
        described[part]["path"] = f"{part}.jsonl"
    write_json(out / "lengths.json", dataset.lengths)
    write_json(out / DESCRIPTION, described)
    return dataset


DESCRIPTION = "dataset.json"
"""Written last: what stands beside it is whole."""


def prepared_dataset(out: Path) -> Dataset | None:
    """What `prepare_dataset` wrote before; None if it is not there, or not as it was."""
    if not (out / DESCRIPTION).is_file():
        return None
    described = read_json(out / DESCRIPTION)
    parts = {name: Part(**{**described[name], "path": out / f"{name}.jsonl"}) for name in ("train", "validation")}
    if any(not part.path.is_file() or file_sha256(part.path) != part.sha256 for part in parts.values()):
        return None
    return Dataset(**parts, num_too_long=described["num_too_long"], lengths=tuple(read_json(out / "lengths.json")))


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
            f"Curate with --set policies.max_tokens={window}, or take overrides_of_model_config out of the recipe."
        )


def _write_part(path: Path, kept: Sequence[TokenisedRow]) -> tuple[Part, tuple[int, ...]]:
    write_jsonl(path, ({"prompt": row.prompt, "answer": row.answer} for row in kept))
    lengths = tuple(len(row.input_ids) for row in kept)
    part = Part(
        path=path,
        num_rows=len(kept),
        num_tokens=sum(lengths),
        num_answer_tokens=sum(label != IGNORED_LABEL for row in kept for label in row.labels),
        longest=max(lengths),
        sha256=file_sha256(path),
    )
    return part, lengths


def read_dataset_rows(path: Path, base: Path) -> list[TokenisedRow]:
    """The tokenised rows of a prepared file (`prompt`, `answer`), or of a mix: what the picker computes losses on.

    Raises:
        DataError: missing, empty, or a row is neither.
    """
    tokenise = RowTokenizer(base)
    if not path.is_file():
        raise DataError(f"{path}: no such file. Give JSON lines with prompt and answer, or a mix's validation.jsonl.")
    try:
        first = next(read_jsonl(path), None)
        if first is None:
            raise DataError(f"{path}: no rows in it. Give others with --validation.")
        if "prompt" not in first:
            return [tokenise(prompt, answer) for _, prompt, answer in read_mix(path)]
        rows = list(read_jsonl(path))
    except StageError as e:
        raise DataError(str(e)) from e
    for number, row in enumerate(rows, start=1):
        if not (isinstance(row.get("prompt"), str) and isinstance(row.get("answer"), str) and row["answer"]):
            raise DataError(f"{path}: row {number} lacks prompt or answer as text. Mend the row.")
    return [tokenise(row["prompt"], row["answer"]) for row in rows]


def chosen_rows(dataset: Dataset, numbers: Sequence[int], base: Path, out: Path) -> Part:
    """Training rows by their numbers, in that order, as a file of their own: what a rehearsal trains on."""
    wanted = set(numbers)
    texts = {n: row for n, row in enumerate(read_jsonl(dataset.train.path)) if n in wanted}
    tokenise = RowTokenizer(base)
    rows = {n: tokenise(row["prompt"], row["answer"]) for n, row in texts.items()}
    return _write_part(out, [rows[n] for n in numbers])[0]
