"""Batched decoding, token by token: each row has its own settings, and starts and ends independently of the others.

    decoder = Decoder(model)
    ended = decoder.admit([row, row])
    while decoder.rows:
        ended += decoder.step()

A row that ends leaves the batch at once, and another row can take its place: its prompt is read alone, and its keys and
values are added to the others', padded on the left. Nothing of size [steps, rows, vocabulary] is kept.

Where it sits: under the engine, on the model's thread.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from transformers import DynamicCache

from core.model.language_model import LanguageModel
from submission.engine.detokenize import Detokenizer

LOWEST_LOGPROB = -1e4
"""The lowest log-probability that is reported: JSON has no infinity, and HELM fails on NaN."""

SCORED_AT_ONCE = 256
"""Positions of a prompt whose log-probabilities are computed together, as fp32 of [positions, vocabulary]."""


class Score(NamedTuple):
    """The log-probability of an id under the raw softmax, and the most likely ids at its position, best first."""

    logprob: float
    top: tuple[tuple[int, float], ...]


Choose = Callable[[torch.Tensor], int]
"""Raw logits of a row, shape [vocabulary] -> the next id."""


@dataclass(slots=True, kw_only=True)
class Row:
    """One prompt and the tokens of its answer so far."""

    prompt_ids: Sequence[int]
    max_new_tokens: int
    stop: Sequence[str] = ()
    choose: Choose | None = None
    """None: greedy."""
    is_given_up: Callable[[], bool] = lambda: False
    """Called before every token."""
    end_ids: frozenset[int] = frozenset()
    """Ids that end the answer besides the model's own."""
    num_top: int = 1
    """The number of most likely ids that are kept at each position."""
    scores_prompt: bool = False
    """The prompt's own ids are scored as well. Such a row is admitted alone, because that takes the logits of every
    position."""
    prompt_scores: list["Score"] = field(default_factory=list)
    """Of all ids of the prompt but the first."""
    ids: list[int] = field(default_factory=list)
    scores: list["Score"] = field(default_factory=list)
    """Of `ids`."""
    texts: list[str] = field(default_factory=list)
    text: str = ""
    has_stopped: bool = False
    """An end token or a stop string ended the row."""
    end: tuple[int, "Score"] | None = None
    """The end token, which is not one of `ids`."""
    stream: Detokenizer | None = None

    def push(self, token_id: int, score: "Score", ends: frozenset[int]) -> bool:
        """Appends a token; returns True if the row has ended."""
        if token_id in ends or token_id in self.end_ids:
            self.has_stopped, self.end = True, (token_id, score)
            return True
        assert self.stream is not None
        piece = self.stream.push(token_id)
        self.ids.append(token_id)
        self.scores.append(score)
        self.texts.append(piece)
        seen = len(self.text)
        self.text += piece
        self.has_stopped = self._has_stop(seen)
        return self.has_stopped or len(self.ids) >= self.max_new_tokens

    def _has_stop(self, seen: int) -> bool:
        """Whether a stop string ends in the text after position `seen`."""
        return any(self.text.find(s, max(0, seen - len(s) + 1)) >= 0 for s in self.stop)

    def finish(self) -> None:
        """Appends the text of an incomplete character at the end."""
        if self.texts and self.stream is not None:
            rest = self.stream.finish()
            self.texts[-1] += rest
            self.text += rest

    def num_settled(self) -> int:
        """Number of tokens that no later token can change: neither their text nor whether a stop string cuts them."""
        safe = len(self.text) - _held_back(self.text, self.stop)
        settled, length = 0, 0
        for number, piece in enumerate(self.texts, start=1):
            length += len(piece)
            if length > safe:
                break
            if piece:  # a token without a text may still get one
                settled = number
        return settled


def _held_back(text: str, stop: Sequence[str]) -> int:
    """Length of the longest end of the text with which a stop string may begin."""
    ends = (size for s in stop for size in range(min(len(s) - 1, len(text)), 0, -1) if text.endswith(s[:size]))
    return max(ends, default=0)


