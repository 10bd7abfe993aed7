"""Merged weights against base and adapter: the logits of the same texts.

    compare(logits(base, adapter, "4bit", rows), logits(merged, None, "fp32", rows)).top_1

Where it sits: merge -> **agreement** -> model card.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from core.model.language_model import LanguageModel
from core.model.quantisation import Precision, Quantisation
from core.model.token_ids import RowIds


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Merged weights against base and adapter, over all positions of some validation rows."""

    num_positions: int
    largest_difference: float
    """Of a logit."""
    top_1: float
    """Share of positions at which both find the same token most likely."""


def logits(
    base: Path, adapter: Path | None, precision: Precision | Quantisation, rows: Sequence[RowIds]
) -> list[torch.Tensor]:
    """The logits of each row, shape [positions, vocabulary]."""
    model = LanguageModel.load(base, lora_adapter=adapter, precision=precision)
    found = []
    with torch.inference_mode():
        for row in rows:
            ids = torch.tensor([row.input_ids], device=model.device)
            found.append(model.model(input_ids=ids).logits[0].float().cpu())
    return found


def compare(before: Sequence[torch.Tensor], after: Sequence[torch.Tensor]) -> Agreement:
    """Compares logits of the same texts."""
    pairs = list(zip(before, after, strict=True))
    num = sum(len(a) for a, _ in pairs)
    same = sum(int((a.argmax(-1) == b.argmax(-1)).sum()) for a, b in pairs)
    largest = max(float((a - b).abs().max()) for a, b in pairs)
    return Agreement(num_positions=num, largest_difference=largest, top_1=same / num)
