"""Encodes texts as token ids, in the same way for curation, training and the server.

    encode(tokenizer, "### Response:\\n")                 # the leading special tokens, then the text
    rows_ids(tokenizer, [("### Response:\\n", "yes</s>")])     # the same, then the answer and one end token

The name of a special token inside a text is encoded as ordinary text. The only special ids are the tokens that the
tokenizer puts in front of every text, and the end token of an answer.

Where it sits: below language_model, the harness's dataset and the server.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from core.errors import PredictionError

IGNORED_LABEL = -100
"""Label of a position that bears no loss, as in transformers and Axolotl."""


AT_ONCE = 1_000
"""Number of texts that the tokenizer gets in one call."""


@dataclass(frozen=True, slots=True)
class RowIds:
    """A training row: ids of prompt and answer. Only the answer and its end token bear loss."""

    input_ids: tuple[int, ...]
    labels: tuple[int, ...]

    @property
    def num_answer_tokens(self) -> int:
        """Number of positions that bear loss, the end token included."""
        return sum(label != IGNORED_LABEL for label in self.labels)


def encode(tokenizer: Any, text: str, *, bos: bool = True) -> list[int]:
    """Ids of a text.

    Args:
        bos: Whether to begin with the tokens that the tokenizer puts in front of a text.
    """
    return [*leading_ids(tokenizer), *_plain(tokenizer, text)] if bos else _plain(tokenizer, text)


@lru_cache(maxsize=16)
def leading_ids(tokenizer: Any) -> tuple[int, ...]:
    """The tokens that a tokenizer puts in front of every text: its BOS token, or none.

    A tokenizer may have a BOS token that texts do not begin with, as those of GPT-NeoX, Qwen and SmolLM2.
    """
    bos: int | None = tokenizer.bos_token_id
    with_special: list[int] = tokenizer("a")["input_ids"]
    begins = bos is not None and with_special[:1] == [bos] and _plain(tokenizer, "a")[:1] != [bos]
    return (bos,) if begins and bos is not None else ()


def rows_ids(tokenizer: Any, rows: Sequence[tuple[str, str]]) -> list[RowIds]:
    """Encodes many rows (prompt, answer) at once, which is several times faster than one by one.

    Raises:
        PredictionError: the tokenizer has no end token.
    """
    head, end = list(leading_ids(tokenizer)), end_id(tokenizer)
    prompts = _plain_all(tokenizer, [prompt for prompt, _ in rows])
    answers = _plain_all(tokenizer, [answer for _, answer in rows])
    encoded = []
    for prompt, answer in zip(prompts, answers, strict=True):
        ids, tail = [*head, *prompt], [*answer, end]
        encoded.append(RowIds(input_ids=(*ids, *tail), labels=(*[IGNORED_LABEL] * len(ids), *tail)))
    return encoded


def end_id(tokenizer: Any) -> int:
    """The id that ends an answer.

    Raises:
        PredictionError: there is none.
    """
    if tokenizer.eos_token_id is None:
        raise PredictionError(
            f"{tokenizer.name_or_path}: its tokenizer has no end token, so no answer could ever end. Name one of its "
            'tokens as "eos_token" in tokenizer_config.json.'
        )
    return int(tokenizer.eos_token_id)


def without_end(tokenizer: Any, answer: str) -> str:
    """An answer without the end token's text at its end. Other tools write it into data; here its id is added."""
    end = tokenizer.eos_token
    stripped = answer.rstrip()
    if not end or not stripped.endswith(end):
        return answer
    while stripped.endswith(end):
        stripped = stripped.removesuffix(end).rstrip()
    return stripped


def _plain(tokenizer: Any, text: str) -> list[int]:
    return _plain_all(tokenizer, [text])[0]


def _plain_all(tokenizer: Any, texts: list[str]) -> list[list[int]]:
    encode_some = _by_backend if getattr(tokenizer, "is_fast", False) else _by_call
    ids: list[list[int]] = []
    for start in range(0, len(texts), AT_ONCE):
        ids += encode_some(tokenizer, texts[start : start + AT_ONCE])
    return ids


def _by_call(tokenizer: Any, texts: list[str]) -> list[list[int]]:
    found: list[list[int]] = tokenizer(texts, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    return found


def _by_backend(tokenizer: Any, texts: list[str]) -> list[list[int]]:
    """The same ids without the masks and offsets that a call makes of every text: half of its time (measured)."""
    backend = tokenizer.backend_tokenizer
    if not backend.encode_special_tokens:
        backend.encode_special_tokens = True
    if backend.truncation is not None:
        backend.no_truncation()
    if backend.padding is not None:
        backend.no_padding()
    return [encoding.ids for encoding in backend.encode_batch_fast(texts, add_special_tokens=False)]
