"""Writes an average of checkpoints: of adapters or whole models tensor by tensor, or of adapters' products B A.

    write_average(trial, [a, b, c], out)

Where it sits: below the timed picker.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import PredictionError
from core.files import make_folder, naming, write_json
from core.model.folder import WEIGHT_INDEX, weight_files
from core.model.weight_file import WeightFile, opened
from harness.checkpoint.adapter import CONFIG, WEIGHTS, average_adapters, weighted_mean
from harness.checkpoint.averaging import AverageKind, Trial
from harness.checkpoint.content import EMA_WEIGHTS, is_model, published
from harness.checkpoint.product import average_products
from harness.errors import CheckpointError

if TYPE_CHECKING:
    import torch

SHARD_BYTES = 2**30
"""Size at which a file of an average is written: so much of it is in memory at a time."""


def write_average(trial: Trial, checkpoints: Sequence[Path], out: Path) -> Path:
    """Writes an average of adapters or of whole models.

    Args:
        checkpoints: The folders of the trial's members.
    Raises:
        CheckpointError: They differ in shape, one cannot be read, or there is no average of this kind.
    """
    shutil.rmtree(out, ignore_errors=True)
    if trial.kind is AverageKind.MOVING:
        return _moving(checkpoints[0], out)
    is_whole = is_model([path.name for path in checkpoints[0].iterdir()])
    if trial.kind is AverageKind.PRODUCTS:
        if is_whole:
            raise CheckpointError(f"{checkpoints[0]}: a whole model has no products B A to average.")
        average_products(checkpoints, trial.weights, out)
        return out
    if not is_whole:
        return average_adapters(checkpoints, trial.weights, out)
    make_folder(out)
    try:
        _average_models(checkpoints, trial.weights, out)
    except PredictionError as e:
        raise CheckpointError(str(e)) from e
    for name in published(checkpoints[0]):
        if not name.endswith((".safetensors", WEIGHT_INDEX)):
            with naming(out / name):
                shutil.copyfile(checkpoints[0] / name, out / name)
    return out


def _moving(checkpoint: Path, out: Path) -> Path:
    """The trainer's moving average as an adapter of its own."""
    if not (checkpoint / EMA_WEIGHTS).is_file():
        raise CheckpointError(f"{checkpoint}: no moving average. Train with `ema_decay` in the recipe.")
    make_folder(out)
    for source, target in ((EMA_WEIGHTS, WEIGHTS), (CONFIG, CONFIG)):
        with naming(out / target):
            shutil.copyfile(checkpoint / source, out / target)
    return out


def _average_models(checkpoints: Sequence[Path], weights: Sequence[float], out: Path) -> None:
    with contextlib.ExitStack() as stack:
        files = [_by_name(stack, checkpoint) for checkpoint in checkpoints]
        for checkpoint, file in zip(checkpoints, files, strict=True):
            if file.keys() != files[0].keys():
                raise CheckpointError(f"{checkpoint}: its weights differ from {checkpoints[0]}; no average.")
        placed: dict[str, str] = {}
        total = 0
        for number, shard in enumerate(_shards(files, weights), start=1):
            name = f"model-{number:05}.safetensors"
            _write(shard, out / name)
            placed |= dict.fromkeys(shard, name)
            total += sum(tensor.nbytes for tensor in shard.values())
    write_json(out / WEIGHT_INDEX, {"metadata": {"total_size": total}, "weight_map": placed})


def _by_name(stack: contextlib.ExitStack, checkpoint: Path) -> dict[str, WeightFile]:
    files = [stack.enter_context(opened(path)) for path in weight_files(checkpoint)]
    return {name: file for file in files for name in file.names}


def _shards(files: Sequence[dict[str, WeightFile]], weights: Sequence[float]) -> Iterator[dict[str, torch.Tensor]]:
    """The means, as many at a time as fit a shard."""
    shard: dict[str, torch.Tensor] = {}
    for name in files[0]:
        shard[name] = _mean([file[name].tensor(name) for file in files], weights, name)
        if sum(tensor.nbytes for tensor in shard.values()) >= SHARD_BYTES:
            yield shard
            shard = {}
    if shard:
        yield shard


def _mean(tensors: Sequence[torch.Tensor], weights: Sequence[float], name: str) -> torch.Tensor:
    if any(tensor.shape != tensors[0].shape for tensor in tensors):
        raise CheckpointError(f"{name}: its shape differs between the checkpoints; they cannot be averaged.")
    return weighted_mean(tensors, weights)


def _write(shard: dict[str, torch.Tensor], path: Path) -> None:
    from safetensors.torch import save_file

    with naming(path):
        save_file(shard, path, metadata={"format": "pt"})
