"""Finds PEFT LoRA adapters of any trainer on disk, and averages them.

    good, rejected = find_adapters(Path("their_output"))
    average_adapters([a, b, c], (0.2, 0.3, 0.5), out)

Where it sits: below the picker, beside harness/checkpoint/seal.py, which handles the checkpoints of our own trainer.
"""

import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import StageError
from core.files import make_folder, naming, read_json
from core.stage import Dropped
from harness.checkpoint.content import ADAPTER_FILES
from harness.checkpoint.seal import SEAL, Checkpoint, inspect
from harness.errors import CheckpointError

if TYPE_CHECKING:
    import torch

WEIGHTS, CONFIG = ADAPTER_FILES


def find_adapters(folder: Path) -> tuple[list[Checkpoint], list[Dropped]]:
    """PEFT adapters in the subfolders of a folder, ordered by the last number in their name, and unusable subfolders.

    A subfolder with a seal is checked against it. The loss in the seal is ignored, because it was measured on the rows
    of another run.

    Raises:
        CheckpointError: The folder does not exist.
    """
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: no such folder. Give a run, or a folder of PEFT checkpoints.")
    good: list[Checkpoint] = []
    rejected: list[Dropped] = []
    for path in sorted((p for p in folder.iterdir() if _has_adapter_files(p)), key=lambda p: (_number(p), p.name)):
        result = inspect(path) if (path / SEAL).is_file() else _inspect_unsealed(path)
        if isinstance(result, str):
            rejected.append(Dropped(unit="checkpoint", id=path.name, reason="damaged", detail=result))
        else:
            good.append(Checkpoint(path=path, step=result.step, validation_loss=None))
    return good, rejected


def _has_adapter_files(path: Path) -> bool:
    return path.is_dir() and ((path / CONFIG).is_file() or any(path.glob("adapter_model.*")))


def _inspect_unsealed(path: Path) -> Checkpoint | str:
    if not (path / WEIGHTS).is_file():
        pickled = (path / "adapter_model.bin").is_file()
        return "its weights are a pickle file: save them as safetensors" if pickled else f"{WEIGHTS} is missing"
    try:
        config = read_json(path / CONFIG)
    except StageError:
        config = None
    if not isinstance(config, dict):
        return f"{CONFIG} is missing or not a JSON object"
    if str(config.get("peft_type")).upper() != "LORA":
        return f"peft_type is {config.get('peft_type')}, not LORA"
    return Checkpoint(path=path, step=_number(path), validation_loss=None)


def _number(path: Path) -> int:
    digits = re.findall(r"\d+", path.name)
    return int(digits[-1]) if digits else 0


def average_adapters(adapters: Sequence[Path], weights: Sequence[float], out: Path) -> Path:
    """Writes an adapter whose weights are the weighted mean of the adapters' weights, tensor by tensor.

    A and B are averaged separately, as usual when checkpoints are averaged. The product of the means is not the mean of
    the products (product.py), so the average must be evaluated before it is used.

    Raises:
        CheckpointError: The adapters differ in shape or scale.
    """
    from safetensors.torch import load_file, save_file

    loaded = [load_file(adapter / WEIGHTS) for adapter in adapters]
    check_alike(adapters, loaded)
    mean = {name: weighted_mean([tensors[name] for tensors in loaded], weights) for name in loaded[0]}
    make_folder(out)
    with naming(out / WEIGHTS):
        save_file(mean, out / WEIGHTS, metadata={"format": "pt"})
    with naming(out / CONFIG):
        shutil.copy(adapters[0] / CONFIG, out / CONFIG)
    return out


def weighted_mean(tensors: Sequence["torch.Tensor"], weights: Sequence[float]) -> "torch.Tensor":
    """The weighted sum, in the type of the tensors. Integers are those of the first tensor."""
    first = tensors[0]
    if not first.is_floating_point():
        return first
    summed = first.double() * weights[0]
    for tensor, weight in zip(tensors[1:], weights[1:], strict=True):
        summed += tensor.double() * weight
    return summed.to(first.dtype).contiguous()


def check_alike(adapters: Sequence[Path], loaded: Sequence[Mapping[str, "torch.Tensor"]]) -> None:
    """Checks that adapters have the same tensors and the same scale.

    Raises:
        CheckpointError: They do not; the message names one that differs.
    """
    shapes = [{name: tensor.shape for name, tensor in tensors.items()} for tensors in loaded]
    for adapter, found in zip(adapters, shapes, strict=True):
        if found != shapes[0] or _scale(adapter) != _scale(adapters[0]):
            raise CheckpointError(f"{adapter}: its shape differs from {adapters[0]}; they cannot be averaged.")


def _scale(adapter: Path) -> list[Any]:
    """The settings that determine an adapter's effect in addition to its weights."""
    config = read_json(adapter / CONFIG)
    return [config.get(key) for key in ("r", "lora_alpha", "use_rslora", "use_dora", "rank_pattern", "alpha_pattern")]
