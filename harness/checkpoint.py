"""Checkpoints: sealed with the hash of every file, so that a half-written or altered one is recognised.

    seal(Path("checkpoint-40"), step=40, validation_loss=1.25)
    good, bad = inspect_all(Path("07_train/output"))

The seal is written last, so its presence and its hashes mean: whole. Damaged checkpoints are set aside with their
reason, never deleted.

Where it sits: written by the plugin, read by resume and by the picker.
"""

import math
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curation.errors import StageError
from curation.stage import Dropped, file_sha256, read_json, write_json

SEAL = "SEAL.json"
ADAPTER_FILES = ("adapter_model.safetensors", "adapter_config.json")
RESUME_FILES = ("optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A whole checkpoint."""

    path: Path
    step: int
    validation_loss: float | None
    """Nats per answer token over the whole validation file; None if it was saved without an evaluation."""


def seal(directory: Path, *, step: int, validation_loss: float | None) -> Checkpoint:
    """Makes the files durable and records their hashes."""
    files = {}
    for path in sorted(p for p in directory.iterdir() if p.is_file() and p.name != SEAL):
        with path.open("rb") as f:
            os.fsync(f.fileno())
        files[path.name] = [path.stat().st_size, file_sha256(path)]
    written = validation_loss if validation_loss is None or math.isfinite(validation_loss) else str(validation_loss)
    write_json(directory / SEAL, {"step": step, "validation_loss": written, "files": files})
    return Checkpoint(path=directory, step=step, validation_loss=validation_loss)


def inspect(directory: Path) -> Checkpoint | str:
    """The checkpoint, or the reason why it cannot be used."""
    if not (directory / SEAL).is_file():
        return "not sealed: the save was interrupted"
    try:
        raw = read_json(directory / SEAL)
        step, loss, files = int(raw["step"]), _loss(raw), dict(raw["files"])
    except (StageError, KeyError, TypeError, ValueError):
        return "its seal is unreadable"
    for name in (*ADAPTER_FILES, *RESUME_FILES):
        if name not in files:
            return f"{name} was never saved"
    for name, (size, digest) in files.items():
        path = directory / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != size:
            return f"{name} has {path.stat().st_size} bytes, sealed with {size}"
        if file_sha256(path) != digest:
            return f"{name} was altered"
    if loss is not None and not math.isfinite(loss):
        return f"its validation loss is {loss}"
    return Checkpoint(path=directory, step=step, validation_loss=loss)


def _loss(sealed: dict[str, Any]) -> float | None:
    """JSON has no NaN: a loss that is not finite is sealed as text."""
    return None if sealed["validation_loss"] is None else float(sealed["validation_loss"])


def checkpoint_folders(output: Path) -> list[Path]:
    """`checkpoint-N` folders by step. Names are matched whole: a set-aside one does not count."""
    found = [p for p in output.glob("checkpoint-*") if p.is_dir() and re.fullmatch(r"checkpoint-\d+", p.name)]
    return sorted(found, key=lambda p: int(p.name.removeprefix("checkpoint-")))


def inspect_all(output: Path) -> tuple[list[Checkpoint], list[Dropped]]:
    """Whole checkpoints by step, and the others with their reason. Nothing is moved."""
    good: list[Checkpoint] = []
    bad: list[Dropped] = []
    for folder in checkpoint_folders(output):
        result = inspect(folder)
        if isinstance(result, Checkpoint):
            good.append(result)
        else:
            bad.append(Dropped(unit="checkpoint", id=folder.name, reason="damaged", detail=result))
    return good, bad


def set_aside(output: Path) -> list[Dropped]:
    """Renames damaged checkpoints to `damaged-…`, so that no resume can take one."""
    bad = inspect_all(output)[1]
    for d in bad:
        target = output / f"damaged-{d.id}"
        if target.exists():
            shutil.rmtree(target)
        (output / d.id).rename(target)
    return bad


def rotate(output: Path, *, keep: int) -> list[Path]:
    """Deletes checkpoints above `keep`, oldest first, never the best nor the newest; returns what went.

    Only the seals are read here: hashing every file at every save would cost more than the save.
    """
    folders = [p for p in checkpoint_folders(output) if (p / SEAL).is_file()]
    losses = {p: loss for p in folders if (loss := _loss(read_json(p / SEAL))) is not None and math.isfinite(loss)}
    protected = set(folders[-1:]) | ({min(losses, key=lambda p: losses[p])} if losses else set())
    gone = [p for p in folders if p not in protected][: max(0, len(folders) - keep)]
    for path in gone:
        shutil.rmtree(path)
    return gone
