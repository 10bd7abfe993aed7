"""The loss of given answers under a model: of whole rows, or behind a prefix that many rows share.

    [(total, num)] = answer_losses(model, [(input_ids, labels)])

Where it sits: below the picker's losses and the signals of curation.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from core.errors import PredictionError
from core.model.language_model import LanguageModel
from core.model.token_ids import IGNORED_LABEL

IdRow = tuple[Sequence[int], Sequence[int]]
"""(input_ids, labels) of a row; positions with `IGNORED_LABEL` bear no loss."""


@dataclass(frozen=True)
class Prefix:
    """Tokens that rows share, with the keys and values that the model computed for them."""

    ids: tuple[int, ...]
    cache: Any
    """A `DynamicCache` of batch size 1. It is not changed; each batch gets a copy."""


def read_prefix(model: LanguageModel, ids: Sequence[int]) -> Prefix:
    """Runs the tokens that many rows share through the model."""
    from transformers import DynamicCache

    cache = DynamicCache(config=model.model.config)
    with torch.inference_mode():
        model.model(input_ids=torch.tensor([list(ids)], device=model.device), past_key_values=cache, use_cache=True)
    return Prefix(ids=tuple(ids), cache=cache)


def answer_losses(
    model: LanguageModel,
    rows: Sequence[IdRow],
    *,
    batch_tokens: int = 0,
    before_batch: Callable[[], None] = lambda: None,
    prefix: Prefix | None = None,
) -> list[tuple[float, int]]:
    """Summed negative log-likelihood (nats) and number of supervised tokens of each (input_ids, labels) row.

    Args:
        batch_tokens: With 0, each row has its own forward pass, so its sum does not depend on other rows. Otherwise
            rows of similar length are right-padded into batches of at most so many tokens, which changes sums only by
            rounding. A batch that does not fit the card's memory is halved.
        before_batch: Called before every forward pass; may raise to abort.
        prefix: Tokens that every row begins with and that bear no loss; the model does not read them again.

    Raises:
        PredictionError: a single row does not fit the card's memory.
    """
    results: list[tuple[float, int]] = [(0.0, 0)] * len(rows)
    for batch in _batches([len(ids) for ids, _ in rows], batch_tokens):
        before_batch()
        for row, result in zip(batch, _batch_losses(model, [rows[row] for row in batch], prefix), strict=True):
            results[row] = result
    return results


def _batch_losses(model: LanguageModel, rows: Sequence[IdRow], prefix: Prefix | None) -> list[tuple[float, int]]:
    num_read = len(prefix.ids) if prefix else 0
    width = max(len(ids) for ids, _ in rows)
    ids, mask = torch.zeros(2, len(rows), width, dtype=torch.long)
    target = torch.full((len(rows), width), IGNORED_LABEL)
    for number, (input_ids, labels) in enumerate(rows):
        ids[number, : len(input_ids)] = torch.tensor(list(input_ids))
        target[number, : len(labels)] = torch.tensor(list(labels))
        mask[number, : len(input_ids)] = 1
    assert not prefix or bool((target[:, : num_read + 1] == IGNORED_LABEL).all()), "a label inside the prefix"
    ids, target = ids[:, num_read:].to(model.device), target[:, num_read + 1 :].to(model.device)
    mask = mask.to(model.device)
    answers = target != IGNORED_LABEL
    counts = [int(n) for n in answers.sum(dim=1)]
    try:
        with torch.inference_mode():
            if prefix is None:
                logits = model.model(input_ids=ids, attention_mask=mask if len(rows) > 1 else None).logits[:, :-1]
            else:
                first = int(answers.any(dim=0).int().argmax())
                logits = _logits_behind(model, prefix, ids, mask, kept=ids.shape[1] - first)[:, :-1]
                target, answers = target[:, first:], answers[:, first:]
            losses = torch.nn.functional.cross_entropy(logits[answers].float(), target[answers], reduction="none")
            return [(float(part.sum()), n) for part, n in zip(torch.split(losses, counts), counts, strict=True)]
    except torch.OutOfMemoryError:
        if len(rows) < 2:
            raise PredictionError(
                f"a row of {width} tokens does not fit the card's memory. Free memory on the card."
            ) from None
    torch.cuda.empty_cache()
    half = len(rows) // 2
    return _batch_losses(model, rows[:half], prefix) + _batch_losses(model, rows[half:], prefix)


def _logits_behind(
    model: LanguageModel, prefix: Prefix, ids: torch.Tensor, mask: torch.Tensor, *, kept: int
) -> torch.Tensor:
    """The logits of the last `kept` positions of rows that continue the prefix."""
    past = copy.deepcopy(prefix.cache)
    past.batch_repeat_interleave(len(ids))
    found: torch.Tensor = model.model(
        input_ids=ids, attention_mask=mask, past_key_values=past, use_cache=True, logits_to_keep=kept
    ).logits
    return found


def _batches(lengths: Sequence[int], batch_tokens: int) -> Iterator[list[int]]:
    """Batches of rows in ascending length, each with at most `batch_tokens` tokens after padding."""
    batch: list[int] = []
    for row in sorted(range(len(lengths)), key=lambda row: lengths[row]):
        if batch and (len(batch) + 1) * lengths[row] > batch_tokens:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch
