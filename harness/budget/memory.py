"""Memory: what a QLoRA step needs at its peak, computed from the model's shape and the recipe.

    >>> peak = peak_memory(MISTRAL_7B, lora_r=128, tokens=2 * 8192, fused=True, liger=True)
    >>> round(peak.gib, 1)
    18.0

The frozen weights, the adapters with gradients and Adam's two states in fp32, and per token of a micro-batch one saved
hidden state a layer (gradient checkpointing) with the largest of logits and one layer's activations on top. This is
computed, never measured on a card by us; published runs needed up to a tenth more, and plans keep to that. The
rehearsal measures.

Where it sits: asked by the rehearsal when something does not fit, and by plans for a card that is not at hand.
"""

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from harness.budget.gpu_profile import GpuProfile
from harness.errors import ConfigError
from harness.recipe import AxolotlConfig

GIB = 2.0**30

LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""Of a layer, in the order of `ModelShape.linears`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelShape:
    """The sizes that decide memory."""

    hidden: int
    layers: int
    attention: int
    """Width of all heads together."""
    kv: int
    """Width of keys, or of values."""
    intermediate: int
    vocab: int
    tied: bool = False
    """Embedding and output share their weights."""

    @property
    def linears(self) -> tuple[tuple[int, int], ...]:
        """(in, out) of a layer's seven linears: q, k, v, o, gate, up, down."""
        h, a, k, i = self.hidden, self.attention, self.kv, self.intermediate
        return ((h, a), (h, k), (h, k), (a, h), (h, i), (h, i), (i, h))

    @property
    def num_linear(self) -> int:
        """Parameters that are quantised."""
        return self.layers * sum(a * b for a, b in self.linears)

    def num_lora(self, r: int, targets: Collection[str] = LINEARS) -> int:
        """Parameters of rank-r adapters on the linears named."""
        return (
            self.layers * r * sum(a + b for name, (a, b) in zip(LINEARS, self.linears, strict=True) if name in targets)
        )

    @classmethod
    def of(cls, folder: Path) -> "ModelShape":
        """From a model folder's `config.json`.

        Raises:
            ConfigError: none there, or of another architecture.
        """
        try:
            config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            heads = config["num_attention_heads"]
            head_dim = config.get("head_dim") or config["hidden_size"] // heads
            return cls(
                hidden=config["hidden_size"],
                layers=config["num_hidden_layers"],
                attention=heads * head_dim,
                kv=config.get("num_key_value_heads", heads) * head_dim,
                intermediate=config["intermediate_size"],
                vocab=config["vocab_size"],
                tied=bool(config.get("tie_word_embeddings", False)),
            )
        except (OSError, ValueError, KeyError, TypeError) as e:
            raise ConfigError(f"{folder}/config.json: no decoder's sizes in it ({e}). Check `base=`.") from e


MISTRAL_7B = ModelShape(hidden=4096, layers=32, attention=4096, kv=1024, intermediate=14336, vocab=32000)

CUDA_CONTEXT_BYTES = 0.9e9
"""CUDA's own, and what the allocator loses. Estimated."""

LOGIT_BYTES = 18
"""Per entry of the logits: bf16, an fp32 copy, its softmax, its gradient, and half of a shifted copy. The longest
contexts published for cards of 24, 40 and 80 GB (Unsloth, Llama-3.1-8B) are met with 17 to 19."""

MEMORY_MARGIN = 1.10
"""By how much a published run needed more than is computed here, at most. See tests/harness/test_published.py."""

LAYER_BYTES, LAYER_BYTES_FUSED = 450_000, 227_500
"""Of one layer's activations a token of Mistral-7B; with Axolotl's fused LoRA kernels about half. Computed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComputedPeak:
    """Bytes at the worst moment of a step."""

    weights: float
    adapters: float
    """With gradients, Adam's states and the autocast copies."""
    buffers: float
    activations: float

    @property
    def gib(self) -> float:
        """All of it."""
        return (self.weights + self.adapters + self.buffers + self.activations) / GIB

    @property
    def most_gib(self) -> float:
        """The high end: what a plan keeps to."""
        return MEMORY_MARGIN * self.gib


