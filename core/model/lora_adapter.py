"""A LoRA adapter on a model: put on by PEFT, with every weight accounted for.

    model = with_adapter(model, Path("runs/demo/08_pick/adapter-20"))

PEFT only warns of a weight that is missing, and passes over one that it does not know: either way the model is another
one than was trained.

Where it sits: below language_model.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.errors import PredictionError

CHANGES_THE_BASE = ("modules_to_save", "trainable_token_indices", "bias", "layer_replication")
"""Settings of an adapter that cannot be taken off: it changed weights of the base."""

INIT_FROM_THE_BASE = ("pissa", "olora", "corda", "loftq")
"""Beginnings of `init_lora_weights` with which PEFT takes a part of the base's weights into the adapter."""


def misfit(lora_adapter: Path, base: Path, error: Exception) -> PredictionError:
    """The error for whoever gave adapter and base."""
    return PredictionError(
        f"{lora_adapter}: no adapter that fits {base} ({reason(error)}). Save it again (in a run: `oneday pick RUN`), "
        "or give the `base=` that it was made for."
    )


def reason(error: Exception) -> str:
    """Its first line; for an error that is a mere key or nothing, its kind too."""
    first = next(iter(str(error).strip().splitlines()), "")[:200].rstrip(".")
    return f"{type(error).__name__} {first}".strip() if isinstance(error, LookupError) or not first else first


def changes_the_base(shape: Mapping[str, object]) -> bool:
    """Whether weights of the base are others as long as the adapter is loaded.

    Args:
        shape: As `adapter_shape` gives it.
    """
    return str(shape.get("init_lora_weights", True)).startswith(INIT_FROM_THE_BASE) or any(
        shape.get(key) not in (None, [], "none", False) for key in CHANGES_THE_BASE
    )


def adapter_shape(lora_adapter: Path) -> dict[str, object]:
    """What must be equal for two adapters to take each other's place."""
    raw = json.loads((lora_adapter / "adapter_config.json").read_bytes())
    names = ("base_model_name_or_path", "revision", "inference_mode", "task_type", "peft_version")
    return {key: sorted(value) if isinstance(value, list) else value for key, value in raw.items() if key not in names}


def with_adapter(model: Any, lora_adapter: Path) -> Any:
    """The model with an adapter on it.

    Raises:
        PredictionError: the folder holds no adapter.
        ValueError: a weight is missing or unknown. Besides, whatever PEFT raises for a damaged adapter.
    """
    from peft import PeftModel, load_peft_weights

    if not (lora_adapter / "adapter_config.json").is_file():
        raise PredictionError(f"{lora_adapter}: no adapter_config.json. Give the folder of a PEFT LoRA adapter.")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Found missing adapter keys")  # set_adapter_weights raises it
        model = PeftModel.from_pretrained(model, lora_adapter)
    set_adapter_weights(model, load_peft_weights(str(lora_adapter), device=str(model.device)))
    return model


_OF_AN_ADAPTER = (".lora_", ".modules_to_save.")


def set_adapter_weights(model: Any, weights: Any) -> None:
    """Gives an adapter its weights.

    Raises:
        ValueError: some are missing, or there are unknown ones.
    """
    from peft import set_peft_model_state_dict

    found = set_peft_model_state_dict(model, weights)
    missing = [name for name in found.missing_keys if any(part in name for part in _OF_AN_ADAPTER)]
    if missing or found.unexpected_keys:
        what = "lacks" if missing else "holds unknown"
        raise ValueError(f"it {what} {(missing or found.unexpected_keys)[0]}")
