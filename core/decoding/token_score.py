"""Log-probabilities of tokens under the raw softmax.

    scored(logits, ids=[5, 7], num_top=1)      # [Score(logprob=-0.1, top=((5, -0.1),)), Score(...)]

Where it sits: below row_decoder, which scores prompts, and the server's decoder, which scores answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import torch

LOWEST_LOGPROB = -1e4
"""The lowest log-probability that is reported: JSON has no infinity, and HELM fails on NaN."""

SCORED_AT_ONCE = 256
"""Positions of a prompt whose log-probabilities are computed together, as fp32 of [positions, vocabulary]."""


class Score(NamedTuple):
    """The log-probability of an id under the raw softmax, and the most likely ids at its position, best first."""

    logprob: float
    top: tuple[tuple[int, float], ...]


def scored(logits: torch.Tensor, ids: Sequence[int], num_top: int) -> list[Score]:
    """Scores of ids, each under the logits of the position before it, from logits of shape [positions, vocabulary]."""
    import torch

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


def finite(value: float) -> float:
    """The value, bounded to a number that JSON can represent."""
    return max(LOWEST_LOGPROB, value) if value == value else LOWEST_LOGPROB
