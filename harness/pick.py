"""The picker: the checkpoint with the lowest validation loss, and why.

    picked = pick(run=Path("runs/demo"), output=..., base=..., four_bit=True, loss_of=...)

Every checkpoint's loss is the one measured when it was saved; a missing one is computed. Damaged checkpoints and
losses that are not finite are rejected with their reason.

Where it sits: checkpoints -> **pick** -> serve.
"""

import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from curation.language_model import LanguageModel
from curation.stage import Dropped, sync_directory, write_json, write_jsonl
from harness.checkpoint import ADAPTER_FILES, Checkpoint, inspect_all
from harness.dataset import TokenisedRow
from harness.errors import CheckpointError

PICK = "08_pick"
ADAPTER = "adapter"
PICKED = "picked.json"

LossOf = Callable[[Path], float]
"""Validation loss of the adapter in a checkpoint folder, nats per answer token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A checkpoint in the race."""

    checkpoint: str
    step: int
    validation_loss: float
    measured_by: str
    """`trainer`, or `picker` where the trainer left none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picked:
    """The choice. Written to `picked.json`."""

    checkpoint: str
    step: int
    validation_loss: float
    rule: str
    base_model: str
    precision: str
    candidates: tuple[Candidate, ...]
    rejected: tuple[Dropped, ...]


def pick(*, run: Path, output: Path, base: Path, four_bit: bool, loss_of: LossOf) -> Picked:
    """Chooses, copies the LoRA adapter to `08_pick/adapter` and writes `picked.json`.

    Args:
        output: The folder of `checkpoint-N`.
        base: The model the adapters belong to.
        loss_of: Called for checkpoints without a loss.
    Raises:
        CheckpointError: no whole checkpoint; the message has the first reason.
    """
    good, rejected = inspect_all(output)
    candidates, not_finite = _measure(good, loss_of)
    rejected += not_finite
    if not candidates:
        why = f"{rejected[0].id}: {rejected[0].detail}" if rejected else "there is none"
        raise CheckpointError(f"{output}: no whole checkpoint ({why}). Run `oneday train` again; it resumes.")
    best = min(candidates, key=lambda c: (c.validation_loss, c.step))
    picked = Picked(
        checkpoint=best.checkpoint,
        step=best.step,
        validation_loss=best.validation_loss,
        rule="lowest token-weighted validation loss; of equals the earlier step",
        base_model=str(base),
        precision="4bit" if four_bit else "16bit",
        candidates=tuple(candidates),
        rejected=tuple(rejected),
    )
    _publish(run / PICK, output / best.checkpoint, picked)
    return picked


def _measure(good: Sequence[Checkpoint], loss_of: LossOf) -> tuple[list[Candidate], list[Dropped]]:
    candidates, rejected = [], []
    for checkpoint in good:
        known = checkpoint.validation_loss is not None
        loss = checkpoint.validation_loss if known else loss_of(checkpoint.path)
        assert loss is not None
        if not math.isfinite(loss):
            detail = f"validation loss is {loss}" if known else "no validation loss: `oneday pick` computes it"
            rejected.append(Dropped(unit="checkpoint", id=checkpoint.path.name, reason="not_finite", detail=detail))
            continue
        candidates.append(
            Candidate(
                checkpoint=checkpoint.path.name,
                step=checkpoint.step,
                validation_loss=loss,
                measured_by="trainer" if known else "picker",
            )
        )
    return candidates, rejected


def _publish(folder: Path, checkpoint: Path, picked: Picked) -> None:
    """Copies under a temporary name, then renames; `picked.json` is written last and names what is there."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary, target = folder / f"{ADAPTER}.tmp", folder / ADAPTER
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    for name in ADAPTER_FILES:
        shutil.copy(checkpoint / name, temporary / name)
    shutil.rmtree(target, ignore_errors=True)
    temporary.rename(target)
    sync_directory(folder)
    write_jsonl(folder / "dropped.jsonl", picked.rejected)
    write_json(folder / PICKED, asdict(picked))


def validation_loss_of(base: Path, rows: Sequence[TokenisedRow], *, four_bit: bool) -> LossOf:
    """A function that loads an adapter over the base and computes its loss over all rows, each alone."""

    def loss_of(adapter: Path) -> float:
        model: Any = LanguageModel.load(base, lora_adapter=adapter, precision="4bit" if four_bit else None)
        sums = model.answer_losses([(row.input_ids, row.labels) for row in rows])
        return float(sum(s for s, _ in sums) / max(1, sum(n for _, n in sums)))

    return loss_of
