"""Checkpoints with a seal: a file with the hash of every other file, by which incomplete or altered ones are found.

    saved = save_sealed(output, write, step=40, validation_loss=1.25, run_id="…", save_total_limit=10)
    good, bad = inspect_all(Path("07_train/output"))

Files are written in a temporary folder, fsynced, sealed and renamed, so that `checkpoint-40` is either complete or does
not exist. Damaged checkpoints are renamed with their reason on record, and never deleted. The seal names the run that
wrote it. A checkpoint of another run is never resumed from, because a resume unpickles files.

Where it sits: written by the trainer, read by resume and by the picker.
"""

import contextlib
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
from harness.checkpoint.content import missing

SEAL = "SEAL.json"
SAVING = "saving"
"""Folder that the trainer writes into; nothing in it is ever read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A complete checkpoint."""

    path: Path
    step: int
    validation_loss: float | None
    """Nats per answer token over all validation rows; None if it was saved without an evaluation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """The result of a save."""

    whole: bool
    """False if the disk is full and no checkpoint may be deleted; training continues with the existing ones."""
    deleted: tuple[str, ...]
    """Checkpoints that were deleted."""


def save_sealed(
    output: Path,
    write: Callable[[], None],
    *,
    step: int,
    validation_loss: float | None,
    run_id: str = "",
    save_total_limit: int,
) -> Saved:
    """Calls `write`, which fills `output/saving/checkpoint-STEP`; seals and renames it, and deletes old checkpoints.

    If the disk is full, the oldest checkpoint that is neither the best nor the newest is deleted and `write` is called
    again.

    Raises:
        OSError, RuntimeError: An error of `write` other than a full disk.
    """
    staging = output / SAVING
    deleted: list[str] = []
    while True:
        shutil.rmtree(staging, ignore_errors=True)
        try:
            write()
            seal(staging / f"checkpoint-{step}", step=step, validation_loss=validation_loss, run_id=run_id)
            break
        except Exception as e:
            is_full = _is_disk_full(e, output)
            shutil.rmtree(staging, ignore_errors=True)
            if not is_full:
                raise
            deletable = _deletable(output)
            if not deletable:
                return Saved(whole=False, deleted=tuple(deleted))
            _remove(deletable[0])
            deleted.append(deletable[0].name)
    target = output / f"checkpoint-{step}"
    shutil.rmtree(target, ignore_errors=True)
    (staging / target.name).rename(target)
    sync_directory(output)
    rotated = rotate(output, save_total_limit=save_total_limit)
    return Saved(whole=True, deleted=(*deleted, *(path.name for path in rotated)))


def _is_disk_full(e: BaseException, output: Path) -> bool:
    """Checks the chain of errors, then the free space, because torch and safetensors may hide the system's error."""
    error: BaseException | None = e
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        error = error.__cause__ or error.__context__
    return "No space left" in str(e) or shutil.disk_usage(output).free < _MIN_FREE_BYTES


_MIN_FREE_BYTES = 1 << 20


def seal(directory: Path, *, step: int, validation_loss: float | None, run_id: str = "") -> Checkpoint:
    """Fsyncs the files and writes their hashes to the seal."""
    files = {}
    for path in sorted(p for p in directory.iterdir() if p.is_file() and p.name != SEAL):
        with path.open("rb") as f:
            os.fsync(f.fileno())
        files[path.name] = [path.stat().st_size, file_sha256(path)]
    written = validation_loss if validation_loss is None or math.isfinite(validation_loss) else str(validation_loss)
    write_json(directory / SEAL, {"step": step, "validation_loss": written, "job": run_id, "files": files})
    return Checkpoint(path=directory, step=step, validation_loss=validation_loss)


def inspect(directory: Path, *, run_id: str | None = None, hashes: bool = True) -> Checkpoint | str:
    """The checkpoint, or the reason why it cannot be used.

    Args:
        run_id: The run that must have written the seal; None: any.
        hashes: If False, only the existence and sizes of files are checked, which is fast; files are not read.
    """
    if not (directory / SEAL).is_file():
        return "not sealed: the save was interrupted"
    try:
        raw = read_json(directory / SEAL)
        step, loss, files = int(raw["step"]), _loss(raw["validation_loss"]), dict(raw["files"])
    except (StageError, KeyError, TypeError, ValueError):
        return "its seal is unreadable"
    if run_id is not None and raw.get("job") != run_id:
        return "another run wrote it"
    damage = _damage(directory, files, hashes=hashes)
    if damage:
        return damage
    if loss is not None and not math.isfinite(loss):
        return f"its validation loss is {loss}"
    return Checkpoint(path=directory, step=step, validation_loss=loss)


