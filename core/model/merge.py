"""Merged weights: base and LoRA adapter in one model, tensor by tensor, shard by shard.

    merge(base, lora_adapter, out, quantisation=trained.quantisation, dtype="fp32")

An adapter that was trained on a base of 4 or 8 bits also corrects that base's rounding, so it is merged onto weights
that were quantised and dequantised in the same way: all linear layers except the output layer. Axolotl's default merge
rounds the output layer and the embeddings as well, which changes logits by up to 0.77 (measured, in 4 bits); merging
onto unrounded weights changes them by 0.21, this method by 2e-6. LLM.int8() rounds activations too, which no merged
weight can hold: in 8 bits a logit still differs by 0.13 (of deviation 2.0, measured on the demo's base). One shard is
in memory at a time, so a 7B model does not need 28 GB.

Where it sits: picked checkpoint -> **merge** -> export, the base of a run that starts from another one.
"""

import math
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save_file

from core.errors import MergeError
from core.files import make_folder, naming, read_as, read_json, write_json
from core.model.folder import WEIGHT_INDEX, weight_files
from core.model.lora_adapter import INIT_FROM_THE_BASE
from core.model.quantisation import Quantisation
from core.model.weight_file import PICKLED, opened

Dtype = Literal["fp32", "bf16"]
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}

READABLE = 0o644
"""File mode of published weights: safetensors writes files that only their owner can read."""

_PREFIX = "base_model.model."
"""The prefix that PEFT puts before the base's names."""

_FROZEN = ".base_layer.weight"
"""End of the name of a base's own weight, which PEFT writes beside the adapter of an output layer, as GPT-NeoX has."""

TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json",
                   "added_tokens.json", "vocab.json", "merges.txt", "chat_template.jinja",
                   "chat_template.json")  # fmt: skip
"""The files that may make up a base's tokenizer."""

_CARRIED = (*TOKENIZER_FILES, "generation_config.json", "LICENSE")
_OF_THE_MACHINE = ("_name_or_path", "quantization_config", "torch_dtype", "dtype")
"""Keys of a base's `config.json` that are dropped: local paths, and what merging changes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """The change that an adapter makes to one weight."""

    a: torch.Tensor
    """Shape [rank, in]."""
    b: torch.Tensor
    """Shape [out, rank]."""
    scale: float

    def weight(self) -> torch.Tensor:
        """Shape [out, in], fp32."""
        return self.scale * (self.b.float() @ self.a.float())


def merge(
    base: Path,
    lora_adapter: Path,
    out: Path,
    *,
    quantisation: Quantisation,
    dtype: Dtype,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Writes a model folder that transformers loads without PEFT.

    Args:
        quantisation: The base's quantisation when the adapter was trained.
        on_progress: Called with (weights done, total weights).
    Raises:
        MergeError: the adapter is not plain LoRA, or names weights that the base does not have.
    """
    deltas = read_deltas(lora_adapter)
    rounded = linear_names(base) if quantisation.is_quantised else frozenset()
    shards = weight_files(base)
    total = sum(len(_names(shard)) for shard in shards)
    make_folder(out)
    done, unused = 0, set(deltas)
    placed: dict[str, str] = {}
    for shard in shards:
        merged: dict[str, torch.Tensor] = {}
        for name, tensor in _tensors(shard):
            module = name.removesuffix(".weight")
            weight = as_trained(tensor, quantisation, is_rounded=module in rounded)
            if module in deltas:
                delta = deltas[module].weight()
                if delta.shape != weight.shape:
                    raise MergeError(f"{lora_adapter}: {module} does not fit the base {base}. Pass its own `base=`.")
                weight = weight.float() + delta
                unused.discard(module)
            merged[name] = weight.to(_DTYPES[dtype]).contiguous() if weight.is_floating_point() else weight
            done += 1
            on_progress(done, total)
        path = out / merged_name(shard.name)
        placed |= dict.fromkeys(merged, path.name)
        with naming(path):
            save_file(merged, path, metadata={"format": "pt"})
        path.chmod(READABLE)
    if unused:
        raise MergeError(f"{lora_adapter}: {min(unused)} is no weight of the base {base}. Pass its own `base=`.")
    _describe(base, out, dtype, placed)


