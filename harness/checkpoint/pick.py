"""The picker: publishes the checkpoint with the lowest validation loss and records the comparison.

    picked = pick(run=Path("runs/demo"), output=..., base=..., precision="4bit")

`pick` uses the losses that the trainer measured over all validation rows when it saved; timed_pick.py measures the
others. Damaged checkpoints and losses that are not finite are rejected with their reason.

Where it sits: checkpoints -> **pick** -> serve.
"""

import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from core.encoding.rendering import CHAT_TEMPLATE
from core.files import make_folder, naming, read_as, sync_directory, write_json, write_jsonl
from core.run_folder import PICK, TRAIN
from core.stage import Dropped
from harness.checkpoint.content import is_model, published
from harness.checkpoint.seal import Checkpoint, damaged, inspect, inspect_all
from harness.checkpoint.trained_base import TrainedBase, find_trained_base, write_trained_base
from harness.errors import CheckpointError

ADAPTER = "adapter"
"""A symbolic link to the folder of the picked adapter; `picked.json` names that folder."""
MODEL = "model"
"""The same of a run that trained all weights."""
KINDS = {ADAPTER: "LoRA adapter", MODEL: "model"}
PICKED = "picked.json"

BASE = "base"
"""Candidate 0: the base without an adapter. It serves for comparison and is never published."""

RULE = "lowest validation loss over all rows; the earlier step of a tie"


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A checkpoint that was considered."""

    checkpoint: str
    step: int
    validation_loss: float
    measured_by: str
    """`trainer` (at the save), `picker`, or `rehearsal` (for the base)."""
    standard_error: float = 0.0
    """Standard error of a loss that was measured on some of the rows; 0 for all rows."""
    num_rows: int | None = None
    """Rows that the picker measured; None for the trainer's loss, which covers all rows."""
    verdict: str = ""
    """Why the checkpoint was or was not picked."""
    score: float | None = None
    """By the criterion of the caller; None: the loss decides."""


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
    adapter: str = ADAPTER
    """Folder of the adapter, beside `picked.json`."""
    seconds: float = 0.0
    """Duration of measuring."""
    better_than_base: bool | None = None
    """None: the base's loss was not measured."""

    @property
    def num_checkpoints(self) -> int:
        """Number of candidates without the base."""
        return sum(c.checkpoint != BASE for c in self.candidates)

    @property
    def kind(self) -> str:
        """The name of the link to it: `adapter`, or `model` of a run that trained all weights."""
        return MODEL if self.adapter.startswith(f"{MODEL}-") else ADAPTER

    @property
    def base_loss(self) -> float | None:
        """The validation loss of candidate 0."""
        return next((c.validation_loss for c in self.candidates if c.checkpoint == BASE), None)


