"""Which code a step really runs: attention, LoRA, norms and loss, by a profile of one forward pass.

    paths = kernel_paths(lambda: model(**batch))
    paths["attention"]                # ["aten::_scaled_dot_product_flash_attention_for_cpu"]

A configuration asks for a kernel; whether it ran is another thing: Axolotl and transformers fall back without a word.

Where it sits: inside the child process, in the rehearsal; the record of a run names what was found.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

KINDS = {
    "attention": ("attention", "attn", "flex"),
    "fused LoRA": ("LoRA_",),
    "Liger": ("Liger",),
    "4-bit": ("MatMul4Bit", "bitsandbytes::dequantize_4bit", "bitsandbytes::gemv_4bit"),
    "loss": ("CrossEntropy", "cross_entropy", "nll_loss"),
}
"""What is looked for in the names of operators and autograd functions."""

_WRAPPERS = ("Backward", "aten::scaled_dot_product_attention", "aten::nll_loss_nd", "aten::cross_entropy_loss")
"""Names that say what was asked for, or come twice."""


def kernel_paths(forward: Callable[[], Any]) -> dict[str, list[str]]:
    """Operators and autograd functions of one forward pass, by what they are for. Nothing under `attention`: eager."""
    import torch

    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        forward()
    names = sorted({event.key for event in profile.key_averages()})
    return {
        kind: [name for name in names if any(n in name for n in needles) and not name.endswith(_WRAPPERS)]
        for kind, needles in KINDS.items()
    }


def describe(paths: Mapping[str, Sequence[str]]) -> str:
    """One line for a person."""

    def short(names: Sequence[str]) -> str:
        return ", ".join(name.rpartition("::")[2].lstrip("_") for name in names)

    attention = short(paths.get("attention", [])) or "eager (a product, a softmax, a product)"
    lora = short(paths.get("fused LoRA", [])) or "plain PEFT"
    rest = [f"{kind} {short(names)}" for kind, names in paths.items() if kind in ("Liger", "4-bit", "loss") and names]
    return "; ".join([f"attention {attention}", f"LoRA {lora}", *rest])
