"""A random LoRA model in this process, with switches for its kernels.

    model = LoraModel.build("mistral-7b", lora_r=128, four_bit=True)
    model.use(WINNER.but(fused_lora=True))
    loss = model.loss(batch)

The model never exists as a 16-bit copy: each linear is drawn and quantised on the GPU. The kernels are those of Axolotl
(fused LoRA functions, varlen attention) and Liger; only `packed_once` is our own. Data types follow Axolotl: adapters
in fp32 under autocast, everything else in bf16.
"""

import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MethodType
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from transformers import AttentionInterface, AutoModelForCausalLM, LlamaConfig, MistralConfig
from transformers.masking_utils import AttentionMaskInterface

from benchmarks.gpu.base import DEVIATION, SHAPES
from harness.budget.memory import ModelShape

GAIN = DEVIATION * 4_096**0.5
"""Standard deviation of a layer's output at any width. Weights of 0.02 make attention in a narrow model uniform."""

TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
ATTENTION = "switched"
"""Name under which our attention is registered with transformers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernels:
    """The kernels that a step uses."""

    attention: str = "varlen"
    """`dense`: a mask of all pairs of tokens; `varlen`: Axolotl's; `causal`: rows of one sample each."""
    packed_once: bool = False
    """The starts of samples are computed once per batch, not in every layer (twice with checkpointing)."""
    fused_lora: bool = False
    liger_norm: bool = False
    """Liger's RMSNorm and RoPE."""
    liger_loss: bool = False
    checkpointing: bool = True
    compiled: bool = False
    """Each layer runs under torch.compile, except attention."""

    def but(self, **changes: Any) -> "Kernels":
        """Returns a copy with changed fields."""
        return replace(self, **changes)


WINNER = Kernels()
"""Kernels of the 2023 winner: plain PEFT, and attention that separates samples, as the flash-attn package did."""

OURS = Kernels(fused_lora=True, liger_norm=True, liger_loss=True)
"""Kernels of the recommended recipe."""

Batch = Mapping[str, Tensor]
"""The tensors `input_ids`, `labels`, and `position_ids`, which start at 0 with each sample."""


