"""The picker: the checkpoint with the lowest validation loss, and why.

    picked = pick(run=Path("runs/demo"), output=..., base=..., four_bit=True)

Here it goes by the losses that the trainer measured over all validation rows when it saved; timed_pick.py measures
what it left out. Damaged checkpoints and losses that are not finite are rejected with their reason.

Where it sits: checkpoints -> **pick** -> serve.
"""

import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from core.files import make_folder, naming, read_as, sync_directory, write_json, write_jsonl
from core.run_folder import PICK
from core.stage import Dropped
from harness.checkpoint.seal import ADAPTER_FILES, Checkpoint, damaged, inspect, inspect_all
from harness.checkpoint.trained_base import TrainedBase, find_trained_base, write_trained_base
from harness.errors import CheckpointError

ADAPTER = "adapter"
"""A link to the folder of the picked adapter; `picked.json` names that folder itself."""
PICKED = "picked.json"

BASE = "base"
"""Candidate 0: the base without an adapter. It is compared with and never published."""

RULE = "lowest token-weighted validation loss over all rows; of equals the earlier step"


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A checkpoint that could have been picked."""

    checkpoint: str
    step: int
    validation_loss: float
    measured_by: str
    """`trainer`, when it saved; `picker`; or `rehearsal`, for the base."""
    standard_error: float = 0.0
    """Of a loss that was measured on a part of the rows."""
    num_rows: int | None = None
    """That the picker measured; None: the trainer's loss, over all."""
    verdict: str = ""


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
    """That measuring took."""
    better_than_base: bool | None = None
    """None: the base's loss was not measured."""

    @property
    def num_checkpoints(self) -> int:
        """Candidates without the base."""
        return sum(c.checkpoint != BASE for c in self.candidates)

    @property
    def base_loss(self) -> float | None:
        """The validation loss of candidate 0."""
        return next((c.validation_loss for c in self.candidates if c.checkpoint == BASE), None)


def read_picked(run: Path) -> Picked:
    """What was picked in a run.

    Raises:
        StageError: nothing was, or `picked.json` is damaged.
    """
    return read_as(Picked, run / PICK / PICKED, mend=f"`oneday pick {run}` writes it anew.")


def pick(
    *, run: Path, output: Path, base: Path, four_bit: bool, base_loss: float | None = None, verify: bool = True
) -> Picked:
    """Chooses, puts the LoRA adapter into `08_pick` and writes `picked.json`. No loss is computed.

    Only the files of the one that is picked are read, for its seal's hashes; if they are damaged, the next best one's.

    Args:
        output: The folder of `checkpoint-N`.
        base: The model the adapters belong to.
        base_loss: Its own validation loss, as the rehearsal measured it.
        verify: False where no time is left: files are looked up and not read.
    Raises:
        CheckpointError: no whole checkpoint with a loss; the message has the first reason.
    """
    good, rejected = inspect_all(output, hashes=False)
    for checkpoint in [c for c in good if c.validation_loss is None]:
        why = "no validation loss: `oneday pick` computes it"
        rejected.append(Dropped(unit="checkpoint", id=checkpoint.path.name, reason="not_finite", detail=why))
    while candidates := known_candidates(good):
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
        rule=RULE,
        base_model=str(base),
        precision="4bit" if four_bit else "16bit",
        candidates=with_base(candidates, base_loss),
        rejected=tuple(rejected),
        better_than_base=None if base_loss is None else best.validation_loss < base_loss,
    )
    return publish(run / PICK, output / best.checkpoint, picked)


def known_candidates(good: Sequence[Checkpoint]) -> list[Candidate]:
    """Those that the trainer measured, best first; of equals the earlier step."""
    known = [(c.validation_loss, c.step, c.path.name) for c in good if c.validation_loss is not None]
    lowest = min((loss for loss, _, _ in known), default=0.0)
    return [
        Candidate(
            checkpoint=name,
            step=step,
            validation_loss=loss,
            measured_by="trainer",
            verdict="the lowest" if number == 0 else f"{loss - lowest:.4f} nats above the lowest",
        )
        for number, (loss, step, name) in enumerate(sorted(known))
    ]


def with_base(candidates: Sequence[Candidate], base_loss: float | None, **measured: Any) -> tuple[Candidate, ...]:
    """The candidates by their step, behind the base if its loss is known.

    Args:
        measured: Other fields of the base's candidate.
    """
    ordered = tuple(sorted(candidates, key=lambda c: c.step))
    if base_loss is None:
        return ordered
    about_it = {"measured_by": "rehearsal", "verdict": "without an adapter; never published"} | measured
    return (Candidate(checkpoint=BASE, step=0, validation_loss=base_loss, **about_it), *ordered)


TRAIN_AGAIN = "Run `oneday train` again; it resumes."


def no_candidate(output: Path, rejected: Sequence[Dropped], *, mend: str = TRAIN_AGAIN) -> CheckpointError:
    """Says why there is nothing to pick."""
    why = f"{rejected[0].id}: {rejected[0].detail.rstrip('.')}" if rejected else "there is none"
    return CheckpointError(f"{output}: no whole checkpoint ({why}). {mend}")


def publish(folder: Path, adapter: Path, picked: Picked, *, trained: TrainedBase | None = None) -> Picked:
    """Puts the adapter beside the one that is there and switches over in one step, by writing `picked.json`.

    Its weights are linked where the file system can: gigabytes are not copied at the end of a day.

    The link `adapter` follows. A kill at any moment leaves an adapter that is whole and a `picked.json` that names it.

    Args:
        trained: The base that it was trained on; None: as a file beside it or the run's manifest says, if they do.
    """
    make_folder(folder)
    average = "average-" * (not picked.checkpoint.endswith(adapter.name))
    stem = f"{ADAPTER}-{average}{picked.step}"
    name = next(name for name in (stem, *(f"{stem}.{n}" for n in range(1, 1_000))) if not (folder / name).exists())
    temporary = folder / f"{ADAPTER}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    for file in ADAPTER_FILES:
        _link_or_copy(adapter / file, temporary / file)
    if trained := trained or find_trained_base(adapter):
        write_trained_base(temporary, trained)
    temporary.rename(folder / name)
    sync_directory(folder)
    picked = replace(picked, adapter=name)
    write_jsonl(folder / "dropped.jsonl", picked.rejected)
    write_json(folder / PICKED, asdict(picked))
    _link(folder, name)
    for old in folder.glob(f"{ADAPTER}-*"):
        if old.name != name:
            shutil.rmtree(old, ignore_errors=True)
    return picked


def _link_or_copy(source: Path, target: Path) -> None:
    """Weights are linked: nobody edits them in place. What people edit, the configuration, is copied."""
    if source.suffix == ".safetensors":
        try:
            source.chmod(0o644)  # safetensors writes for the owner alone
            os.link(source, target)
            return
        except OSError:
            pass  # another file system, or one without links
    with naming(target):
        shutil.copyfile(source, target)
    with target.open("rb") as f:
        os.fsync(f.fileno())


def _link(folder: Path, name: str) -> None:
    """Points `adapter` to the folder of this name, in one step."""
    link, temporary = folder / ADAPTER, folder / f"{ADAPTER}.link"
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(name)
    if link.is_dir() and not link.is_symlink():
        shutil.rmtree(link)
    temporary.replace(link)
    sync_directory(folder)
