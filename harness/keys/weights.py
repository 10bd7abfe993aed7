"""The weights that a recipe trains: an adapter on a base of 4, 8 or 16 bits, or the model itself.

    weights_of({"adapter": "lora", "load_in_8bit": True})      # Weights.LORA_8BIT

Where it sits: keys -> **weights** -> recipe, memory, checkpoints.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from harness.errors import ConfigError


class Weights(StrEnum):
    """What is trained."""

    QLORA = "qlora"
    """A LoRA adapter on a base whose linear layers are kept in 4 bits."""
    LORA = "lora"
    """A LoRA adapter on a base that is not quantised."""
    LORA_8BIT = "lora_8bit"
    """A LoRA adapter on a base whose linear layers are kept in 8 bits."""
    FULL = "full"
    """All weights of the model."""

    @property
    def is_adapter(self) -> bool:
        """Whether the base stays as it is."""
        return self is not Weights.FULL


def weights_of(values: Mapping[str, Any]) -> Weights:
    """The weights that a recipe's keys ask for.

    Raises:
        ConfigError: an adapter that the harness does not know, or a precision that does not go with it.
    """
    adapter = values.get("adapter") or None
    bits = [n for n in (4, 8) if values.get(f"load_in_{n}bit")]
    if len(bits) > 1:
        raise ConfigError("load_in_4bit and load_in_8bit are both true. Keep one.")
    if adapter is None:
        if bits:
            raise ConfigError(
                f"load_in_{bits[0]}bit: true without an adapter: quantised weights cannot be trained. Write adapter: "
                f"{'qlora' if bits[0] == 4 else 'lora'}, or remove the key to train all weights."
            )
        return Weights.FULL
    if adapter == "qlora":
        if values.get("load_in_4bit") is False or 8 in bits:
            wrong = "load_in_8bit: true" if 8 in bits else "load_in_4bit: false"
            raise ConfigError(f"adapter: qlora with {wrong}. QLoRA keeps its base in 4 bits; write adapter: lora.")
        return Weights.QLORA
    if adapter == "lora":
        if 4 in bits:
            raise ConfigError("adapter: lora with load_in_4bit: true. Only qlora loads 4 bits; write adapter: qlora.")
        return Weights.LORA_8BIT if bits else Weights.LORA
    raise ConfigError(f"adapter: {adapter} is none of ours. Use qlora or lora, or remove the key to train all weights.")


def check_layers(values: Mapping[str, Any]) -> None:
    """Refuses an adapter without layers, which Axolotl would hand to PEFT as an empty list.

    Raises:
        ConfigError: no key names a layer.
    """
    named = ("lora_target_linear", "lora_target_modules", "lora_target_parameters")
    if not any(values.get(key) for key in named):
        raise ConfigError("no layers for the adapter. Write lora_target_linear: true, or name lora_target_modules.")
    if not values.get("lora_r") and not values.get("peft"):
        raise ConfigError("no lora_r for the adapter. Write one, for example lora_r: 16 and lora_alpha: 32.")
