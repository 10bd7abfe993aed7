"""GPU profiles: the memory and the speed of a card.

>>> get_gpu_profile("rtx4090").memory_gib
24.0
>>> get_gpu_profile("l40s-45gb").memory_gib
45.0
"""

import re
from dataclasses import dataclass

from harness.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuProfile:
    """A kind of card, or the CPU."""

    name: str
    memory_gib: float
    """Memory of the card. 0 for the CPU, where memory does not limit the tiny runs."""
    bf16: bool
    """Whether the card computes in bf16."""
    tflops: float
    """Dense bf16 with fp32 accumulation, from the vendor's data sheet. 0 if not known."""
    utilisation: float = 0.0
    """Share of `tflops` that a fused QLoRA step reaches, recomputation included: the low end of published values for
    this kind of card. An estimate, not a measurement. 0 if not known."""
    bandwidth_gb_s: float = 0.0
    """Memory bandwidth, from the vendor's data sheet. 0 if not known."""
    bandwidth_share: float = 0.0
    """Share of `bandwidth_gb_s` that decoding reaches: the low end of published values. An estimate, not a measurement.
    0 if not known."""
    is_gpu: bool = True

    @property
    def has_speed(self) -> bool:
        """Whether a speed can be estimated without a rehearsal."""
        return self.tflops > 0 and self.utilisation > 0


# The bandwidth's share comes from published decoding speeds, which are in tests/harness/test_published_inference.py:
# llama.cpp reaches 87 % on a 4090 with one answer at a time, lmdeploy 55 to 68 % on an A100 with one to 64. No figure
# was found for the others: they have the A100's share.
# The utilisation comes from published tokens/s, which are in tests/harness/test_published.py: torchtune's 8B QLoRA on a
# 4090 reaches 68 %, IBM's fused Mistral-7B QLoRA on an A100 62 %, NVIDIA's 8B LoRA on an H100 41 %.
GPU_PROFILES = {
    card.name: card
    for card in (
        GpuProfile(name="cpu", memory_gib=0.0, bf16=False, tflops=0.0, is_gpu=False),
        GpuProfile(
            name="rtx4090",
            memory_gib=24.0,
            bf16=True,
            tflops=165.2,
            utilisation=0.64,
            bandwidth_gb_s=1008.0,
            bandwidth_share=0.75,
        ),
        GpuProfile(
            name="a100-40gb",
            memory_gib=40.0,
            bf16=True,
            tflops=312.0,
            utilisation=0.60,
            bandwidth_gb_s=1555.0,
            bandwidth_share=0.6,
        ),
        GpuProfile(
            name="a100-80gb",
            memory_gib=80.0,
            bf16=True,
            tflops=312.0,
            utilisation=0.60,
            bandwidth_gb_s=2039.0,
            bandwidth_share=0.6,
        ),
        GpuProfile(
            name="h100-80gb",
            memory_gib=80.0,
            bf16=True,
            tflops=989.0,
            utilisation=0.40,
            bandwidth_gb_s=3350.0,
            bandwidth_share=0.6,
        ),
        GpuProfile(
            name="h200",
            memory_gib=141.0,
            bf16=True,
            tflops=989.0,
            utilisation=0.40,
            bandwidth_gb_s=4800.0,
            bandwidth_share=0.6,
        ),
    )
}

_OTHER_CARD = re.compile(r"[a-z0-9][a-z0-9.-]*-(\d{1,4})gb")
"""`NAME-MEMORYgb`: the profile of any other card. Its speed is not known before the rehearsal."""


def get_gpu_profile(name: str) -> GpuProfile:
    """The profile with this name, or the one that a name of the form `NAME-MEMORYgb` describes.

    Raises:
        ConfigError: The name is unknown.
    """
    if name in GPU_PROFILES:
        return GPU_PROFILES[name]
    match = _OTHER_CARD.fullmatch(name)
    if match is None or int(match.group(1)) == 0:
        raise ConfigError(
            f"`card={name[:60]}`: unknown card. Use {', '.join(GPU_PROFILES)}, or NAME-MEMORYgb for another one, such "
            "as l40s-45gb."
        )
    return GpuProfile(name=name, memory_gib=float(match.group(1)), bf16=True, tflops=0.0)
