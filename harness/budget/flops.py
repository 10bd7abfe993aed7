"""The floating-point operations of a training step, and the share of a card's peak that they reach. Computed.

    per_token = flops_per_token(ModelShape.of(base), r=128, checkpointing=True, context=160)
    hardware_utilisation(tokens_per_s, per_token, get_gpu_profile("rtx4090"))

A frozen weight costs 2 FLOP per token in the forward pass and 2 in the backward pass (the gradient of its input only);
an adapter's weight costs 2 and 4. Checkpointing runs the layers' forward pass once more. Mistral-7B at r 128 on samples
of 320 tokens needs 45.4 GFLOP per token with checkpointing and 30.7 without.

Where it sits: rehearsal, plan and benchmarks call it.
"""

from harness.budget.gpu_profile import GpuProfile
from harness.budget.memory import MISTRAL_7B, ModelShape
from harness.recipe import AxolotlConfig

PLAIN_SHARE = 0.70
"""Speed without fused LoRA kernels as a share of the speed with them. Source: 2,904 of 4,128 tokens/s on an A100 (IBM's
fms-acceleration, Mistral-7B QLoRA r 16, 4 x 4,096)."""

MEAN_CONTEXT_TOKENS = 160.0
"""Mean number of earlier tokens that a token attends to, in samples of 320 tokens."""


def flops_per_token(shape: ModelShape, *, r: int | None, checkpointing: bool, context: float = 0.0) -> float:
    """FLOP per token of a training step with a frozen base and rank-r adapters on all linear layers.

    Args:
        r: None: there are no adapters, and all weights are trained.
        context: Mean number of earlier tokens that a token attends to. A packed sample attends only to itself.
    """
    recomputed = 1 if checkpointing else 0
    base = 2 * shape.num_linear * ((3 if r is None else 2) + recomputed)
    head = 2 * shape.hidden * shape.vocab * (3 if r is None else 2)
    adapters = 2 * shape.num_lora(r or 0) * (3 + recomputed)
    attention = 4 * shape.layers * shape.attention * context * (3 + recomputed)
    return base + head + adapters + attention


def hardware_utilisation(tokens_per_s: float, per_token: float, card: GpuProfile) -> float | None:
    """Share of the card's dense bf16 peak, recomputation included; None if the peak is not known."""
    return tokens_per_s * per_token / (card.tflops * 1e12) if card.tflops else None


def estimated_tokens_per_s(
    card: GpuProfile, recipe: AxolotlConfig, shape: ModelShape = MISTRAL_7B, *, context: float = MEAN_CONTEXT_TOKENS
) -> float | None:
    """Estimated speed from a card's profile, at the low end of published speeds; None if the profile has no speed."""
    r, checkpointing = recipe.lora_r if recipe.weights.is_adapter else None, bool(recipe.gradient_checkpointing)
    per_token = flops_per_token(shape, r=r, checkpointing=checkpointing, context=context)
    if recipe.is_paired:
        per_token += 2 * (shape.num_linear + shape.hidden * shape.vocab)  # the reference's forward pass
    plain = PLAIN_SHARE if recipe.lora_qkv_kernel is False else 1.0
    return card.utilisation * card.tflops * 1e12 / per_token * plain or None
