"""Greedy rows, with a repetition penalty each: the answers of the `transformers` predictor.

    decoder = GreedyDecoder(model, PrefixCache(max_bytes=1 << 28))
    ended = decoder.admit([GreedyRow(number=0, prompt_ids=ids, max_new_tokens=8, stop=("\\n",), end_ids=model.end_ids)])

Where it sits: row_decoder -> **greedy_decoder** -> the `transformers` predictor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from core.decoding.row_decoder import Row, RowDecoder

_TAIL = 8
"""Tokens before a stop string that are decoded with it, so that it is found inside whole characters."""


@dataclass(slots=True, kw_only=True, eq=False)
class GreedyRow(Row):
    """One prompt, and the ids of its answer so far, an end token included."""

    number: int
    """The caller's."""
    repetition_penalty: float = 1.0

    @property
    def size(self) -> int:
        """The largest number of tokens that it can reach."""
        return len(self.prompt_ids) + self.max_new_tokens

    def push(self, token_id: int, tokenizer: Any) -> bool:
        """Appends a token; returns whether the row goes on."""
        self.ids.append(token_id)
        if token_id in self.end_ids or len(self.ids) >= self.max_new_tokens:
            return False
        if not self.stop:
            return True
        tail = self.ids[-max(4 * len(s) for s in self.stop) - _TAIL :]
        text = tokenizer.decode(tail)
        return not any(s in text for s in self.stop)


class GreedyDecoder(RowDecoder[GreedyRow]):
    """The rows that are being answered."""

    def choose(self, rows: Sequence[GreedyRow], logits: torch.Tensor) -> list[bool]:
        """The most likely id of each row."""
        raw = logits.float()
        for row, own in zip(rows, raw, strict=True):
            _penalise(row, own)
        chosen = raw.argmax(dim=-1).tolist()
        return [row.push(token_id, self._model.tokenizer) for row, token_id in zip(rows, chosen, strict=True)]


def _penalise(row: GreedyRow, logits: torch.Tensor) -> None:
    """Divides the positive logits, and multiplies the negative ones, of the tokens of a row's prompt and answer.

    Source: Keskar et al. 2019, as in transformers.
    """
    if row.repetition_penalty == 1.0:
        return
    seen = torch.tensor(sorted({*row.prompt_ids, *row.ids}), device=logits.device)
    found, penalty = logits[seen], row.repetition_penalty
    logits[seen] = torch.where(found > 0, found / penalty, found * penalty)
