"""Batched decoding, token by token: rows start and end independently of each other.

    decoder = GreedyDecoder(model, PrefixCache(max_bytes=1 << 28))       # or the server's
    ended = decoder.admit([row, row])
    while decoder.rows:
        ended += decoder.step()

A row that ends leaves the batch at once, and another can take its place. What prompts begin with in common, or in
common with earlier prompts, is read once.

Where it sits: below the `transformers` predictor, whose rows are greedy (`greedy_decoder`), and below the server, whose
rows are sampled and scored (`submission/engine/generate.py`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Generic, TypeVar

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from core.decoding.prefix_cache import PrefixCache, Scores, num_common
from core.decoding.row_columns import RowColumns
from core.decoding.token_score import Score, scored
from core.model.language_model import LanguageModel

READ_TOGETHER = 4_096
"""Tokens of prompts in a forward pass."""

WORTH_READING = 64
"""Tokens that are worth a forward pass of their own, which reads all weights of the model. An estimate, not measured.
Fewer are read again instead: with each prompt that begins with them, or with prompts of which more is to be read."""

STORED_TOP = 5
"""Most likely ids that are kept with the scores of a prompt. A row that wants more reads its whole prompt."""


@dataclass(slots=True, kw_only=True, eq=False)
class Row:
    """One prompt and the ids of its answer so far."""

    prompt_ids: Sequence[int]
    max_new_tokens: int
    stop: Sequence[str] = ()
    end_ids: frozenset[int] = frozenset()
    """Ids that end the answer."""
    ids: list[int] = field(default_factory=list)
    scores_prompt: bool = False
    """The prompt's own ids are scored as well. Such a row is read alone, because that takes the logits of every
    position."""
    num_top: int = 1
    """The number of most likely ids that are kept at each scored position."""
    prompt_scores: list[Score] = field(default_factory=list)
    """Of all ids of the prompt but the first."""


R = TypeVar("R", bound=Row)


def can_decode(model: LanguageModel) -> bool:
    """Whether every layer has keys and values for each token, rather than a state that sums them up."""
    layers = DynamicCache(config=model.model.config).layers
    return bool(layers) and all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in layers)


class RowDecoder(ABC, Generic[R]):
    """The rows that are being decoded."""

    def __init__(self, model: LanguageModel, prefixes: PrefixCache) -> None:
        self._model, self._prefixes = model, prefixes
        self.rows: list[R] = []
        self._columns = RowColumns(model)

    @abstractmethod
    def choose(self, rows: Sequence[R], logits: torch.Tensor) -> list[bool]:
        """Appends the next id to each row, from logits of shape [rows, vocabulary]; returns which rows go on."""

    def admit(self, rows: Sequence[R]) -> list[R]:
        """Reads new prompts and chooses their first tokens; returns the rows that have ended with it.

        Raises:
            torch.OutOfMemoryError: nothing is as it was; `clear`.
        """
        with torch.inference_mode():
            self._read_shared([row for row in rows if not row.scores_prompt])
            return [ended for group in self._groups(rows) for ended in self._read(group)]

    def step(self) -> list[R]:
        """One token for every row; returns those that have ended with it.

        Raises:
            torch.OutOfMemoryError: as for `admit`.
        """
        with torch.inference_mode():
            self._columns.extend()
            logits = self._columns.forward(0, [row.ids[-1:] for row in self.rows])
            return self._keep(self.choose(self.rows, logits[:, -1]))

    def clear(self) -> None:
        """Without any row or known prefix, as in the beginning."""
        self.rows = []
        self._columns.clear()
        self._prefixes.clear()

    def _read_shared(self, rows: Sequence[R]) -> None:
        """Reads what several of these prompts begin with, unless it is known."""
        prompts = sorted(tuple(row.prompt_ids) for row in rows)
        for one, other in pairwise(prompts):
            shared = one[: min(num_common(one, other), len(one) - 1, len(other) - 1)]
            if self._prefixes.holds(len(shared)) and len(shared) - self._prefixes.find(shared).num >= WORTH_READING:
                self._forward([shared], [self._prefixes.find(shared).num])
                self._prefixes.store(shared, partial(self._columns.read, len(self.rows)))
                self._columns.keep([True] * len(self.rows) + [False])

    def _groups(self, rows: Sequence[R]) -> Iterator[list[R]]:
        """Rows that are read together, because similarly many of their tokens are unread."""
        unread = {id(row): len(row.prompt_ids) - self._num_known(row) for row in rows}
        group: list[R] = []
        wasted = 0
        for row in sorted(rows, key=lambda row: -unread[id(row)]):
            most = unread[id(group[0])] if group else 0
            wasted += max(0, most - unread[id(row)])
            is_alone = any(each.scores_prompt for each in (row, *group[:1]))
            if group and (is_alone or wasted > WORTH_READING or most * (len(group) + 1) > READ_TOGETHER):
                yield group
                group, wasted = [], 0
            group.append(row)
        if group:
            yield group

    def _num_known(self, row: R) -> int:
        """How many ids of a prompt need not be read. The last one is read for the logits behind it."""
        if not row.scores_prompt:
            return min(self._prefixes.find(row.prompt_ids).num, len(row.prompt_ids) - 1)
        if row.num_top > STORED_TOP:
            return 0
        return max(0, self._prefixes.find(row.prompt_ids, scored=True).num - 1)

    def _read(self, rows: Sequence[R]) -> list[R]:
        first, scores = len(self.rows), rows[0].scores_prompt
        logits = self._forward([row.prompt_ids for row in rows], [self._num_known(row) for row in rows], scored=scores)
        for number, row in enumerate(rows, start=first):
            found = self._score(row, logits[0, :-1]) if scores else None
            if not scores or row.num_top <= STORED_TOP:
                self._prefixes.store(row.prompt_ids, partial(self._columns.read, number), found)
        self.rows += rows
        return self._keep([True] * first + self.choose(rows, logits[:, -1]))

    def _forward(self, prompts: Sequence[Sequence[int]], known: Sequence[int], *, scored: bool = False) -> torch.Tensor:
        """Reads prompts into columns of their own.

        Of each prompt as many tokens are read as of the one of which the fewest are known: padding would cost the same.
        """
        lengths = [len(prompt) for prompt in prompts]
        num_new = max(length - num for length, num in zip(lengths, known, strict=True))
        self._columns.add(lengths)
        for number, prompt in enumerate(prompts, start=len(self.rows)):
            self._copy_known(number, prompt, len(prompt) - num_new, scored=scored)
        ids = [[0] * (num_new - len(prompt)) + list(prompt[-num_new:]) for prompt in prompts]
        return self._columns.forward(len(self.rows), ids, num_logits=0 if scored else 1)

    def _copy_known(self, number: int, prompt: Sequence[int], num: int, *, scored: bool) -> None:
        """Copies the keys and values of the first `num` tokens of a prompt to its row."""
        place = 0
        for layers, used in self._prefixes.find(prompt, scored=scored).parts if num > 0 else ():
            copied = min(used, num - place)
            self._columns.write(number, place, layers, copied)
            place += copied
        self._prefixes.num_reused += place

    def _score(self, row: R, logits: torch.Tensor) -> list[Score | None]:
        """Scores a prompt, from the logits of its positions from one on up to the last but one."""
        num_known = len(row.prompt_ids) - len(logits)
        known: Scores = [None]
        if num_known > 1:
            known = self._prefixes.find(row.prompt_ids, scored=True).scores[:num_known]
        scores = [*known, *scored(logits, row.prompt_ids[num_known:], max(row.num_top, STORED_TOP))]
        num_top = max(1, row.num_top)
        row.prompt_scores = [Score(score.logprob, score.top[:num_top]) for score in scores if score is not None]
        return scores

    def _keep(self, goes_on: Sequence[bool]) -> list[R]:
        """Drops the rows that have ended, and returns them."""
        ended = [row for row, goes in zip(self.rows, goes_on, strict=True) if not goes]
        self.rows = [self.rows[number] for number in self._columns.keep(goes_on)]
        if not self.rows:
            self._columns.clear()  # an idle server keeps no rows in memory
        return ended
