"""Finds PEFT LoRA adapters of any trainer on disk, and averages them.

    good, rejected = find_adapters(Path("their_output"))
    average_adapters([a, b, c], out)

Where it sits: below the picker, beside harness/checkpoint/seal.py, which handles the checkpoints of our own trainer.
"""

import re
import shutil
from collections.abc import Sequence
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


def average_adapters(adapters: Sequence[Path], out: Path) -> Path:
    """Writes an adapter whose weights are the mean of the adapters' weights, tensor by tensor.

    A and B are averaged separately, as usual when checkpoints are averaged. The product of the means is not the mean of
    the products, so the average must be evaluated before it is used.

    Raises:
        CheckpointError: The adapters differ in shape or scale.
    """
    from safetensors.torch import load_file, save_file

    sums: dict[str, torch.Tensor] = {}
    dtypes: dict[str, torch.dtype] = {}
    for adapter in adapters:
        weights = load_file(adapter / WEIGHTS)
        shapes = {name: tensor.shape for name, tensor in weights.items()}
        if sums and (shapes != {k: v.shape for k, v in sums.items()} or _scale(adapter) != _scale(adapters[0])):
            raise CheckpointError(f"{adapter}: its shape differs from {adapters[0]}; they cannot be averaged.")
        dtypes = {name: tensor.dtype for name, tensor in weights.items()}
        sums = {name: tensor.double() + sums.get(name, 0) for name, tensor in weights.items()}
    make_folder(out)
    mean = {name: (tensor / len(adapters)).to(dtypes[name]).contiguous() for name, tensor in sums.items()}
    with naming(out / WEIGHTS):
        save_file(mean, out / WEIGHTS, metadata={"format": "pt"})
    with naming(out / CONFIG):
        shutil.copy(adapters[0] / CONFIG, out / CONFIG)
    return out


def _scale(adapter: Path) -> list[Any]:
    """The settings that determine an adapter's effect in addition to its weights."""
    config = read_json(adapter / CONFIG)
    return [config.get(key) for key in ("r", "lora_alpha", "use_rslora", "use_dora", "rank_pattern", "alpha_pattern")]