class Decoder:
    """The rows that are being decoded, with their cached keys and values."""

    def __init__(self, model: LanguageModel) -> None:
        self._model = model
        self._ends = end_ids(model)
        self.rows: list[Row] = []
        self._cache: Any = None
        self._mask = self._positions = torch.zeros(0, 0, dtype=torch.long)

    def admit(self, rows: Sequence[Row]) -> list[Row]:
        """Reads new prompts and chooses their first tokens; returns those that have ended with it.

        A row that scores its prompt comes alone.

        Raises:
            torch.OutOfMemoryError: nothing is as it was; `clear`.
        """
        for row in rows:
            row.stream = Detokenizer(self._model.tokenizer, context=row.prompt_ids)
        ids, mask = _padded(rows, self._model)
        positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
        cache = DynamicCache()
        scores_prompt = any(row.scores_prompt for row in rows)
        logits = self._forward(ids, mask, positions, cache, num_logits=0 if scores_prompt else 1)
        if scores_prompt:
            (row,) = rows
            row.prompt_scores = scored(logits[0, :-1], row.prompt_ids[1:], row.num_top)
        going, ended = self._choose(logits[:, -1], rows)
        if going:
            self._join(rows, going, cache, mask, positions[:, -1:])
        return ended

    def _join(
        self, rows: Sequence[Row], going: Sequence[int], cache: DynamicCache, mask: torch.Tensor, last: torch.Tensor
    ) -> None:
        """Adds the rows that go on to the batch; those that ended with their first token were never part of it."""
        if len(going) < len(rows):
            index = torch.tensor(list(going), device=self._model.device)
            cache.batch_select_indices(index)
            mask, last = mask[index], last[index]
        if self.rows:
            cache, mask = _joined([self._cache, cache], [self._mask, mask])
            last = torch.cat([self._positions, last])
        self._cache, self._mask, self._positions = cache, mask, last
        self.rows += [rows[number] for number in going]
        self._trim()

    def step(self) -> list[Row]:
        """One token for every row; returns those that have ended with it.

        Raises:
            torch.OutOfMemoryError: as for `admit`.
        """
        ids = torch.tensor([[row.ids[-1]] for row in self.rows], device=self._model.device)
        self._mask = torch.cat([self._mask, self._mask.new_ones(len(self.rows), 1)], dim=1)
        self._positions = self._positions + 1
        logits = self._forward(ids, self._mask, self._positions, self._cache)
        going, ended = self._choose(logits[:, -1], self.rows)
        self._keep(going)
        return ended

    def clear(self) -> None:
        """Without any row, as in the beginning."""
        self.rows, self._cache = [], None

    def _forward(
        self, ids: Any, mask: Any, positions: Any, cache: DynamicCache, *, num_logits: int = 1
    ) -> torch.Tensor:
        """Logits of the last `num_logits` positions, shape [rows, positions, vocabulary]; 0: of all positions."""
        with torch.inference_mode():
            output = self._model.model(
                input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True,
                logits_to_keep=num_logits,
            )  # fmt: skip
        logits: torch.Tensor = output.logits
        return logits

    def _choose(self, logits: torch.Tensor, rows: Sequence[Row]) -> tuple[list[int], list[Row]]:
        """Numbers of the rows that go on, and the rows that have ended."""
        raw = logits.float()
        logprobs = torch.log_softmax(raw, dim=-1)
        best_logprobs, best_ids = logprobs.max(dim=-1)
        chosen = best_ids.tolist()
        for number, row in enumerate(rows):
            if row.choose is not None:
                chosen[number] = row.choose(raw[number])
        picked = logprobs.gather(1, torch.tensor(chosen, device=raw.device)[:, None])[:, 0].tolist()
        best = list(zip(best_ids.tolist(), best_logprobs.tolist(), strict=True))
        going, ended = [], []
        for number, row in enumerate(rows):
            best_id, logprob = best[number]
            top = ((best_id, finite(logprob)),) if row.num_top <= 1 else _top(logprobs[number], row.num_top)
            score = Score(finite(picked[number]), top)
            if row.is_given_up() or row.max_new_tokens == 0 or row.push(chosen[number], score, self._ends):
                row.finish()
                ended.append(row)
            else:
                going.append(number)
        return going, ended

    def _keep(self, numbers: Sequence[int]) -> None:
        if len(numbers) == len(self.rows):
            return
        self.rows = [self.rows[n] for n in numbers]
        if not self.rows:
            self.clear()  # an idle server keeps no keys and values
            return
        index = torch.tensor(list(numbers), device=self._model.device)
        self._cache.batch_select_indices(index)
        self._mask, self._positions = self._mask[index], self._positions[index]
        self._trim()

    def _trim(self) -> None:
        """Drops columns on the left that are padding in every row."""
        unused = int((self._mask.sum(dim=0) == 0).sum())
        if unused:
            self._mask = self._mask[:, unused:]
            for layer in self._cache.layers:
                layer.keys, layer.values = layer.keys[:, :, unused:], layer.values[:, :, unused:]


