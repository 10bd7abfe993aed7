"""The kernels that a step really runs for attention, LoRA, norms and loss, from a profile of one forward pass.

    paths = kernel_paths(lambda: model(**batch))
    paths["attention"]                # ["aten::_scaled_dot_product_flash_attention_for_cpu"]

A configuration requests a kernel, but Axolotl and transformers fall back to another one without a message.

Where it sits: inside the child process, in the rehearsal; the run's manifest records the result.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

OPERATOR_NAMES = {
    "attention": ("attention", "attn", "flex"),
    "fused LoRA": ("LoRA_",),
    "Liger": ("Liger",),
    "4-bit": ("MatMul4Bit", "bitsandbytes::dequantize_4bit", "bitsandbytes::gemv_4bit"),
    "loss": ("CrossEntropy", "cross_entropy", "nll_loss"),
}
"""Parts of the names of operators and autograd functions, for each purpose."""

_WRAPPERS = ("Backward", "aten::scaled_dot_product_attention", "aten::nll_loss_nd", "aten::cross_entropy_loss")
"""Names that are left out, because they tell what was requested and not what ran, or because they occur twice."""


def kernel_paths(forward: Callable[[], Any]) -> dict[str, list[str]]:
    """Names of the operators and autograd functions of a forward pass, by purpose.

    An empty list for `attention` means eager attention.
    """
    import torch

    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        forward()
    names = sorted({event.key for event in profile.key_averages()})
    return {
        purpose: [name for name in names if any(part in name for part in parts) and not name.endswith(_WRAPPERS)]
        for purpose, parts in OPERATOR_NAMES.items()
    }


def describe(paths: Mapping[str, Sequence[str]]) -> str:
    """The kernels in one line."""

    def short(names: Sequence[str]) -> str:
        return ", ".join(name.rpartition("::")[2].lstrip("_") for name in names)

    attention = short(paths.get("attention", [])) or "eager (two matrix products and a softmax)"
    lora = short(paths.get("fused LoRA", [])) or "plain PEFT"
    rest = [f"{kind} {short(names)}" for kind, names in paths.items() if kind in ("Liger", "4-bit", "loss") and names]
    return "; ".join([f"attention {attention}", f"LoRA {lora}", *rest])
