"""The average of checkpoints, adapters or whole models, tensor by tensor.

    average([a, b, c], out)

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
from harness.checkpoint.adapter import average_adapters
from harness.checkpoint.content import is_model, published
from harness.errors import CheckpointError

if TYPE_CHECKING:
    import torch

SHARD_BYTES = 2**30
"""Size at which a file of an average is written: so much of it is in memory at a time."""


def average(checkpoints: Sequence[Path], out: Path) -> Path:
    """Writes an adapter or a model whose weights are the mean of the checkpoints' weights.

    Raises:
        CheckpointError: They differ in shape, or one cannot be read.
    """
    if not is_model([path.name for path in checkpoints[0].iterdir()]):
        return average_adapters(checkpoints, out)
    shutil.rmtree(out, ignore_errors=True)
    make_folder(out)
    try:
        _average_models(checkpoints, out)
    except PredictionError as e:
        raise CheckpointError(str(e)) from e
    for name in published(checkpoints[0]):
        if not name.endswith((".safetensors", WEIGHT_INDEX)):
            with naming(out / name):
                shutil.copyfile(checkpoints[0] / name, out / name)
    return out


def _average_models(checkpoints: Sequence[Path], out: Path) -> None:
    with contextlib.ExitStack() as stack:
        files = [_by_name(stack, checkpoint) for checkpoint in checkpoints]
        for checkpoint, file in zip(checkpoints, files, strict=True):
            if file.keys() != files[0].keys():
                raise CheckpointError(f"{checkpoint}: its weights differ from {checkpoints[0]}; no average.")
        placed: dict[str, str] = {}
        total = 0
        for number, shard in enumerate(_shards(files), start=1):
            name = f"model-{number:05}.safetensors"
            _write(shard, out / name)
            placed |= dict.fromkeys(shard, name)
            total += sum(tensor.nbytes for tensor in shard.values())
    write_json(out / WEIGHT_INDEX, {"metadata": {"total_size": total}, "weight_map": placed})


def _by_name(stack: contextlib.ExitStack, checkpoint: Path) -> dict[str, WeightFile]:
    files = [stack.enter_context(opened(path)) for path in weight_files(checkpoint)]
    return {name: file for file in files for name in file.names}


def _shards(files: Sequence[dict[str, WeightFile]]) -> Iterator[dict[str, torch.Tensor]]:
    """The means, as many at a time as fit a shard."""
    shard: dict[str, torch.Tensor] = {}
    for name in files[0]:
        shard[name] = _mean([file[name].tensor(name) for file in files], name)
        if sum(tensor.nbytes for tensor in shard.values()) >= SHARD_BYTES:
            yield shard
            shard = {}
    if shard:
        yield shard


def _mean(tensors: Sequence[torch.Tensor], name: str) -> torch.Tensor:
    first = tensors[0]
    if any(tensor.shape != first.shape for tensor in tensors):
        raise CheckpointError(f"{name}: its shape differs between the checkpoints; they cannot be averaged.")
    if not first.is_floating_point():
        return first
    summed = first.double()
    for tensor in tensors[1:]:
        summed += tensor
    return (summed / len(tensors)).to(first.dtype).contiguous()


def _write(shard: dict[str, torch.Tensor], path: Path) -> None:
    from safetensors.torch import save_file

    with naming(path):
        save_file(shard, path, metadata={"format": "pt"})
