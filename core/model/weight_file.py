"""One file of a model's weights, read tensor by tensor: safetensors, or a pickle file of torch (`.bin`).

    with opened(path) as weights:
        for name in weights.names:
            weights.shape(name), weights.tensor(name)

A pickle file is read with torch's restricted loader, which builds tensors and runs no code of the file. Its tensors are
mapped from the disk, so that either kind of file is read only as far as it is used.

Where it sits: folder -> **weight_file** -> the check of weights, merging and averaging.
"""

from __future__ import annotations

import contextlib
import pickle
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import PredictionError

if TYPE_CHECKING:
    import torch

PICKLED = ".bin"


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightFile:
    """An open file."""

    names: Sequence[str]
    shape: Callable[[str], Sequence[int]]
    """Of a tensor, whose values are not read."""
    tensor: Callable[[str], torch.Tensor]


@contextlib.contextmanager
def opened(path: Path) -> Iterator[WeightFile]:
    """An open file of weights; its header is checked.

    Raises:
        PredictionError: missing or damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        if path.suffix == PICKLED:
            yield _pickled(path)
            return
        with safe_open(path, framework="pt") as f:
            yield WeightFile(
                names=list(f.keys()), shape=lambda name: f.get_slice(name).get_shape(), tensor=f.get_tensor
            )
    except (SafetensorError, pickle.UnpicklingError, EOFError, OSError) as e:
        why = next(iter(str(e).splitlines()), "") or type(e).__name__
        raise PredictionError(f"{path}: cannot be read ({why}). Fetch or save it again.") from e


def _pickled(path: Path) -> WeightFile:
    import torch

    try:
        weights = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except RuntimeError as e:  # of a damaged archive
        raise pickle.UnpicklingError(str(e)) from e
    if not isinstance(weights, dict) or not all(isinstance(value, torch.Tensor) for value in weights.values()):
        raise pickle.UnpicklingError("it holds more than tensors by name")
    return WeightFile(
        names=list(weights), shape=lambda name: weights[name].shape, tensor=lambda name: weights[name].clone()
    )


def has_end(path: Path) -> bool:
    """Whether a pickle file has an end; its tensors are not read. Torch wrote them as zip archives since 2020."""
    with path.open("rb") as f:
        return zipfile.is_zipfile(path) or f.read(2) == pickle.PROTO + b"\x02"
