"""The peak memory of a training step, computed from the model's shape and the recipe.

    >>> peak = peak_memory(MISTRAL_7B, lora_r=128, tokens=2 * 8192, fused=True, liger=True)
    >>> round(peak.gib, 1)
    18.0

It is the sum of the frozen weights, the adapters with gradients and Adam's two states in fp32, and, for each token of a
micro-batch, one saved hidden state per layer (gradient checkpointing) plus the larger of the logits and one layer's
activations. It was not measured on a card; published runs needed up to a tenth more, and plans use that high end. The
rehearsal measures the real peak.

Where it sits: the rehearsal calls it when something does not fit; plans call it for a card that is not in this machine.
"""

import json
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

from harness.budget.gpu_profile import GpuProfile
from harness.errors import ConfigError
from harness.keys.weights import Weights
from harness.recipe import AxolotlConfig

GIB = 2.0**30

LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""The linear layers of a decoder layer, in the order of `ModelShape.linears`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelShape:
    """The sizes of a decoder that determine its memory."""

    hidden: int
    layers: int
    attention: int
    """Total width of the attention heads."""
    kv: int
    """Total width of the keys, which is that of the values."""
    intermediate: int
    vocab: int
    tied: bool = False
    """Whether embedding and output layer share their weights."""

    @property
    def linears(self) -> tuple[tuple[int, int], ...]:
        """The (in, out) sizes of a layer's seven linear layers: q, k, v, o, gate, up, down."""
        h, a, k, i = self.hidden, self.attention, self.kv, self.intermediate
        return ((h, a), (h, k), (h, k), (a, h), (h, i), (h, i), (i, h))

    @property
    def num_linear(self) -> int:
        """Number of parameters of the linear layers, which are those that are quantised."""
        return self.layers * sum(a * b for a, b in self.linears)

    def num_lora(self, r: int, targets: Collection[str] = LINEARS) -> int:
        """Number of parameters of rank-r adapters on the linear layers `targets`."""
        return (
            self.layers * r * sum(a + b for name, (a, b) in zip(LINEARS, self.linears, strict=True) if name in targets)
        )

    @classmethod
    def of(cls, folder: Path) -> "ModelShape":
        """The shape in a model folder's `config.json`.

        Raises:
            ConfigError: The file is missing or describes another architecture.
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
            raise ConfigError(f"{folder}/config.json: the sizes of a decoder are missing ({e}). Check `base=`.") from e


MISTRAL_7B = ModelShape(hidden=4096, layers=32, attention=4096, kv=1024, intermediate=14336, vocab=32000)

CUDA_CONTEXT_BYTES = 0.9e9
"""Memory of CUDA's context and the allocator's fragmentation. Estimated."""

LOGIT_BYTES = 18
"""Bytes per entry of the logits: bf16, an fp32 copy, its softmax, its gradient, and half of a shifted copy. Values of
17 to 19 reproduce the longest contexts published for cards of 24, 40 and 80 GB (Unsloth, Llama-3.1-8B)."""

MEMORY_MARGIN = 1.10
"""Largest ratio of a published peak to the one computed here. See tests/harness/test_published.py."""

LAYER_BYTES, LAYER_BYTES_FUSED = 450_000, 227_500
"""Bytes of one layer's activations per token of Mistral-7B; Axolotl's fused LoRA kernels need about half. Computed."""


WEIGHT_BYTES = {Weights.QLORA: 0.5 + 1 / 64, Weights.LORA_8BIT: 1.0, Weights.LORA: 2.0, Weights.FULL: 2.0}
"""Bytes of a weight of the linear layers. Double quantisation adds one byte for 64 weights."""

GRADIENT_BYTES = 2.0
"""Of a weight that is trained in bf16, as Axolotl loads a model whose weights are all trained."""


ADAPTER_BYTES = 4 + 4 + 8 + 2.0
"""Of an adapter's weight: itself and its gradient in fp32, Adam's two states, and the copy that autocast makes."""


def state_bytes(optimizer: str) -> float:
    """Bytes that an optimizer keeps for a weight in bf16: two states, in the precision that its name says."""
    by_name = {"32bit": 8.0, "8bit": 2.0, "4bit": 1.0, "sgd": 0.0, "adafactor": 0.0}
    return next((size for part, size in by_name.items() if part in optimizer), 4.0)


MIN_SEQUENCE_LEN = 1_024
"""Shortest sequence length that is suggested when a recipe does not fit a card."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComputedPeak:
    """The bytes in use at the peak of a step."""

    weights: float
    trained: float
    """Adapters with gradients, Adam's states and the autocast copies; of all weights, gradients and states."""
    buffers: float
    activations: float

    @property
    def gib(self) -> float:
        """The total in GiB."""
        return (self.weights + self.trained + self.buffers + self.activations) / GIB

    @property
    def most_gib(self) -> float:
        """The total in GiB at the high end of published runs, which plans use."""
        return MEMORY_MARGIN * self.gib


