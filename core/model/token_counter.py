"""Counts tokens with a model's tokenizer, without loading the model.

    >>> TokenCounter.mistral_7b().count(["Good morning."])
    [3]

Where it sits: used by the length policy, the fit to a budget and the report.
"""

import importlib.resources
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import SourceError
from core.example.prompt import training_prompt
from core.files import file_sha256
from core.model.word_counts import WordCounts, splits_at_spaces

MISTRAL_7B = "mistral-7b-v0.1"
"""The tokenizer of the winner's base model. The package `mistral-common` contains it."""

SPECIAL_TOKENS = 2
"""A training row has BOS before it and EOS after it."""


@dataclass(frozen=True, slots=True)
class TokenCounter:
    """Counts the tokens of texts, without special tokens."""

    path: Path
    sha256: str
    _count: Callable[[Sequence[str]], list[int]]

    @classmethod
    def load(cls, path: Path) -> "TokenCounter":
        """Loads the tokenizer of a model folder, a `tokenizer.json` or a SentencePiece `*.model`.

        Raises:
            SourceError: there is no tokenizer.
        """
        if path.is_dir():
            files = [path / name for name in ("tokenizer.json", "tokenizer.model") if (path / name).is_file()]
            if not files:
                raise SourceError(f"{path}: no tokenizer.json or tokenizer.model in it. Pass `tokenizer=FILE`.")
            path = files[0]
        if not path.is_file():
            raise SourceError(f"{path}: no such file. `tokenizer=` takes a model folder or a tokenizer file.")
        count = _fast(path) if path.suffix == ".json" else _sentencepiece(path)
        return cls(path, file_sha256(path), count)

    @classmethod
    def mistral_7b(cls) -> "TokenCounter":
        """Mistral-7B-v0.1's."""
        return cls.load(Path(str(importlib.resources.files("mistral_common") / "data" / "tokenizer.model.v1")))

    def count(self, texts: Sequence[str]) -> list[int]:
        """The number of tokens of each text."""
        return self._count(texts)

    def count_rows(self, rows: Sequence[tuple[str, str, str]]) -> list[int]:
        """The number of tokens of each row (instruction, input, output), with template, BOS and EOS."""
        texts = [training_prompt(instruction, text) + output for instruction, text, output in rows]
        return [n + SPECIAL_TOKENS for n in self.count(texts)]


def _fast(path: Path) -> Callable[[Sequence[str]], list[int]]:
    from tokenizers import Tokenizer

    try:
        tokenizer: Any = Tokenizer.from_file(str(path))
    except Exception as e:  # the library raises a bare Exception
        raise SourceError(f"{path}: no tokenizer ({e}). Pass `tokenizer=` with a tokenizer.json.") from e
    tokenizer.encode_special_tokens = True
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return lambda texts: [len(e.ids) for e in tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]


def _sentencepiece(path: Path) -> Callable[[Sequence[str]], list[int]]:
    from sentencepiece import SentencePieceProcessor

    processor: Any = SentencePieceProcessor()
    try:
        processor.load(str(path))
    except (OSError, RuntimeError) as e:
        raise SourceError(f"{path}: no SentencePiece model ({e}). Pass `tokenizer=` with one.") from e

    def encode(texts: Sequence[str]) -> list[list[int]]:
        return list(processor.encode(list(texts), num_threads=1))

    if splits_at_spaces(processor):
        return WordCounts(encode).count
    return lambda texts: [len(ids) for ids in encode(texts)]
