"""Which profile a run is planned for: the one that was named, else that of the card which is here.

    choice = choose_profile(None)
    choice.card.name, choice.how         # "rtx4090", "NVIDIA GeForce RTX 4090, 24.0 GiB, is here"

Where it sits: gpu + card -> **choice** -> job, doctor.
"""

import math
import os
import re
from dataclasses import dataclass

from harness.budget.gpu_profile import GPU_PROFILES, GpuProfile, get_gpu_profile
from harness.doctor.card import SMALLEST_SHARE, VISIBLE, Gpu, Sight, look, numbered

DRIVER_NAMES = {
    "rtx4090": r"RTX 4090$",
    "a100-40gb": r"\bA100\b",
    "a100-80gb": r"\bA100\b",
    "h100-80gb": r"\bH100\b",
    "h200": r"\bH200\b",
}
"""What the driver calls the cards of the profiles. The memory must be the profile's too."""

MAX_MEMORY_SHARE = 1.1
"""Of the memory that a profile names: a 4090 with 48 GiB is another card."""

NAMED_BY_USER = "named by `card=`"

ASSUMED_MEMORY_GIB = 24
"""Assumed of a card whose memory the driver does not tell, and whose name is no profile's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileChoice:
    """A profile, and why that one."""

    card: GpuProfile
    how: str
    """For people and for the record."""
    device: str = ""
    """What CUDA_VISIBLE_DEVICES must hold for the trainer; empty: nothing to be said."""

    @property
    def sentence(self) -> str:
        """One line."""
        return f"card: {self.card.name} ({self.how})"


def choose_profile(name: str | None) -> ProfileChoice:
    """The profile of this name; without one, that of the card that is here, or the CPU's.

    Raises:
        ConfigError: no profile of that name.
    """
    card = get_gpu_profile(name) if name is not None else None
    if card is not None and not card.is_gpu:
        return ProfileChoice(card=card, how=NAMED_BY_USER)
    sight = look()
    device = sight.gpu.device if sight.gpu else ""
    return ProfileChoice(card=card, how=NAMED_BY_USER, device=device) if card else profile_for(sight)


def profile_for(sight: Sight) -> ProfileChoice:
    """The profile of what was seen."""
    gpu = sight.gpu
    if gpu is None:
        return ProfileChoice(card=get_gpu_profile("cpu"), how=f"no GPU: {sight.why_not}; `card=` names another")
    card = profile_of(gpu)
    remarks = [f"{gpu.described}, is here", *numbered(gpu, os.environ.get(VISIBLE))]
    if math.isnan(gpu.total_gib):
        remarks.append(f"{card.memory_gib:g} GiB are assumed; `card=NAME-MEMORYgb` says otherwise")
    if not card.has_speed:
        remarks.append("its speed is not known before a rehearsal")
    return ProfileChoice(card=card, how="; ".join(remarks), device=gpu.device)


def profile_of(gpu: Gpu | None) -> GpuProfile:
    """The profile that the card's name and memory tell, else one made of them."""
    if gpu is None:
        return get_gpu_profile("cpu")
    named = [GPU_PROFILES[name] for name, pattern in DRIVER_NAMES.items() if re.search(pattern, gpu.name)]
    if math.isnan(gpu.total_gib):
        return named[0] if named else get_gpu_profile(_made_name(gpu.name, ASSUMED_MEMORY_GIB))
    fitting = [c for c in named if SMALLEST_SHARE <= gpu.total_gib / c.memory_gib <= MAX_MEMORY_SHARE]
    return fitting[0] if fitting else get_gpu_profile(_made_name(gpu.name, max(1, round(gpu.total_gib))))


def _made_name(name: str, memory_gib: int) -> str:
    """`NVIDIA L40S` with 45 GiB -> `l40s-45gb`, which get_gpu_profile understands on any machine."""
    words = re.sub(r"[^a-z0-9.]+", "-", re.sub(r"(?i)nvidia|geforce", "", name).lower()).strip("-.")
    return f"{words or 'gpu'}-{memory_gib}gb"