def _joined(caches: Sequence[DynamicCache], masks: Sequence[torch.Tensor]) -> tuple[DynamicCache, torch.Tensor]:
    """Rows of several batches in one, the shorter padded on the left. Keys know their positions: shifting is free."""
    width = max(mask.shape[1] for mask in masks)
    pads = [width - mask.shape[1] for mask in masks]
    joined = DynamicCache()
    for number, layers in enumerate(zip(*(cache.layers for cache in caches), strict=True)):
        keys, values = (
            torch.cat([_pad_left(t, pad, dim=2) for t, pad in zip(parts, pads, strict=True)])
            for parts in ([layer.keys for layer in layers], [layer.values for layer in layers])
        )
        joined.update(keys, values, number)
    return joined, torch.cat([_pad_left(mask, pad, dim=1) for mask, pad in zip(masks, pads, strict=True)])


def _pad_left(tensor: torch.Tensor, pad: int, *, dim: int) -> torch.Tensor:
    if pad == 0:
        return tensor
    shape = list(tensor.shape)
    shape[dim] = pad
    return torch.cat([tensor.new_zeros(shape), tensor], dim=dim)


def _padded(rows: Sequence[Row], model: LanguageModel) -> tuple[torch.Tensor, torch.Tensor]:
    """(ids, mask), shape [rows, longest], padded on the left."""
    width = max(len(row.prompt_ids) for row in rows)
    pad = model.tokenizer.pad_token_id or 0
    ids = [[pad] * (width - len(row.prompt_ids)) + list(row.prompt_ids) for row in rows]
    mask = [[0] * (width - len(row.prompt_ids)) + [1] * len(row.prompt_ids) for row in rows]
    return torch.tensor(ids, device=model.device), torch.tensor(mask, device=model.device)


def scored(logits: torch.Tensor, ids: Sequence[int], num_top: int) -> list[Score]:
    """Scores of ids, each under the logits of the position before it, from logits of shape [positions, vocabulary]."""
    found: list[Score] = []
    for start in range(0, len(ids), SCORED_AT_ONCE):
        part = torch.log_softmax(logits[start : start + SCORED_AT_ONCE].float(), dim=-1)
        wanted = torch.tensor(list(ids[start : start + SCORED_AT_ONCE]), device=part.device)
        own = part.gather(1, wanted[:, None])[:, 0].tolist()
        best, best_ids = part.topk(min(max(1, num_top), part.shape[-1]), dim=-1)
        tops = zip(best_ids.tolist(), best.tolist(), strict=True)
        found += [
            Score(finite(logprob), tuple((i, finite(value)) for i, value in zip(*top, strict=True)))
            for logprob, top in zip(own, tops, strict=True)
        ]
    return found


def _top(logprobs: torch.Tensor, num: int) -> tuple[tuple[int, float], ...]:
    """The most likely ids, best first, from log-probabilities of shape [vocabulary]."""
    best, ids = logprobs.topk(min(num, logprobs.shape[-1]))
    return tuple((i, finite(value)) for i, value in zip(ids.tolist(), best.tolist(), strict=True))


def end_ids(model: LanguageModel) -> frozenset[int]:
    """Ids that end an answer: the tokenizer's, and those of the model's own generation settings."""
    found: Any = getattr(getattr(model.model, "generation_config", None), "eos_token_id", None)
    named = found if isinstance(found, list) else [found]
    return frozenset(i for i in (*named, model.tokenizer.eos_token_id) if i is not None)


def sampler(*, temperature: float, top_p: float, top_k: int | None, seed: int, device: torch.device) -> Choose:
    """A sampler with its own generator, so that a seed gives the same draws in any batch."""
    from transformers.generation.logits_process import (
        LogitsProcessorList,
        TemperatureLogitsWarper,
        TopKLogitsWarper,
        TopPLogitsWarper,
    )

    warpers = LogitsProcessorList([TemperatureLogitsWarper(temperature)])
    if top_k:
        warpers.append(TopKLogitsWarper(top_k))
    if top_p < 1:
        warpers.append(TopPLogitsWarper(top_p))
    generator = torch.Generator(device=device)
    generator.manual_seed(seed)

    def choose(logits: torch.Tensor) -> int:
        scores: torch.Tensor = warpers(torch.zeros(1, 0, dtype=torch.long), logits[None])
        return int(torch.multinomial(torch.softmax(scores, dim=-1), 1, generator=generator))

    return choose


def finite(value: float) -> float:
    """The value, bounded to a number that JSON can represent."""
    return max(LOWEST_LOGPROB, value) if value == value else LOWEST_LOGPROB