def _damage(directory: Path, files: dict[str, tuple[int, str]], *, hashes: bool) -> str:
    """The first difference of the files from the seal; empty if there is none."""
    if name := missing(files):
        return f"{name} was never saved"
    for name, (size, digest) in files.items():
        path = directory / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != size:
            return f"{name} has {path.stat().st_size} bytes instead of {size}"
        if hashes and file_sha256(path) != digest:
            return f"{name} was altered"
    return ""


def _loss(sealed: float | str | None) -> float | None:
    """The loss in a seal; one that is not finite is stored as text, because JSON has no NaN."""
    return None if sealed is None else float(sealed)


def checkpoint_folders(output: Path) -> list[Path]:
    """The `checkpoint-N` folders by step."""
    folders = [p for p in output.glob("checkpoint-*") if p.is_dir() and re.fullmatch(r"checkpoint-\d+", p.name)]
    return sorted(folders, key=lambda p: int(p.name.removeprefix("checkpoint-")))


def inspect_all(
    output: Path, *, run_id: str | None = None, hashes: bool = True
) -> tuple[list[Checkpoint], list[Dropped]]:
    """Complete checkpoints by step, and the others with their reason. Nothing is moved."""
    good: list[Checkpoint] = []
    bad: list[Dropped] = []
    for folder in checkpoint_folders(output):
        result = inspect(folder, run_id=run_id, hashes=hashes)
        if isinstance(result, Checkpoint):
            good.append(result)
        else:
            bad.append(damaged(folder, result))
    return good, bad


def damaged(folder: Path, detail: str) -> Dropped:
    """The record of a checkpoint that cannot be used."""
    return Dropped(unit="checkpoint", id=folder.name, reason="damaged", detail=detail)


def newest_whole(output: Path, *, run_id: str | None = None) -> Checkpoint | None:
    """The newest complete checkpoint. Older ones are not read, because hashing all of them would take minutes."""
    results = (inspect(folder, run_id=run_id) for folder in reversed(checkpoint_folders(output)))
    return next((result for result in results if isinstance(result, Checkpoint)), None)


def share_saved(output: Path) -> float:
    """How much of its steps a training need not do again, in [0, 1]. Seals are not checked: it is for estimates."""
    for folder in reversed(checkpoint_folders(output)):
        with contextlib.suppress(StageError, LookupError, TypeError, ZeroDivisionError):
            state = read_json(folder / "trainer_state.json")
            return min(1.0, float(state["global_step"] / state["max_steps"]))
    return 0.0


def set_aside(output: Path, *, run_id: str | None = None) -> list[Dropped]:
    """Renames damaged checkpoints to `damaged-…`, so that no resume uses them; returns their records.

    Sizes are checked for all checkpoints, hashes only from the newest down to the first complete one.
    """
    bad = inspect_all(output, run_id=run_id, hashes=False)[1]
    for d in bad:
        _set_aside(output / d.id)
    for folder in reversed(checkpoint_folders(output)):
        result = inspect(folder, run_id=run_id)
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


def rotate(output: Path, *, save_total_limit: int) -> list[Path]:
    """Deletes the oldest checkpoints above the limit, but never the best or the newest; returns those deleted.

    Only the seals are read, because hashing every file at every save would take longer than the save.
    """
    surplus = _deletable(output)[: max(0, len(_sealed(output)) - save_total_limit)]
    for path in surplus:
        _remove(path)
    return surplus


def _remove(path: Path) -> None:
    """Renames the folder before deleting it, so that a kill does not leave what looks like a damaged checkpoint."""
    renamed = path.with_name(f"deleted-{path.name}")
    path.rename(renamed)
    shutil.rmtree(renamed)


def _sealed(output: Path) -> list[Path]:
    return [p for p in checkpoint_folders(output) if (p / SEAL).is_file()]


def _deletable(output: Path) -> list[Path]:
    """Checkpoints that are neither the best nor the newest, oldest first."""
    folders = _sealed(output)
    losses = {
        p: loss
        for p in folders
        if (loss := _loss(read_json(p / SEAL)["validation_loss"])) is not None and math.isfinite(loss)
    }
    protected = set(folders[-1:]) | ({min(losses, key=lambda p: losses[p])} if losses else set())
    return [p for p in folders if p not in protected]