def peak_memory(
    shape: ModelShape,
    *,
    lora_r: int,
    tokens: int,
    fused: bool,
    liger: bool,
    checkpointing: bool = True,
    four_bit: bool = True,
    targets: Collection[str] = LINEARS,
) -> ComputedPeak:
    """The peak of a step.

    Args:
        tokens: Of a micro-batch: rows times sequence length.
        fused: Axolotl's fused LoRA kernels.
        liger: Fused linear cross-entropy: the logits never exist whole.
        targets: Linears that have an adapter.
    """
    bits = 0.5 + 1 / 64 if four_bit else 2.0  # with double quantisation: one byte for 64 weights
    embeddings = shape.vocab * shape.hidden * 2.0 * (1 if shape.tied else 2)
    layer = (LAYER_BYTES_FUSED if fused else LAYER_BYTES) * _width(shape) / _width(MISTRAL_7B)
    logits = 0.0 if liger else shape.vocab * float(LOGIT_BYTES)
    saved = shape.layers * shape.hidden * 2.0
    per_token = saved + max(logits, layer) if checkpointing else shape.layers * layer + logits
    return ComputedPeak(
        weights=shape.num_linear * bits + embeddings,
        adapters=shape.num_lora(lora_r, targets) * (4 + 4 + 8 + 2.0),
        buffers=2 * 2.0 * max(a * b for a, b in shape.linears) * four_bit + CUDA_CONTEXT_BYTES,
        activations=tokens * per_token,
    )


def _width(shape: ModelShape) -> float:
    """What a layer's activations grow with."""
    return 4.0 * shape.hidden + 2 * shape.attention + 2 * shape.kv + 3 * shape.intermediate


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryReduction:
    """A way to need less."""

    changes: dict[str, object]
    """Keys of the recipe."""
    gib: float
    """Computed peak."""

    def __str__(self) -> str:
        """As it would stand in the recipe."""
        return ", ".join(f"{key}: {value}" for key, value in self.changes.items()) + f" ({self.gib:.1f} GiB)"


def memory_reductions(recipe: AxolotlConfig, shape: ModelShape, card: GpuProfile) -> list[MemoryReduction]:
    """Settings that need less than the recipe's, by computed peak, the one that costs least speed first.

    Those that fit the card; if none is computed to, all.

    Kernels and checkpointing come before a smaller micro-batch, whose tokens gradient accumulation makes up for; a
    shorter sequence comes last, for it drops rows.
    """
    steps: list[dict[str, object]] = []
    if card.is_gpu and not recipe.liger_fused_linear_cross_entropy:
        steps.append({"liger_fused_linear_cross_entropy": True})
    if not recipe.gradient_checkpointing:
        steps.append({"gradient_checkpointing": True})
    size, accumulation = recipe.micro_batch_size, recipe.gradient_accumulation_steps
    while size > 1:
        size, accumulation = size // 2, accumulation * 2
        steps.append({"micro_batch_size": size, "gradient_accumulation_steps": accumulation})
    length = recipe.sequence_len
    while length > MIN_SEQUENCE_LEN:
        length //= 2
        steps.append({"sequence_len": length})
    now = recipe_peak_memory(recipe, shape).gib
    changes: dict[str, object] = {}
    found = []
    for step in steps:  # each on top of those before it
        changes = {**changes, **step}
        gib = recipe_peak_memory(recipe.model_copy(update=changes), shape).gib
        if gib < now:
            found.append(MemoryReduction(changes=changes, gib=gib))
    return [s for s in found if MEMORY_MARGIN * s.gib < card.memory_gib] or found


MIN_SEQUENCE_LEN = 1_024


def recipe_peak_memory(recipe: AxolotlConfig, shape: ModelShape) -> ComputedPeak:
    """Of a recipe on a GPU."""
    fused = recipe.lora_qkv_kernel is not False and recipe.lora_mlp_kernel is not False
    return peak_memory(
        shape,
        lora_r=recipe.lora_r,
        tokens=recipe.micro_batch_size * recipe.sequence_len,
        fused=fused,
        liger=bool(recipe.liger_fused_linear_cross_entropy),
        checkpointing=recipe.gradient_checkpointing,
        four_bit=recipe.load_in_4bit,
        targets=LINEARS if recipe.lora_target_linear else recipe.lora_target_modules or (),
    )