class LoraModel:
    """A model with switches for its kernels. Create it with `build`."""

    def __init__(self, peft: Any, shape: ModelShape) -> None:
        self.peft, self.shape = peft, shape
        self.base = peft.get_base_model()
        self.attention = Attention()
        self._code = sys.modules[type(self.base).__module__]
        self._plain_rope = self._code.apply_rotary_pos_emb
        self._norms = [m for m in self.base.modules() if type(m).__name__.endswith("RMSNorm")]
        self.adapters = {name: p for name, p in peft.named_parameters() if p.requires_grad}

    @classmethod
    def build(
        cls, name: str, *, lora_r: int, four_bit: bool, lora_dtype: torch.dtype = torch.float32, dropout: float = 0.05
    ) -> "LoraModel":
        """Builds a model with random weights. LoRA's B is random too, so that A gets a gradient in the first step."""
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        kind = LlamaConfig if name.startswith("llama") else MistralConfig
        config = kind(**SHAPES[name], max_position_embeddings=32_768, dtype="bfloat16", use_cache=False)
        config.sliding_window = None
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")
        _patch_attention_forward(config)
        torch.manual_seed(0)
        _draw_weights(model, device, four_bit=four_bit)
        lora = LoraConfig(
            r=lora_r, lora_alpha=2 * lora_r, lora_dropout=dropout, target_modules=list(TARGETS), task_type="CAUSAL_LM"
        )
        peft = get_peft_model(model, lora, autocast_adapter_dtype=False)
        for parameter_name, parameter in peft.named_parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.to(device, lora_dtype)
                if "lora_B" in parameter_name:
                    parameter.data.normal_(std=DEVIATION / 4)
        heads = config.num_attention_heads
        shape = ModelShape(
            hidden=config.hidden_size, layers=config.num_hidden_layers, attention=config.hidden_size,
            kv=config.hidden_size // heads * config.num_key_value_heads, intermediate=config.intermediate_size,
            vocab=config.vocab_size,
        )  # fmt: skip
        built = cls(peft.train(), shape)
        built.attention.register(built.base)
        return built

    def use(self, kernels: Kernels) -> None:
        """Switches every kernel as given."""
        self.attention.kind, self.attention.once = kernels.attention, kernels.packed_once
        self._use_fused_lora(kernels.fused_lora)
        self._use_liger_norm(kernels.liger_norm)
        self._use_liger_loss(kernels.liger_loss)
        for layer in self.base.model.layers:
            layer._compiled_call_impl = None
            if kernels.compiled:
                layer.compile()
        if kernels.checkpointing:
            self.base.gradient_checkpointing_enable({"use_reentrant": False})
        else:
            self.base.gradient_checkpointing_disable()

    def _use_fused_lora(self, enabled: bool) -> None:
        from axolotl.kernels import lora
        from axolotl.monkeypatch import lora_kernels as plain

        for layer in self.base.model.layers:
            attention, mlp = layer.self_attn, layer.mlp
            attention.apply_qkv = MethodType(lora.apply_lora_qkv if enabled else plain.original_apply_qkv, attention)
            attention.apply_o = MethodType(lora.apply_lora_o if enabled else plain.original_apply_o, attention)
            _override(mlp, lora.apply_lora_mlp_swiglu if enabled else None)

    def _use_liger_norm(self, enabled: bool) -> None:
        from axolotl.monkeypatch import lora_kernels
        from liger_kernel.transformers.rms_norm import LigerRMSNorm
        from liger_kernel.transformers.rope import liger_rotary_pos_emb

        for module in (self._code, lora_kernels):  # the patched attention looks names up in its own module
            module.apply_rotary_pos_emb = liger_rotary_pos_emb if enabled else self._plain_rope
        for norm in self._norms:
            norm.offset, norm.casting_mode, norm.in_place, norm.row_mode = 0.0, "llama", True, None
            _override(norm, LigerRMSNorm.forward if enabled else None)

    def _use_liger_loss(self, enabled: bool) -> None:
        import importlib

        kind = self.base.config.model_type
        code = importlib.import_module(f"liger_kernel.transformers.model.{kind}")
        forward = getattr(code, "lce_forward", None) or getattr(code, f"{kind}_lce_forward")
        _override(self.base, forward if enabled else None)

    def loss(self, batch: Batch) -> Tensor:
        """Computes the loss under bf16 autocast, as Axolotl does."""
        self.attention.forget()
        with torch.autocast(self.base.device.type, torch.bfloat16):
            loss: Tensor = self.peft(**batch, use_cache=False).loss
        return loss

    def set_dropout(self, p: float) -> None:
        """Sets the dropout of all adapters."""
        for module in self.peft.modules():
            if isinstance(module, nn.Dropout):
                module.p = p


class Attention:
    """The attention function that transformers calls in each layer; `kind` selects the implementation."""

    def __init__(self) -> None:
        self.kind, self.once = "varlen", False
        self._starts: tuple[Tensor, int] | None = None
        self._mask: Tensor | None = None

    def register(self, model: Any) -> None:
        """Registers this object once with transformers; later switches change only its `kind`."""
        self._axolotl = _axolotl_varlen() if torch.cuda.is_available() else None
        AttentionInterface.register(ATTENTION, self)
        AttentionMaskInterface.register(ATTENTION, lambda *args, **kwargs: None)
        model.set_attn_implementation(ATTENTION)

    def forget(self) -> None:
        """Clears the values cached for a batch."""
        self._starts = self._mask = None

    @torch.compiler.disable
    def __call__(
        self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **rest: Any
    ) -> tuple[Tensor, None]:
        """Computes attention: [batch, heads, tokens, width] -> [batch, tokens, heads, width]."""
        if self.kind == "varlen" and not self.once:
            assert self._axolotl is not None, "varlen attention needs a GPU"
            out: tuple[Tensor, None] = self._axolotl(module, query, key, value, None, **rest)
            return out
        groups = query.shape[1] // key.shape[1]
        key, value = (x.repeat_interleave(groups, dim=1) for x in (key, value))
        if self.kind == "varlen":
            return self._varlen(query, key, value, rest["position_ids"]), None
        mask = self._dense(rest["position_ids"]) if self.kind == "dense" else None
        attended = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=mask is None)
        return attended.transpose(1, 2), None

    def _varlen(self, query: Tensor, key: Tensor, value: Tensor, position_ids: Tensor) -> Tensor:
        from torch.nn.attention.varlen import varlen_attn

        if self._starts is None:
            self._starts = sample_starts(position_ids)
        starts, longest = self._starts
        batch, heads, tokens, width = query.shape
        q, k, v = (x.transpose(1, 2).reshape(batch * tokens, heads, width) for x in (query, key, value))
        out = varlen_attn(q, k, v, starts, starts, longest, longest, window_size=(-1, 0))
        assert isinstance(out, Tensor)
        return out.reshape(batch, tokens, heads, width)

    def _dense(self, position_ids: Tensor) -> Tensor:
        if self._mask is None:
            from axolotl.monkeypatch.attention.sdpa_varlen import _block_diagonal_causal_mask

            self._mask = _block_diagonal_causal_mask(position_ids, position_ids.shape[-1])
        return self._mask


