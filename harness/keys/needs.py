"""What a recipe needs of a machine: a GPU, packages that are not in every installation, code from the hub.

    needs({"optimizer": "paged_adamw_32bit", "attn_implementation": "flash_attention_2"}, {})
    # ("gpu", "package flash-attn")

Where it sits: keys -> **needs** -> the dry run, and the check of a recipe against a card.
"""

from collections.abc import Callable, Mapping
from typing import Any

GPU = "gpu"

CPU_OPTIMIZERS = frozenset(
    """adamw_torch adamw_torch_fused adafactor sgd adagrad rmsprop adopt_adamw adamc muon sinkgd came_pytorch
    optimi_adamw stable_adamw""".split()  # noqa: SIM905
)
"""Optimizers whose step runs on a CPU. The paged ones, and those with states of 8 or 4 bits, have kernels for CUDA."""

CPU_ATTENTION = ("auto", "sdpa", "eager", "flex_attention")

_ALWAYS = frozenset(
    """cut_cross_entropy use_kernels use_scattermoe use_sonicmoe experts_implementation nvfp4_merge_aware
    dsv4_fp4_grouped_mode fused_attn_kernel flash_attn_cross_entropy flash_attn_fuse_mlp gemma4_hybrid_attn_impl
    flash_attn_d512 large_head_attention sdpa_varlen quantize_moe_experts model_quantization_config
    model_quantization_config_kwargs gptq activation_offloading layer_offloading ple_cpu_offload qat quantization
    torch_compile torch_compile_mode torch_compile_backend torch_compile_options flex_attn_compile_kwargs fp8
    fp8_config fp16 float16 bfloat16 tf32 lora_qkv_kernel lora_o_kernel lora_mlp_kernel lora_embedding_kernel
    experimental_skip_move_to_device dpo_use_liger_kernel optim_args""".split()  # noqa: SIM905
)
"""Keys that ask for code of a GPU wherever they hold something."""

_SOMETIMES: Mapping[str, Callable[[Any], bool]] = {
    "optimizer": lambda value: str(value) not in CPU_OPTIMIZERS,
    "attn_implementation": lambda value: value not in CPU_ATTENTION,
    "bf16": lambda value: value is True,
    "gradient_checkpointing": lambda value: str(value).startswith("offload"),
}
"""Keys that do so with some values."""

GPU_PLUGINS = ("axolotl.integrations.liger", "axolotl.integrations.cut_cross_entropy", "axolotl.integrations.kernels")

_OPTIMIZER_PACKAGES = {
    "came_pytorch": "came-pytorch",
    "optimi_adamw": "torch-optimi",
    "q_galore_adamw8bit": "q-galore-torch",
}
_PLUGIN_PACKAGES = {
    "axolotl.integrations.liger": "liger-kernel",
    "axolotl.integrations.cut_cross_entropy": "cut-cross-entropy",
    "axolotl.integrations.llm_compressor": "llmcompressor",
    "axolotl.integrations.densemixer": "densemixer",
}
_ATTENTION_PACKAGES = {"flash_attention_2": "flash-attn", "xformers": "xformers", "sage": "sageattention"}


def gpu_keys(values: Mapping[str, Any]) -> list[str]:
    """The keys that ask for a GPU, in the recipe's order."""
    return [key for key, value in values.items() if _asks_for_gpu(key, value)]


def _asks_for_gpu(key: str, value: Any) -> bool:
    if value is None or value is False:
        return False
    return key in _ALWAYS or key.startswith("liger_") or (key in _SOMETIMES and _SOMETIMES[key](value))


def needs(values: Mapping[str, Any], plugins: Mapping[str, str]) -> tuple[str, ...]:
    """What a machine must have, in a fixed order: the GPU, packages by name, kernels and code of the hub.

    Args:
        values: The recipe's keys that hold something, overruled ones left out.
        plugins: Names of its plugins, by package.
    """
    attention, optimizer = str(values.get("attn_implementation", "")), str(values.get("optimizer", ""))
    packages = {_PLUGIN_PACKAGES.get(package, "") for package in plugins}
    packages |= {_ATTENTION_PACKAGES.get(attention, ""), _OPTIMIZER_PACKAGES.get(optimizer, "")}
    packages |= {"liger-kernel"} if any(key.startswith("liger_") and value for key, value in values.items()) else set()
    packages |= {"gptqmodel"} if values.get("gptq") else set()
    on_gpu = bool(gpu_keys(values)) or any(package in GPU_PLUGINS for package in plugins)
    return (
        *([GPU] if on_gpu else []),
        *(f"package {name}" for name in sorted(packages - {""})),
        *([f"hub kernel {attention}"] if "/" in attention else []),
        *(["code from the hub"] if values.get("trust_remote_code") else []),
    )
