"""Recipes for a GPU, changed so that a CPU runs them."""

from collections.abc import Mapping
from typing import Any

from harness.keys.needs import GPU_PLUGINS, gpu_keys

ON_CPU: Mapping[str, Any] = {"optimizer": "adamw_torch", "gradient_checkpointing": True, "attn_implementation": "sdpa"}
"""What stands for them on a CPU; the others are left out."""


def without_gpu_keys(values: Mapping[str, Any]) -> dict[str, Any]:
    """The same recipe for a CPU: an optimizer of torch, torch's attention, no kernels of a GPU."""
    plugins = [name for name in values.get("plugins") or [] if not name.startswith(GPU_PLUGINS)]
    asked = gpu_keys(values)
    kept = {key: ON_CPU.get(key) if key in asked else value for key, value in values.items()}
    return {key: value for key, value in (kept | {"plugins": plugins or None}).items() if value is not None}