def sample_starts(position_ids: Tensor) -> tuple[Tensor, int]:
    """Returns the start of each sample in packed rows and the end of the last, and the length of the longest sample.

    >>> sample_starts(torch.tensor([[0, 1, 2, 0, 1], [0, 1, 2, 3, 4]]))
    (tensor([ 0,  3,  5, 10], dtype=torch.int32), 5)
    """
    flat = position_ids.flatten()
    starts = torch.cat([(flat == 0).nonzero().flatten(), torch.tensor([flat.numel()], device=flat.device)])
    return starts.to(torch.int32), int(flat.max()) + 1


def _axolotl_varlen() -> Callable[..., tuple[Tensor, None]]:
    from axolotl.monkeypatch.attention.sdpa_varlen import _build_varlen_forward
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    built: Callable[..., tuple[Tensor, None]] = _build_varlen_forward(ALL_ATTENTION_FUNCTIONS["sdpa"])
    return built


def _override(module: nn.Module, forward: Callable[..., Any] | None) -> None:
    """Replaces the `forward` of this module only; None restores that of its class."""
    module.__dict__.pop("forward", None)
    if forward is not None:
        module.forward = MethodType(forward, module)


def _patch_attention_forward(config: Any) -> None:
    """Patches the attention class as Axolotl does, to call `apply_qkv` and `apply_o`, which can be switched."""
    from axolotl.monkeypatch.lora_kernels import patch_self_attn_lora
    from axolotl.utils.dict import DictDefault

    with tempfile.TemporaryDirectory() as folder:
        config.save_pretrained(folder)
        patch_self_attn_lora(DictDefault({"base_model": folder}))


def _draw_weights(model: nn.Module, device: torch.device, *, four_bit: bool) -> None:
    """Replaces the weights on `meta` by random ones, one module at a time."""
    for name, module in _modules_with_weight(model):
        if isinstance(module, nn.Linear) and four_bit and name != "lm_head":
            parent, _, leaf = name.rpartition(".")
            setattr(model.get_submodule(parent), leaf, _random_linear4bit(module, device))
        else:
            weight = torch.empty(module.weight.shape, device=device, dtype=torch.bfloat16)
            weight = weight.fill_(1.0) if "norm" in name else weight.normal_(std=_deviation(module))
            module.weight = nn.Parameter(weight, requires_grad=False)
    inner: Any = model.model
    inner.rotary_emb = type(inner.rotary_emb)(model.config).to(device)
    if four_bit:
        model.is_loaded_in_4bit = True  # type: ignore[assignment]


def _deviation(module: nn.Module) -> float:
    return GAIN * int(module.in_features) ** -0.5 if isinstance(module, nn.Linear) else 1.0


def _modules_with_weight(model: nn.Module) -> Iterator[tuple[str, Any]]:
    for name, module in list(model.named_modules()):
        if getattr(module, "weight", None) is not None:
            yield name, module


def _random_linear4bit(linear: nn.Linear, device: torch.device) -> nn.Module:
    """Returns a random 4-bit linear as Axolotl 0.19 loads it: NF4 with double quantisation, in bf16 storage."""
    import bitsandbytes as bnb

    weight = torch.empty(linear.weight.shape, device=device, dtype=torch.bfloat16).normal_(std=_deviation(linear))
    quantised = bnb.nn.Linear4bit(
        linear.in_features, linear.out_features, bias=False, compute_dtype=torch.bfloat16, quant_type="nf4",
        compress_statistics=True, quant_storage=torch.bfloat16, device="meta",
    )  # fmt: skip
    quantised.weight = bnb.nn.Params4bit(
        weight, requires_grad=False, quant_type="nf4", compress_statistics=True, quant_storage=torch.bfloat16,
        module=quantised,
    ).to(device)  # fmt: skip
    if hasattr(quantised, "support_avx512bf16_for_cpu"):
        quantised.support_avx512bf16_for_cpu = False  # see core.model.libraries.disable_cpu_repack
    return quantised
