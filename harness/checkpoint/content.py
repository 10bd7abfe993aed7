"""What a checkpoint must hold: a LoRA adapter or a whole model, and what a resume needs.

    missing(["config.json", "model.safetensors", *RESUME_FILES])      # "": it is whole
    published(Path("07_train/output/checkpoint-40"))                    # names of the files that a picker hands on

Where it sits: below seal and pick.
"""

from collections.abc import Collection
from pathlib import Path

ADAPTER_FILES = ("adapter_model.safetensors", "adapter_config.json")
RESUME_FILES = ("optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json")
MODEL_CONFIG = "config.json"
EMA_WEIGHTS = "ema.safetensors"
"""The exponential moving average of an adapter's weights, where a recipe keeps one."""

_OF_TRAINING = (*RESUME_FILES, "SEAL.json", "training_args.bin", "tokens_state.json")
_OF_A_MODEL = (".safetensors", ".json", ".model", ".txt", ".jinja")


def is_model(names: Collection[str]) -> bool:
    """Whether these are files of a whole model, not of an adapter."""
    return MODEL_CONFIG in names and ADAPTER_FILES[1] not in names


def missing(names: Collection[str]) -> str:
    """The first file that a checkpoint lacks; empty if it has all."""
    needed = (MODEL_CONFIG, *RESUME_FILES) if is_model(names) else (*ADAPTER_FILES, *RESUME_FILES)
    if found := next((name for name in needed if name not in names), ""):
        return found
    has_weights = any(name.endswith(".safetensors") for name in names)
    return "" if has_weights else "model.safetensors"


def published(folder: Path) -> list[str]:
    """The files that make up the adapter or the model, without those of a resume."""
    names = sorted(path.name for path in folder.iterdir() if path.is_file())
    if not is_model(names):
        return list(ADAPTER_FILES)
    return [name for name in names if name.endswith(_OF_A_MODEL) and name not in _OF_TRAINING]
