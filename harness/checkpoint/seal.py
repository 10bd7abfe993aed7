"""Checkpoints: sealed with the hash of every file, so that a half-written or altered one is recognised.

    saved = save_sealed(output, write, step=40, validation_loss=1.25, job="…", keep=10)
    good, bad = inspect_all(Path("07_train/output"))

Files are written under a temporary name, made durable, sealed and renamed, so that `checkpoint-40` is whole or not
there. Damaged checkpoints are set aside with their reason, never deleted. The seal names the run that wrote it: what
another one wrote is never resumed from, for a resume unpickles.

Where it sits: written by the trainer, read by resume and by the picker.
"""

import errno
import math
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from core.errors import StageError
from core.files import file_sha256, read_json, sync_directory, write_json
from core.stage import Dropped

SEAL = "SEAL.json"
SAVING = "saving"
"""Where the trainer writes; nothing there is ever read."""

ADAPTER_FILES = ("adapter_model.safetensors", "adapter_config.json")
RESUME_FILES = ("optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A whole checkpoint."""

    path: Path
    step: int
    validation_loss: float | None
    """Nats per answer token over the whole validation file; None if it was saved without an evaluation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """What a save did."""

    whole: bool
    """False: the disk is full and nothing may go; training goes on with the checkpoints that are there."""
    deleted: tuple[str, ...]


def save_sealed(
    output: Path,
    write: Callable[[], None],
    *,
    step: int,
    validation_loss: float | None,
    job: str = "",
    keep: int,
) -> Saved:
    """Has `write` fill `output/saving/checkpoint-STEP`, seals it, renames it, rotates.

    If the disk is full the oldest checkpoint that is neither the best nor the newest goes, and it is tried again.

    Raises:
        OSError, RuntimeError: whatever `write` raised that is no full disk.
    """
    staging = output / SAVING
    deleted: list[str] = []
    while True:
        shutil.rmtree(staging, ignore_errors=True)
        try:
            write()
            seal(staging / f"checkpoint-{step}", step=step, validation_loss=validation_loss, job=job)
            break
        except Exception as e:
            full = _is_disk_full(e, output)
            shutil.rmtree(staging, ignore_errors=True)
            if not full:
                raise
            spare = _spare(output)
            if not spare:
                return Saved(whole=False, deleted=tuple(deleted))
            _remove(spare[0])
            deleted.append(spare[0].name)
    target = output / f"checkpoint-{step}"
    shutil.rmtree(target, ignore_errors=True)
    (staging / target.name).rename(target)
    sync_directory(output)
    return Saved(whole=True, deleted=(*deleted, *(path.name for path in rotate(output, keep=keep))))


def _is_disk_full(e: BaseException, output: Path) -> bool:
    """Torch and safetensors wrap the system's error, or lose it: then the free space tells."""
    found: BaseException | None = e
    while found is not None:
        if isinstance(found, OSError) and found.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        found = found.__cause__ or found.__context__
    return "No space left" in str(e) or shutil.disk_usage(output).free < _LEAST_FREE


_LEAST_FREE = 1 << 20


def seal(directory: Path, *, step: int, validation_loss: float | None, job: str = "") -> Checkpoint:
    """Makes the files durable and records their hashes."""
    files = {}
    for path in sorted(p for p in directory.iterdir() if p.is_file() and p.name != SEAL):
        with path.open("rb") as f:
            os.fsync(f.fileno())
        files[path.name] = [path.stat().st_size, file_sha256(path)]
    written = validation_loss if validation_loss is None or math.isfinite(validation_loss) else str(validation_loss)
    write_json(directory / SEAL, {"step": step, "validation_loss": written, "job": job, "files": files})
    return Checkpoint(path=directory, step=step, validation_loss=validation_loss)


def inspect(directory: Path, *, job: str | None = None, hashes: bool = True) -> Checkpoint | str:
    """The checkpoint, or the reason why it cannot be used.

    Args:
        job: What the seal must name; None: any.
        hashes: False: files are looked up and their sizes compared, which takes no time; they are not read.
    """
    if not (directory / SEAL).is_file():
        return "not sealed: the save was interrupted"
    try:
        raw = read_json(directory / SEAL)
        step, loss, files = int(raw["step"]), _loss(raw["validation_loss"]), dict(raw["files"])
    except (StageError, KeyError, TypeError, ValueError):
        return "its seal is unreadable"
    if job is not None and raw.get("job") != job:
        return "another run wrote it"
    damage = _damage(directory, files, hashes=hashes)
    if damage:
        return damage
    if loss is not None and not math.isfinite(loss):
        return f"its validation loss is {loss}"
    return Checkpoint(path=directory, step=step, validation_loss=loss)


def _damage(directory: Path, files: dict[str, tuple[int, str]], *, hashes: bool) -> str:
    """What is wrong with the files; empty if they are as they were sealed."""
    for name in (*ADAPTER_FILES, *RESUME_FILES):
        if name not in files:
            return f"{name} was never saved"
    for name, (size, digest) in files.items():
        path = directory / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != size:
            return f"{name} has {path.stat().st_size} bytes, sealed with {size}"
        if hashes and file_sha256(path) != digest:
            return f"{name} was altered"
    return ""


def _loss(sealed: float | str | None) -> float | None:
    """JSON has no NaN: a loss that is not finite is sealed as text."""
    return None if sealed is None else float(sealed)


def checkpoint_folders(output: Path) -> list[Path]:
    """`checkpoint-N` folders by step. Names are matched whole: a set-aside one does not count."""
    found = [p for p in output.glob("checkpoint-*") if p.is_dir() and re.fullmatch(r"checkpoint-\d+", p.name)]
    return sorted(found, key=lambda p: int(p.name.removeprefix("checkpoint-")))


def inspect_all(output: Path, *, job: str | None = None, hashes: bool = True) -> tuple[list[Checkpoint], list[Dropped]]:
    """Whole checkpoints by step, and the others with their reason. Nothing is moved."""
    good: list[Checkpoint] = []
    bad: list[Dropped] = []
    for folder in checkpoint_folders(output):
        result = inspect(folder, job=job, hashes=hashes)
        if isinstance(result, Checkpoint):
            good.append(result)
        else:
            bad.append(damaged(folder, result))
    return good, bad


def damaged(folder: Path, why: str) -> Dropped:
    """A checkpoint that cannot be used."""
    return Dropped(unit="checkpoint", id=folder.name, reason="damaged", detail=why)


def newest_whole(output: Path, *, job: str | None = None) -> Checkpoint | None:
    """The newest checkpoint that is whole. Older ones are not read: all of a run's would take minutes."""
    found = (inspect(folder, job=job) for folder in reversed(checkpoint_folders(output)))
    return next((result for result in found if isinstance(result, Checkpoint)), None)


def set_aside(output: Path, *, job: str | None = None) -> list[Dropped]:
    """Renames damaged checkpoints to `damaged-…`, so that no resume can take one.

    Every file is looked up; read are those of the newest checkpoints, down to the first that is whole.
    """
    bad = inspect_all(output, job=job, hashes=False)[1]
    for d in bad:
        _set_aside(output / d.id)
    for folder in reversed(checkpoint_folders(output)):
        result = inspect(folder, job=job)
        if isinstance(result, Checkpoint):
            break
        bad.append(damaged(folder, result))
        _set_aside(folder)
    return bad


def _set_aside(folder: Path) -> None:
    target = folder.with_name(f"damaged-{folder.name}")
    if target.exists():
        shutil.rmtree(target)
    folder.rename(target)


def rotate(output: Path, *, keep: int) -> list[Path]:
    """Deletes checkpoints above `keep`, oldest first, never the best nor the newest; returns what went.

    Only the seals are read here: hashing every file at every save would cost more than the save.
    """
    gone = _spare(output)[: max(0, len(_sealed(output)) - keep)]
    for path in gone:
        _remove(path)
    return gone


def _remove(path: Path) -> None:
    """Renamed first: a kill in between must not leave what looks like a damaged checkpoint."""
    going = path.with_name(f"deleted-{path.name}")
    path.rename(going)
    shutil.rmtree(going)


def _sealed(output: Path) -> list[Path]:
    return [p for p in checkpoint_folders(output) if (p / SEAL).is_file()]


def _spare(output: Path) -> list[Path]:
    """Checkpoints that are neither the best nor the newest, oldest first."""
    folders = _sealed(output)
    losses = {
        p: loss
        for p in folders
        if (loss := _loss(read_json(p / SEAL)["validation_loss"])) is not None and math.isfinite(loss)
    }
    protected = set(folders[-1:]) | ({min(losses, key=lambda p: losses[p])} if losses else set())
    return [p for p in folders if p not in protected]
