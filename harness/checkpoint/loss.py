"""Losses of adapters on validation rows: the base is loaded once, the adapters change on top of it.

    losses = AdapterLosses(base, precision="4bit", rows=rows)
    losses.sums(Path("07_train/output/checkpoint-40"), [0, 5, 9])

Where it sits: under the timed picker.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch

from core.model.language_model import LanguageModel
from core.model.quantisation import Precision, Quantisation
from core.model.token_ids import IGNORED_LABEL, RowIds
from harness.errors import MemoryFullError

BATCH_TOKENS = 4_096
"""Of one forward pass: their logits in fp32 take half a GiB at 32,000 words."""


class AdapterLosses:
    """Sums of losses per row.

    Args:
        base: Local model folder.
        precision: As the adapters were trained on; None: bf16 on a GPU, fp32 on a CPU.
        before_batch: Called before every forward pass; may raise to give up.
    """

    def __init__(
        self,
        base: Path,
        *,
        precision: Precision | Quantisation | None,
        rows: Sequence[RowIds],
        before_batch: Callable[[], None] = lambda: None,
    ) -> None:
        self._rows = [(row.input_ids, row.labels) for row in rows]
        self.weights = [sum(label != IGNORED_LABEL for label in row.labels[1:]) for row in rows]
        self._before_batch = before_batch
        self._model = LanguageModel.load(base, precision=precision)

    @property
    def quantisation(self) -> Quantisation:
        """How the base is kept."""
        return self._model.quantisation

    def sums(self, lora_adapter: Path, rows: Sequence[int]) -> list[float]:
        """Summed negative log-likelihood (nats) of these rows' answers.

        Raises:
            PredictionError: the adapter cannot be read, or does not fit the base.
        """
        if self._model.lora_adapter != lora_adapter:
            self._model.load_adapter(lora_adapter)
        found = answer_losses(
            self._model, [self._rows[row] for row in rows], batch_tokens=BATCH_TOKENS, before_batch=self._before_batch
        )
        return [total for total, _ in found]

    def base_mean(self, rows: Sequence[int]) -> float:
        """Nats per answer token of the base without an adapter, over these rows."""
        with self._model.without_adapter():
            found = answer_losses(
                self._model,
                [self._rows[row] for row in rows],
                batch_tokens=BATCH_TOKENS,
                before_batch=self._before_batch,
            )
        return sum(total for total, _ in found) / sum(num for _, num in found)

    def mean(self, lora_adapter: Path) -> float:
        """Nats per answer token over all rows."""
        return sum(self.sums(lora_adapter, range(len(self._rows)))) / sum(self.weights)


def answer_losses(
    model: LanguageModel,
    rows: Sequence[tuple[Sequence[int], Sequence[int]]],
    *,
    batch_tokens: int = 0,
    before_batch: Callable[[], None] = lambda: None,
) -> list[tuple[float, int]]:
    """Summed negative log-likelihood (nats) and number of supervised tokens of each (input_ids, labels) row.

    Args:
        batch_tokens: 0: rows go through alone, so that a sum does not depend on its neighbours. Else rows of like
            length go together, padded behind to at most so many tokens: a sum then moves by rounding alone. A batch
            that the card has no memory for is halved.
        before_batch: May raise to give up.
    """
    results: list[tuple[float, int]] = [(0.0, 0)] * len(rows)
    for batch in _batches([len(ids) for ids, _ in rows], batch_tokens):
        before_batch()
        for row, result in zip(batch, _batch_losses(model, [rows[row] for row in batch]), strict=True):
            results[row] = result
    return results


def _batch_losses(model: LanguageModel, rows: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[tuple[float, int]]:
    width = max(len(ids) for ids, _ in rows)
    ids, mask = torch.zeros(2, len(rows), width, dtype=torch.long)
    target = torch.full((len(rows), width), IGNORED_LABEL)
    for number, (input_ids, labels) in enumerate(rows):
        ids[number, : len(input_ids)] = torch.tensor(list(input_ids))
        target[number, : len(labels)] = torch.tensor(list(labels))
        mask[number, : len(input_ids)] = 1
    ids, target, mask = ids.to(model.device), target[:, 1:].to(model.device), mask.to(model.device)
    answers = target != IGNORED_LABEL
    counts = [int(n) for n in answers.sum(dim=1)]
    try:
        with torch.inference_mode():
            logits = model.model(input_ids=ids, attention_mask=mask if len(rows) > 1 else None).logits[:, :-1]
            losses = torch.nn.functional.cross_entropy(logits[answers].float(), target[answers], reduction="none")
            return [(float(part.sum()), n) for part, n in zip(torch.split(losses, counts), counts, strict=True)]
    except torch.OutOfMemoryError:
        if len(rows) < 2:
            raise MemoryFullError(
                f"a validation row of {width} tokens does not fit the card's memory. Free some."
            ) from None
    torch.cuda.empty_cache()
    half = len(rows) // 2
    return _batch_losses(model, rows[:half]) + _batch_losses(model, rows[half:])


def _batches(lengths: Sequence[int], batch_tokens: int) -> Iterator[list[int]]:
    """Rows by ascending length, as many as have at most so many tokens when padded to the longest of them."""
    batch: list[int] = []
    for row in sorted(range(len(lengths)), key=lambda row: lengths[row]):
        if batch and (len(batch) + 1) * lengths[row] > batch_tokens:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch
