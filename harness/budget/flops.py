"""What a training step computes, and which part of a card's peak that is. Arithmetic, no measurement.

    per_token = flops_per_token(ModelShape.of(base), r=128, checkpointing=True, context=160)
    hardware_utilisation(tokens_per_s, per_token, get_gpu_profile("rtx4090"))

A frozen weight costs 2 FLOP per token forward and 2 backward (its input's gradient alone), an adapter's 2 and 4;
checkpointing runs the layers' forward pass once more. Mistral-7B at r 128, samples of 320 tokens: 45.4 GFLOP per
token, 30.7 without.

Where it sits: beside memory.py; rehearsal and benchmarks call it.
"""

from harness.budget.gpu_profile import GpuProfile
from harness.budget.memory import MISTRAL_7B, ModelShape
from harness.recipe import AxolotlConfig

PLAIN_SHARE = 0.70
"""Of the speed with fused LoRA kernels that is left without them: 2,904 of 4,128 tokens/s on an A100 (IBM's
fms-acceleration, Mistral-7B QLoRA r 16, 4 x 4,096)."""

MEAN_CONTEXT_TOKENS = 160.0
"""Earlier tokens that a token attends to, in the mean, in rows of 320."""


def flops_per_token(shape: ModelShape, *, r: int, checkpointing: bool, context: float = 0.0) -> float:
    """Of a training step with frozen base and rank-r adapters on all linears.

    Args:
        context: Earlier tokens that a token attends to, in the mean; packed samples see their own alone.
    """
    again = 1 if checkpointing else 0
    frozen = 2 * shape.num_linear * (2 + again)
    head = 2 * shape.hidden * shape.vocab * 2
    adapters = 2 * shape.num_lora(r) * (3 + again)
    attention = 4 * shape.layers * shape.attention * context * (3 + again)
    return frozen + head + adapters + attention


def hardware_utilisation(tokens_per_s: float, per_token: float, card: GpuProfile) -> float | None:
    """Share of the card's dense bf16 peak, recomputation included; None where no peak is known."""
    return tokens_per_s * per_token / (card.tflops * 1e12) if card.tflops else None


def estimated_tokens_per_s(
    card: GpuProfile, recipe: AxolotlConfig, shape: ModelShape = MISTRAL_7B, *, context: float = MEAN_CONTEXT_TOKENS
) -> float | None:
    """What a card's profile promises, at the low end of what was published; None where it promises nothing."""
    per_token = flops_per_token(shape, r=recipe.lora_r, checkpointing=recipe.gradient_checkpointing, context=context)
    plain = PLAIN_SHARE if recipe.lora_qkv_kernel is False else 1.0
    return card.utilisation * card.tflops * 1e12 / per_token * plain or None