def read_deltas(lora_adapter: Path) -> dict[str, Delta]:
    """The deltas of an adapter, by the name of the base's module.

    Raises:
        MergeError: the adapter is not plain LoRA.
    """
    config = read_as(dict[str, Any], lora_adapter / "adapter_config.json", mend="Save the adapter again.")
    for key in ("use_dora", "modules_to_save", "rank_pattern", "alpha_pattern", "lora_bias", "layer_replication"):
        if config.get(key):
            raise MergeError(f"{lora_adapter}: {key} is set; plain LoRA alone can be merged. Export the adapter.")
    if str(config.get("init_lora_weights", True)).startswith(INIT_FROM_THE_BASE):
        raise MergeError(
            f"{lora_adapter}: init_lora_weights is {config['init_lora_weights']}, so that it was trained on changed "
            "weights of the base, which are not here. Convert it to plain LoRA first (PEFT: `save_pretrained` with "
            "`path_initial_model_for_weight_conversion`)."
        )
    rank, alpha = config.get("r"), config.get("lora_alpha")
    if not (isinstance(rank, int) and rank > 0 and isinstance(alpha, int | float)):
        raise MergeError(f"{lora_adapter}/adapter_config.json: r or lora_alpha is no number. Save the adapter again.")
    scale = alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
    held = _tensors(lora_adapter / "adapter_model.safetensors")
    tensors = {name: tensor for name, tensor in held if not name.endswith(_FROZEN)}
    deltas = {}
    for name, a in tensors.items():
        b = tensors.get(name.replace(".lora_A.", ".lora_B."))
        if name.endswith(".lora_A.weight") and b is not None:
            module = name.removeprefix(_PREFIX).removesuffix(".lora_A.weight")
            deltas[module] = Delta(a=a, b=b, scale=scale)
    if 2 * len(deltas) != len(tensors):
        raise MergeError(f"{lora_adapter}: holds more than LoRA's A and B; it cannot be merged. Export the adapter.")
    return deltas


def linear_names(base: Path) -> frozenset[str]:
    """The linear layers that 4-bit loading quantises: all except the output layer.

    Raises:
        MergeError: no model can be built from the config.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        with torch.device("meta"):
            model: Any = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(base, local_files_only=True))
    except Exception as e:  # each model class raises its own errors for a wrong config
        why = next(iter(str(e).splitlines()), "") or type(e).__name__
        raise MergeError(f"{base}/config.json: no model of it ({why[:200]}). Pass `base=` of a whole model.") from e
    head = model.get_output_embeddings()
    return frozenset(
        name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear) and module is not head
    )


def as_trained(weight: torch.Tensor, quantisation: Quantisation, *, is_rounded: bool) -> torch.Tensor:
    """A weight as training used it: in the compute dtype and, if quantised, after a round trip of 4 or 8 bits."""
    if not weight.is_floating_point():
        return weight
    weight = weight.to(getattr(torch, quantisation.compute_dtype))
    if not is_rounded:
        return weight
    from bitsandbytes import functional

    if quantisation.load_in_8bit:
        rows, scales, _ = functional.int8_vectorwise_quant(weight.half())
        rounded: torch.Tensor = functional.int8_vectorwise_dequant(rows, scales)
        return rounded.to(weight.dtype)
    quantised, state = functional.quantize_4bit(
        weight, quant_type=quantisation.quant_type, compress_statistics=quantisation.double_quant
    )
    back: torch.Tensor = functional.dequantize_4bit(quantised, state)
    return back


def _names(path: Path) -> Sequence[str]:
    with opened(path) as file:
        return file.names


def _tensors(path: Path) -> Iterator[tuple[str, torch.Tensor]]:
    with opened(path) as file:
        for name in file.names:
            yield name, file.tensor(name)


def merged_name(shard: str) -> str:
    """The name of a shard of merged weights, which are always safetensors."""
    if not shard.endswith(PICKLED):
        return shard
    return f"{shard.removesuffix(PICKLED).replace('pytorch_model', 'model')}.safetensors"


def _describe(base: Path, out: Path, dtype: Dtype, placed: Mapping[str, str]) -> None:
    """Writes all files except the weights.

    Args:
        placed: The file of each weight.
    """
    config: Mapping[str, Any] = read_json(base / "config.json")
    kept = {k: v for k, v in config.items() if k not in _OF_THE_MACHINE}
    named = {"fp32": "float32", "bf16": "bfloat16"}[dtype]
    write_json(out / "config.json", {**kept, "torch_dtype": named})
    copy_those_there(_CARRIED, base, out)
    if len(set(placed.values())) > 1:
        total = sum(path.stat().st_size for path in out.glob("*.safetensors"))
        write_json(out / WEIGHT_INDEX, {"metadata": {"total_size": total}, "weight_map": dict(placed)})


def copy_those_there(names: Iterable[str], source: Path, target: Path) -> None:
    """Copies the files that exist."""
    for name in names:
        if (source / name).is_file():
            with naming(target / name):
                shutil.copyfile(source / name, target / name)