def peak_memory(
    shape: ModelShape,
    *,
    lora_r: int,
    tokens: int,
    fused: bool,
    liger: bool,
    checkpointing: bool = True,
    weights: Weights = Weights.QLORA,
    optimizer: str = "paged_adamw_32bit",
    targets: Collection[str] = LINEARS,
) -> ComputedPeak:
    """The peak memory of a step.

    Args:
        tokens: Tokens of a micro-batch: rows times sequence length.
        fused: Whether Axolotl's fused LoRA kernels run.
        liger: Whether the cross-entropy is fused with the output layer, so that the logits never exist as a whole.
        optimizer: Of all weights; an adapter's states are counted in fp32 whatever they are.
        targets: Linear layers that have an adapter.
    """
    embeddings = shape.vocab * shape.hidden * 2.0 * (1 if shape.tied else 2)
    if weights.is_adapter:
        trained = shape.num_lora(lora_r, targets) * ADAPTER_BYTES
    else:
        trained = (shape.num_linear + embeddings / 2) * (GRADIENT_BYTES + state_bytes(optimizer))
    is_quantised = weights in (Weights.QLORA, Weights.LORA_8BIT)
    layer = (LAYER_BYTES_FUSED if fused else LAYER_BYTES) * _width(shape) / _width(MISTRAL_7B)
    logits = 0.0 if liger else shape.vocab * float(LOGIT_BYTES)
    saved = shape.layers * shape.hidden * 2.0
    per_token = saved + max(logits, layer) if checkpointing else shape.layers * layer + logits
    return ComputedPeak(
        weights=shape.num_linear * WEIGHT_BYTES[weights] + embeddings,
        trained=trained,
        buffers=2 * 2.0 * max(a * b for a, b in shape.linears) * is_quantised + CUDA_CONTEXT_BYTES,
        activations=tokens * per_token,
    )


def _width(shape: ModelShape) -> float:
    """The width to which the size of a layer's activations is proportional."""
    return 4.0 * shape.hidden + 2 * shape.attention + 2 * shape.kv + 3 * shape.intermediate


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryReduction:
    """A change of the recipe that needs less memory."""

    changes: dict[str, object]
    """Keys of the recipe and their new values."""
    gib: float
    """Computed peak with these values."""

    def __str__(self) -> str:
        """The keys as they are written in a recipe, and the peak."""
        return ", ".join(f"{key}: {value}" for key, value in self.changes.items()) + f" ({self.gib:.1f} GiB)"


def memory_reductions(recipe: AxolotlConfig, shape: ModelShape, card: GpuProfile) -> list[MemoryReduction]:
    """Changes that lower the computed peak, in the order of their cost in speed, each on top of those before it.

    The result holds those that fit the card, or all of them if none does. Kernels and checkpointing come before a
    smaller micro-batch, which gradient accumulation compensates. A shorter sequence comes last because it drops rows.
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
    current_gib = recipe_peak_memory(recipe, shape).gib
    changes: dict[str, object] = {}
    reductions = []
    for step in steps:
        changes = {**changes, **step}
        gib = recipe_peak_memory(recipe.model_copy(update=changes), shape).gib
        if gib < current_gib:
            reductions.append(MemoryReduction(changes=changes, gib=gib))
    return [r for r in reductions if MEMORY_MARGIN * r.gib < card.memory_gib] or reductions


def recipe_peak_memory(recipe: AxolotlConfig, shape: ModelShape) -> ComputedPeak:
    """The peak memory of a recipe on a GPU."""
    fused = recipe.lora_qkv_kernel is not False and recipe.lora_mlp_kernel is not False
    peak = peak_memory(
        shape,
        lora_r=recipe.lora_r or 0,
        tokens=recipe.micro_batch_size * recipe.sequence_len * (2 if recipe.is_paired else 1),
        fused=fused,
        liger=bool(recipe.liger_fused_linear_cross_entropy) and not recipe.is_paired,
        checkpointing=bool(recipe.gradient_checkpointing),
        weights=recipe.weights,
        optimizer=recipe.optimizer,
        targets=LINEARS if recipe.lora_target_linear else recipe.target_modules or LINEARS,
    )
    if recipe.ema_decay is not None:
        peak = replace(peak, trained=peak.trained * (1 + 4 / ADAPTER_BYTES))
    has_reference = recipe.is_paired and not recipe.weights.is_adapter  # an adapter's reference is its base
    return replace(peak, weights=2 * peak.weights) if has_reference else peak
