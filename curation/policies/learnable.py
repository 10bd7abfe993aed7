"""Which rows stay hard after a short probe training: those with a high loss both before and after it.

    hard = unlearnable(read_probe_losses(Path("probe_losses.jsonl")), share=0.1)
    hard.rows["task001", "task001-4"]

A row that the probe makes easier is worth training on, and so is one that was easy and got harder. A row that is among
the hardest before and after is more often mislabelled, or asks for what the text does not hold. Curation trains
nothing: it is given the two losses of each row.

Where it sits: a file of losses -> **learnable** -> policy.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard

from core.errors import MixError
from core.files import read_jsonl


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeLoss:
    """One row's mean loss per answer token in nats. One line of the file."""

    task: str
    id: str
    before: float
    after: float


@dataclass(frozen=True, slots=True, kw_only=True)
class HardRows:
    """The rows that stay hard, and the losses above which a row counts as hard."""

    rows: Mapping[tuple[str, str], str]
    """(task, id) -> both losses in words."""
    num_probed: int
    high_before: float
    high_after: float


def read_probe_losses(path: Path) -> Iterator[ProbeLoss]:
    """The losses of a file of JSON lines with `task`, `id`, `before` and `after`. Other fields are ignored.

    Raises:
        MixError: a line lacks one of them.
    """
    for number, row in enumerate(read_jsonl(path), start=1):
        task, row_id, before, after = (row.get(name) for name in ("task", "id", "before", "after"))
        if not (isinstance(task, str) and isinstance(row_id, str) and _is_loss(before) and _is_loss(after)):
            raise MixError(
                f"{path}: record {number} lacks `task` and `id` as text, or `before` and `after` as numbers. "
                "`oneday curate losses` writes such a file."
            )
        yield ProbeLoss(task=task, id=row_id, before=before, after=after)


def _is_loss(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def unlearnable(losses: Iterable[ProbeLoss], *, share: float) -> HardRows:
    """The rows whose losses are among the highest `share` both before and after. Of a row given twice the last counts.

    Raises:
        MixError: there are no losses.
    """
    by_row = {(loss.task, loss.id): loss for loss in losses}
    if not by_row:
        raise MixError("`probe_losses=`: the file holds no row. `oneday curate losses` writes one.")
    before = _threshold([loss.before for loss in by_row.values()], share)
    after = _threshold([loss.after for loss in by_row.values()], share)
    return HardRows(
        rows={
            key: f"loss {loss.before:.3f} before the probe, {loss.after:.3f} after it"
            for key, loss in sorted(by_row.items())
            if loss.before > before and loss.after > after
        },
        num_probed=len(by_row),
        high_before=before,
        high_after=after,
    )


def _threshold(values: list[float], share: float) -> float:
    """The value above which at most this share of the values lies."""
    return sorted(values, reverse=True)[math.floor(share * len(values))]
