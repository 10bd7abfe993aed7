"""Token counts with the real tokenizer, without loading a model.

    >>> TokenCounter.mistral_7b().count(["Good morning."])
    [3]

Where it sits: asked by the length policy, by the fit to a budget and by the report.
"""

import importlib.resources
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import SourceError
from core.example.prompt import training_prompt
from core.files import file_sha256

MISTRAL_7B = "mistral-7b-v0.1"
"""The tokenizer of the winner's base. It comes inside the package `mistral-common`."""

SPECIAL_TOKENS = 2
"""BOS before and EOS after a training row."""


@dataclass(frozen=True, slots=True)
class TokenCounter:
    """Counts tokens of texts; special tokens are not added."""

    path: Path
    sha256: str
    _encode: Callable[[Sequence[str]], Sequence[Sequence[int]]]

    @classmethod
    def load(cls, path: Path) -> "TokenCounter":
        """From a model folder, a `tokenizer.json` or a SentencePiece `*.model`.

        Raises:
            SourceError: no tokenizer there.
        """
        if path.is_dir():
            found = [path / name for name in ("tokenizer.json", "tokenizer.model") if (path / name).is_file()]
            if not found:
                raise SourceError(f"{path}: no tokenizer.json or tokenizer.model in it. Pass `tokenizer=FILE`.")
            path = found[0]
        if not path.is_file():
            raise SourceError(f"{path}: no such file. `tokenizer=` takes a model folder or a tokenizer file.")
        encode = _fast(path) if path.suffix == ".json" else _sentencepiece(path)
        return cls(path, file_sha256(path), encode)

    @classmethod
    def mistral_7b(cls) -> "TokenCounter":
        """Mistral-7B-v0.1's."""
        return cls.load(Path(str(importlib.resources.files("mistral_common") / "data" / "tokenizer.model.v1")))

    def count(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text."""
        return [len(ids) for ids in self._encode(texts)]

    def count_rows(self, rows: Sequence[tuple[str, str, str]]) -> list[int]:
        """Tokens of rows (instruction, input, output) as they are trained on: template, BOS and EOS included."""
        texts = [training_prompt(instruction, text) + output for instruction, text, output in rows]
        return [n + SPECIAL_TOKENS for n in self.count(texts)]


def _fast(path: Path) -> Callable[[Sequence[str]], Sequence[Sequence[int]]]:
    from tokenizers import Tokenizer

    try:
        tokenizer: Any = Tokenizer.from_file(str(path))
    except Exception as e:  # the library raises a bare Exception
        raise SourceError(f"{path}: no tokenizer ({e}). Pass `tokenizer=` with a tokenizer.json.") from e
    tokenizer.encode_special_tokens = True
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return lambda texts: [e.ids for e in tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]


def _sentencepiece(path: Path) -> Callable[[Sequence[str]], Sequence[Sequence[int]]]:
    from sentencepiece import SentencePieceProcessor

    processor: Any = SentencePieceProcessor()
    try:
        processor.load(str(path))
    except (OSError, RuntimeError) as e:
        raise SourceError(f"{path}: no SentencePiece model ({e}). Pass `tokenizer=` with one.") from e
    return lambda texts: processor.encode(list(texts), num_threads=1)
