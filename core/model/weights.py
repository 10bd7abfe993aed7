"""Whether a model's files hold exactly the weights that its class has.

    model = load_checked(Path("models/base"), dtype=torch.bfloat16)
    check_weights(Path("models/base"))                        # the same check, without reading the weights
    exchange_weights(model, Path("checkpoint-40"))            # of the same class, one tensor at a time

transformers gives a weight that is missing random values, leaves one out that it does not know, and reports both in a
log that `quieten` turns off. Tied weights, buffers and the weights that a class is known to leave out are not reported.

Where it sits: below language_model; the plugin asks it before Axolotl loads the base by itself.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from core.errors import PredictionError
from core.model.folder import weight_files
from core.model.weight_file import opened

_SHOWN = 3


def load_checked(path: Path, **options: Any) -> Any:
    """A causal language model, by transformers.

    Args:
        options: Of `from_pretrained`.
    Raises:
        PredictionError: weights are missing, or there are unknown ones.
    """
    from transformers import AutoModelForCausalLM

    model, found = AutoModelForCausalLM.from_pretrained(
        path, local_files_only=True, output_loading_info=True, **options
    )
    _check(path, model, found)
    return model


def check_weights(path: Path) -> None:
    """Compares the names and shapes in the headers of the files with the model's class.

    Raises:
        PredictionError: weights are missing, there are unknown ones, or one has another shape.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(path, local_files_only=True)
    with torch.device("meta"):
        kind: Any = type(AutoModelForCausalLM.from_config(config))
    model, found = kind.from_pretrained(
        None, config=config, state_dict=_on_meta(path), device_map={"": "meta"}, output_loading_info=True
    )
    _check(path, model, found)


def exchange_weights(model: Any, folder: Path) -> None:
    """Gives a loaded model the weights of another folder of its class, tensor by tensor, without a second model.

    Raises:
        PredictionError: the files cannot be read, or do not hold the model's weights. The model is then a mixture.
    """
    import torch

    own, filled = model.state_dict(), set()
    with torch.no_grad():
        for path in weight_files(folder):
            with opened(path) as file:
                for name in file.names:
                    if name not in own:
                        continue  # a buffer that older versions saved
                    if tuple(file.shape(name)) != tuple(own[name].shape):
                        raise PredictionError(f"{path}: {name} has another size than in {type(model).__name__}.")
                    own[name].copy_(file.tensor(name))
                    filled.add(own[name].data_ptr())
    if missing := [name for name, tensor in own.items() if tensor.data_ptr() not in filled]:
        raise PredictionError(f"{folder}: its weights lack {min(missing)}. Save it again.")


def _on_meta(path: Path) -> dict[str, Any]:
    """Every weight of a folder, without its values."""
    import torch

    weights: dict[str, Any] = {}
    for shard in weight_files(path):
        with opened(shard) as file:
            weights |= {name: torch.empty(tuple(file.shape(name)), device="meta") for name in file.names}
    return weights


def _check(path: Path, model: Any, found: Mapping[str, Collection[str]]) -> None:
    missing, unexpected = sorted(found["missing_keys"]), sorted(found["unexpected_keys"])
    problems = [
        f"{verb} {', '.join(names[:_SHOWN])}" + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
        for verb, names in (("lack", missing), ("hold unknown", unexpected))
        if names
    ]
    if problems:
        raise PredictionError(
            f"{path}: its weights do not fit its config.json ({type(model).__name__}): they "
            f"{'; they '.join(problems)}. Fetch the model again, or give another one."
        )