class Criterion(Protocol):
    """An order of checkpoints by something else than their loss (harness/checkpoint/scores.py)."""

    @property
    def rule(self) -> str:
        """As `picked.json` records it."""

    def check(self, names: Iterable[str]) -> None:
        """Checks that it can order these checkpoints.

        Raises:
            CheckpointError: It cannot.
        """

    def ordered(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """The candidates, best first; they come with the lowest loss first."""


def read_picked(run: Path) -> Picked:
    """Reads `picked.json` of a run.

    Raises:
        StageError: No checkpoint was picked, or `picked.json` is damaged.
    """
    return read_as(Picked, run / PICK / PICKED, mend=f"`oneday pick {run}` writes it again.")


def pick(
    *,
    run: Path,
    output: Path,
    base: Path,
    precision: str,
    base_loss: float | None = None,
    criterion: "Criterion | None" = None,
    verify: bool = True,
) -> Picked:
    """Chooses a checkpoint, puts its adapter or model into `08_pick` and writes `picked.json`. No loss is computed.

    Only the files of the best checkpoint are read and compared with the hashes in its seal; if they are damaged, those
    of the next best one.

    Args:
        output: The folder of the `checkpoint-N` folders.
        base: The model that was trained on.
        precision: Of the base: `4bit`, `8bit` or `16bit`.
        base_loss: Validation loss of the base, as the rehearsal measured it.
        criterion: What decides instead of the loss.
        verify: If False, the files' hashes are not checked, which saves time at the deadline.
    Raises:
        CheckpointError: No complete checkpoint has a loss; the message has the first reason. Or the criterion does
            not fit the checkpoints.
    """
    good, rejected = inspect_all(output, hashes=False)
    for checkpoint in [c for c in good if c.validation_loss is None]:
        detail = "no validation loss: `oneday pick` computes it"
        rejected.append(Dropped(unit="checkpoint", id=checkpoint.path.name, reason="not_finite", detail=detail))
    if criterion:
        criterion.check([c.checkpoint for c in known_candidates(good)])
    while candidates := known_candidates(good):
        candidates = criterion.ordered(candidates) if criterion else candidates
        best = candidates[0]
        result = inspect(output / best.checkpoint, hashes=verify)
        if isinstance(result, Checkpoint):
            break
        rejected.append(damaged(output / best.checkpoint, result))
        good = [c for c in good if c.path.name != best.checkpoint]
    else:
        raise no_candidate(output, rejected)
    picked = Picked(
        checkpoint=best.checkpoint,
        step=best.step,
        validation_loss=best.validation_loss,
        rule=criterion.rule if criterion else RULE,
        base_model=str(base),
        precision=precision,
        candidates=with_base(candidates, base_loss),
        rejected=tuple(rejected),
        better_than_base=None if base_loss is None else best.validation_loss < base_loss,
    )
    return publish(run / PICK, output / best.checkpoint, picked)


def known_candidates(good: Sequence[Checkpoint]) -> list[Candidate]:
    """Checkpoints with a loss of the trainer, best first; the earlier step of a tie."""
    known = [(c.validation_loss, c.step, c.path.name) for c in good if c.validation_loss is not None]
    lowest = min((loss for loss, _, _ in known), default=0.0)
    return [
        Candidate(
            checkpoint=name,
            step=step,
            validation_loss=loss,
            measured_by="trainer",
            verdict="the lowest loss" if number == 0 else f"{loss - lowest:.4f} nats above the lowest loss",
        )
        for number, (loss, step, name) in enumerate(sorted(known))
    ]


def with_base(candidates: Sequence[Candidate], base_loss: float | None, **measured: Any) -> tuple[Candidate, ...]:
    """The base, if its loss is known, followed by the candidates by step.

    Args:
        measured: Other fields of the base's `Candidate`.
    """
    ordered = tuple(sorted(candidates, key=lambda c: c.step))
    if base_loss is None:
        return ordered
    fields = {"measured_by": "rehearsal", "verdict": "without an adapter; never published"} | measured
    return (Candidate(checkpoint=BASE, step=0, validation_loss=base_loss, **fields), *ordered)


TRAIN_AGAIN = "Run `oneday train` again; it resumes."


def no_candidate(output: Path, rejected: Sequence[Dropped], *, mend: str = TRAIN_AGAIN) -> CheckpointError:
    """The error that no checkpoint can be picked, with the first reason."""
    reason = f"{rejected[0].id}: {rejected[0].detail.rstrip('.')}" if rejected else "there is none"
    return CheckpointError(f"{output}: no complete checkpoint ({reason}). {mend}")


def publish(folder: Path, adapter: Path, picked: Picked, *, trained: TrainedBase | None = None) -> Picked:
    """Puts the adapter or model into a new folder of `folder`, and makes it current by writing `picked.json`.

    The weights are hard-linked if possible, to avoid copying gigabytes at the end of a run. The link `adapter` or
    `model` is updated last. A kill at any moment leaves a complete adapter and a `picked.json` that names it.

    Args:
        trained: The base that the adapter was trained on; None: read it from the adapter's folder or the manifest.
    """
    make_folder(folder)
    average = "average-" * (not picked.checkpoint.endswith(adapter.name))
    files = published(adapter)
    kind = MODEL if is_model(files) else ADAPTER
    stem = f"{kind}-{average}{picked.step}"
    name = next(name for name in (stem, *(f"{stem}.{n}" for n in range(1, 1_000))) if not (folder / name).exists())
    temporary = folder / f"{kind}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    for file in files:
        link_or_copy(adapter / file, temporary / file)
    if trained := trained or find_trained_base(adapter):
        write_trained_base(temporary, trained)
    template = folder.parent / TRAIN / "data" / CHAT_TEMPLATE
    if template.is_file():  # the adapter learnt conversations in a template that the base does not have
        shutil.copyfile(template, temporary / CHAT_TEMPLATE)
    temporary.rename(folder / name)
    sync_directory(folder)
    picked = replace(picked, adapter=name)
    write_jsonl(folder / "dropped.jsonl", picked.rejected)
    write_json(folder / PICKED, asdict(picked))
    _link(folder, name, kind)
    for old in folder.glob(f"{kind}-*"):
        if old.name != name:
            shutil.rmtree(old, ignore_errors=True)
    return picked


def link_or_copy(source: Path, target: Path) -> None:
    """Links weights, which nobody edits in place, and copies the configuration, which people edit."""
    if source.suffix == ".safetensors":
        try:
            source.chmod(0o644)  # safetensors gives access to the owner only
            os.link(source, target)
            return
        except OSError:
            pass  # another file system, or one without hard links
    with naming(target):
        shutil.copyfile(source, target)
    with target.open("rb") as f:
        os.fsync(f.fileno())


def _link(folder: Path, name: str, kind: str) -> None:
    """Points the link `adapter` or `model` to the folder of this name atomically."""
    link, temporary = folder / kind, folder / f"{kind}.link"
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(name)
    if link.is_dir() and not link.is_symlink():
        shutil.rmtree(link)
    temporary.replace(link)
    sync_directory(folder)
