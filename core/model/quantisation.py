"""How a base model's weights are stored in memory: in 4 or 8 bits or not quantised, and in which type they compute.

    Quantisation.of("4bit", on_gpu=True).describe()

An adapter must be used with the quantisation that it was trained with, because it also corrects the rounding errors.

Where it sits: below language_model; torch is imported where it is needed.
"""

from dataclasses import dataclass
from typing import Any, Literal

Precision = Literal["fp32", "bf16", "8bit", "4bit"]
"""The choices of a user. `4bit` is NF4 with double quantisation, `8bit` is LLM.int8(). Both compute in bf16 on a GPU,
in fp32 on a CPU."""

ComputeDtype = Literal["float32", "bfloat16", "float16"]
_PRECISIONS = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantisation:
    """How the weights are stored."""

    load_in_4bit: bool
    compute_dtype: ComputeDtype
    """Type of the matrix products, and of weights that are not quantised."""
    quant_type: Literal["nf4", "fp4"] = "nf4"
    double_quant: bool = True
    """Whether the scales of the blocks are quantised too. Source: these defaults are Axolotl 0.19's for QLoRA."""
    load_in_8bit: bool = False

    @classmethod
    def of(cls, precision: Precision | None, *, on_gpu: bool) -> "Quantisation":
        """The quantisation of a precision on a device. None: not quantised, bf16 on a GPU, fp32 on a CPU."""
        native: ComputeDtype = "bfloat16" if on_gpu else "float32"
        named: dict[Precision | None, ComputeDtype] = {"fp32": "float32", "bf16": "bfloat16"}
        return cls(
            load_in_4bit=precision == "4bit",
            load_in_8bit=precision == "8bit",
            compute_dtype=named.get(precision, native),
        )

    @property
    def is_quantised(self) -> bool:
        """Whether the linear layers are stored in fewer bits than they compute in."""
        return self.load_in_4bit or self.load_in_8bit

    @property
    def precision(self) -> str:
        """`fp32`, `bf16`, `fp16`, `8bit` or `4bit`."""
        if self.is_quantised:
            return "4bit" if self.load_in_4bit else "8bit"
        return _PRECISIONS[self.compute_dtype]

    def describe(self) -> str:
        """A description for the user."""
        if not self.is_quantised:
            return f"not quantised, {self.compute_dtype}"
        if self.load_in_8bit:
            return f"8 bits (LLM.int8), computed in {self.compute_dtype}"
        double = " with double quantisation" if self.double_quant else ""
        return f"4 bits ({self.quant_type.upper()}{double}), computed in {self.compute_dtype}"

    def load_options(self) -> dict[str, Any]:
        """Arguments of transformers' `from_pretrained`."""
        import torch

        compute = getattr(torch, self.compute_dtype)
        if not self.is_quantised:
            return {"dtype": compute}
        from transformers import BitsAndBytesConfig

        if self.load_in_8bit:
            return {"dtype": compute, "quantization_config": BitsAndBytesConfig(load_in_8bit=True)}
        quantised = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type=self.quant_type,
            bnb_4bit_use_double_quant=self.double_quant,
            bnb_4bit_compute_dtype=compute,
            bnb_4bit_quant_storage=torch.bfloat16,  # as in Axolotl; it changes no value
        )
        return {"dtype": compute, "quantization_config": quantised}
