"""LoRA adapters on disk: those of any trainer, and the average of several.

    good, rejected = find_adapters(Path("their_output"))
    average_adapters([a, b, c], out)

Where it sits: under the picker, beside harness/checkpoint/seal.py, which knows our own trainer's checkpoints.
"""

import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from core.errors import StageError
from core.files import make_folder, naming, read_json
from core.stage import Dropped
from harness.checkpoint.seal import ADAPTER_FILES, SEAL, Checkpoint, inspect
from harness.errors import CheckpointError

WEIGHTS, CONFIG = ADAPTER_FILES


def find_adapters(folder: Path) -> tuple[list[Checkpoint], list[Dropped]]:
    """PEFT adapters in the folders of a folder, by the number at the end of their name; and what is none, with why.

    A folder that our trainer sealed is checked against its seal; its loss was measured on rows of its own run, so it is
    forgotten here.

    Raises:
        CheckpointError: no such folder.
    """
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: no such folder. Give a run, or a folder of PEFT checkpoints.")
    good: list[Checkpoint] = []
    rejected: list[Dropped] = []
    for path in sorted((p for p in folder.iterdir() if _looks_like_one(p)), key=lambda p: (_number(p), p.name)):
        found = inspect(path) if (path / SEAL).is_file() else _inspect_foreign(path)
        if isinstance(found, str):
            rejected.append(Dropped(unit="checkpoint", id=path.name, reason="damaged", detail=found))
        else:
            good.append(Checkpoint(path=path, step=found.step, validation_loss=None))
    return good, rejected


def _looks_like_one(path: Path) -> bool:
    return path.is_dir() and ((path / CONFIG).is_file() or any(path.glob("adapter_model.*")))


def _inspect_foreign(path: Path) -> Checkpoint | str:
    if not (path / WEIGHTS).is_file():
        pickled = (path / "adapter_model.bin").is_file()
        return "its weights are a pickle: save them as safetensors" if pickled else f"{WEIGHTS} is missing"
    try:
        config = read_json(path / CONFIG)
    except StageError:
        config = None
    if not isinstance(config, dict):
        return f"{CONFIG} is missing or no JSON object"
    if str(config.get("peft_type")).upper() != "LORA":
        return f"peft_type is {config.get('peft_type')}, not LORA"
    return Checkpoint(path=path, step=_number(path), validation_loss=None)


def _number(path: Path) -> int:
    digits = re.findall(r"\d+", path.name)
    return int(digits[-1]) if digits else 0


def average_adapters(adapters: Sequence[Path], out: Path) -> Path:
    """The mean of their weights, tensor by tensor, as an adapter of its own.

    A and B are averaged apart, as all averaging of checkpoints does: the product of the means is not the mean of the
    products, and only its loss tells whether it is any good.

    Raises:
        CheckpointError: they differ in shape.
    """
    from safetensors.torch import load_file, save_file

    sums: dict[str, Any] = {}
    dtypes: dict[str, Any] = {}
    for adapter in adapters:
        weights = load_file(adapter / WEIGHTS)
        shapes = {name: tensor.shape for name, tensor in weights.items()}
        if sums and (shapes != {k: v.shape for k, v in sums.items()} or _scale(adapter) != _scale(adapters[0])):
            raise CheckpointError(f"{adapter}: of another shape than {adapters[0]}; they have no average.")
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
    """What else than its weights says what an adapter does."""
    config = read_json(adapter / CONFIG)
    return [config.get(key) for key in ("r", "lora_alpha", "use_rslora", "use_dora", "rank_pattern", "alpha_pattern")]
