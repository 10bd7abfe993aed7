"""The speed at which a card answers few-shot prompts, computed from its FLOP/s and its memory bandwidth.

    speed = inference_speed(get_gpu_profile("rtx4090"), MISTRAL_7B, Serving.of("openai", batch_size=64))
    seconds = speed.seconds(PromptLoad(...))

Prefill is limited by FLOP/s, decoding by the bandwidth: each step reads the weights, and the keys and values of every
prompt of the batch. A prefix that prompts share is read once per `reused_by` prompts. Computed, not measured; the
shares of the peaks are at the low end of published figures, which are in tests/harness/test_published_inference.py.

Where it sits: below the dry run of curation; it needs no card.
"""

from dataclasses import dataclass

from harness.budget.gpu_profile import GpuProfile
from harness.budget.memory import GIB, ModelShape

EAGER_STEP_S = 0.040
"""Least seconds of a decoding step in plain PyTorch with 32 layers: launching kernels takes longer than running them.
Source: Llama-7B on an A100 gave a tenth of gpt-fast's 244.7 tokens/s before anything was compiled (PyTorch, 2023)."""

EAGER_LAYERS = 32

KV_BYTES = 2.0
"""Bytes of a key or value in bf16."""

SERVER_MEMORY_SHARE = 0.9
"""Share of a card's memory that a server uses for weights, keys and values: the default of vLLM."""

MOST_AT_ONCE = 256
"""Largest number of prompts that a server decodes together: the default of vLLM's `max_num_seqs` for years."""

WEIGHT_BYTES = {"fp32": 4.0, "bf16": 2.0, "8bit": 1.0, "4bit": 0.5 + 1 / 64}
"""By the name of a precision."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """How an engine batches."""

    batch_size: int
    """Prompts that are decoded together."""
    is_continuous: bool
    """Whether a finished answer makes room for the next prompt. If not, a batch takes as long as its longest answer."""
    step_s: float
    """Least seconds of a decoding step of `EAGER_LAYERS` layers."""
    weight_bytes: float = 2.0
    """Bytes of a weight of the linear layers."""

    @classmethod
    def of(cls, predictor: str, *, batch_size: int, precision: str | None = None) -> "Serving":
        """Of curation's engines: `openai` is a server with continuous batching, the others run in plain PyTorch."""
        is_server = predictor.endswith("openai")
        return cls(
            batch_size=min(batch_size, MOST_AT_ONCE),
            is_continuous=is_server,
            step_s=0.0 if is_server else EAGER_STEP_S,
            weight_bytes=WEIGHT_BYTES[precision or "bf16"],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptLoad:
    """Prompts that share a prefix."""

    num_prompts: int
    shared_tokens: int
    own_tokens: float
    """Mean tokens of a prompt after the prefix."""
    answer_tokens: float
    """Mean new tokens."""
    longest_answer: float
    """New tokens of the longest answer of a batch."""
    reused_by: int
    """Number of prompts for which the prefix is read once; 1 without reuse."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InferenceSpeed:
    """What a card and an engine do with a model."""

    flops: float
    """FLOP/s of prefill."""
    bytes_per_s: float
    """Bandwidth of decoding."""
    shape: ModelShape
    serving: Serving
    memory_gib: float

    def seconds(self, load: PromptLoad) -> float:
        """Seconds for all prompts of a load."""
        return load.num_prompts * (self._prefill_s(load) + self._decode_s(load))

    def _prefill_s(self, load: PromptLoad) -> float:
        """Of one prompt, with its part of the shared prefix."""
        shared = self._flop(load.shared_tokens, before=0) / load.reused_by
        return (shared + self._flop(load.own_tokens, before=load.shared_tokens)) / self.flops

    def _flop(self, tokens: float, *, before: float) -> float:
        """FLOP to read tokens that stand after `before` others. Logits are computed for the last one only."""
        attention = 4 * self.shape.layers * self.shape.attention * (before + tokens / 2)
        return tokens * (2 * self.shape.num_linear + attention)

    def _decode_s(self, load: PromptLoad) -> float:
        """Of one prompt, as its part of a batch."""
        context = load.shared_tokens + load.own_tokens + load.answer_tokens / 2
        batch = self._batch(load, context)
        weights = self.shape.num_linear * self.serving.weight_bytes + 2.0 * self.shape.vocab * self.shape.hidden
        cache = batch * context * self._kv_bytes_per_token()
        step_s = max((weights + cache) / self.bytes_per_s, self.serving.step_s * self.shape.layers / EAGER_LAYERS)
        steps = load.answer_tokens if self.serving.is_continuous else load.longest_answer
        return steps * step_s / batch

    def _batch(self, load: PromptLoad, context: float) -> float:
        """Prompts that are decoded together; at most what the card's memory holds."""
        weights = self.shape.num_linear * self.serving.weight_bytes + 4.0 * self.shape.vocab * self.shape.hidden
        room = SERVER_MEMORY_SHARE * self.memory_gib * GIB - weights
        held = room / (context * self._kv_bytes_per_token())
        return max(1.0, min(float(self.serving.batch_size), load.num_prompts, held))

    def _kv_bytes_per_token(self) -> float:
        return 2 * self.shape.layers * self.shape.kv * KV_BYTES


def inference_speed(card: GpuProfile, shape: ModelShape, serving: Serving) -> InferenceSpeed | None:
    """None if the profile has no speed."""
    if not card.has_speed or not card.bandwidth_gb_s:
        return None
    return InferenceSpeed(
        flops=card.utilisation * card.tflops * 1e12,
        bytes_per_s=card.bandwidth_share * card.bandwidth_gb_s * 1e9,
        shape=shape,
        serving=serving,
        memory_gib=card.memory_gib,
    )
