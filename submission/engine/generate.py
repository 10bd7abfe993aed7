"""The server's rows: each has its own settings, and its tokens have scores and texts.

    decoder = Decoder(model, PrefixCache(max_bytes=1 << 28))
    ended = decoder.admit([row, row])
    while decoder.rows:
        ended += decoder.step()

Where it sits: row_decoder (core) -> **generate** -> work, on the model's thread.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from core.decoding import row_decoder
from core.decoding.prefix_cache import PrefixCache
from core.decoding.row_decoder import RowDecoder
from core.decoding.token_score import Score, finite
from core.model.language_model import LanguageModel
from submission.engine.detokenize import Detokenizer

Choose = Callable[[torch.Tensor], int]
"""Raw logits of a row, shape [vocabulary] -> the next id."""


@dataclass(slots=True, kw_only=True, eq=False)
class Row(row_decoder.Row):
    """One prompt and the tokens of its answer so far.

    `end_ids` are those besides the model's own.
    """

    choose: Choose | None = None
    """None: greedy."""
    is_given_up: Callable[[], bool] = lambda: False
    """Called before every token."""
    scores: list[Score] = field(default_factory=list)
    """Of `ids`."""
    texts: list[str] = field(default_factory=list)
    text: str = ""
    has_stopped: bool = False
    """An end token or a stop string ended the row."""
    end: tuple[int, Score] | None = None
    """The end token, which is not one of `ids`."""
    stream: Detokenizer | None = None

    def push(self, token_id: int, score: Score, ends: frozenset[int]) -> bool:
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


class Decoder(RowDecoder[Row]):
    """The rows that are being answered."""

    def __init__(self, model: LanguageModel, prefixes: PrefixCache) -> None:
        super().__init__(model, prefixes)
        self._ends = model.end_ids

    def admit(self, rows: Sequence[Row]) -> list[Row]:
        """As of any decoder."""
        for row in rows:
            row.stream = Detokenizer(self._model.tokenizer, context=row.prompt_ids)
        return super().admit(rows)

    def choose(self, rows: Sequence[Row], logits: torch.Tensor) -> list[bool]:
        """Samples or takes the most likely id of each row, and scores it."""
        raw = logits.float()
        logprobs = torch.log_softmax(raw, dim=-1)
        best_logprobs, best_ids = logprobs.max(dim=-1)
        chosen = best_ids.tolist()
        for number, row in enumerate(rows):
            if row.choose is not None:
                chosen[number] = row.choose(raw[number])
        picked = logprobs.gather(1, torch.tensor(chosen, device=raw.device)[:, None])[:, 0].tolist()
        best = list(zip(best_ids.tolist(), best_logprobs.tolist(), strict=True))
        goes_on = []
        for number, row in enumerate(rows):
            best_id, logprob = best[number]
            top = ((best_id, finite(logprob)),) if row.num_top <= 1 else _top(logprobs[number], row.num_top)
            score = Score(finite(picked[number]), top)
            ends = row.is_given_up() or row.max_new_tokens == 0 or row.push(chosen[number], score, self._ends)
            if ends:
                row.finish()
            goes_on.append(not ends)
        return goes_on


def _top(logprobs: torch.Tensor, num: int) -> tuple[tuple[int, float], ...]:
    """The most likely ids, best first, from log-probabilities of shape [vocabulary]."""
    best, ids = logprobs.topk(min(num, logprobs.shape[-1]))
    return tuple((i, finite(value)) for i, value in zip(ids.tolist(), best.tolist(), strict=True))


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
