"""The GPU profile of a run: the one that the user names, else the one of the card in this machine.

    choice = choose_profile(None)
    choice.card.name, choice.reason      # "rtx4090", "found NVIDIA GeForce RTX 4090, 24.0 GiB"

Where it sits: doctor.card + gpu_profile -> **choice** -> job, doctor.
"""

import math
import os
import re
from dataclasses import dataclass

from harness.budget.gpu_profile import GPU_PROFILES, GpuProfile, get_gpu_profile
from harness.doctor.card import MIN_MEMORY_SHARE, VISIBLE, Gpu, GpuQuery, gpu_position, query_gpu

DRIVER_NAMES = {
    "rtx4090": r"RTX 4090$",
    "a100-40gb": r"\bA100\b",
    "a100-80gb": r"\bA100\b",
    "h100-80gb": r"\bH100\b",
    "h200": r"\bH200\b",
}
"""The driver's name of each profile's card. The card's memory must match the profile as well."""

MAX_MEMORY_SHARE = 1.1
"""Largest ratio of a card's memory to its profile's. A 4090 with 48 GiB is another card."""

NAMED_BY_USER = "named by `card=`"

ASSUMED_MEMORY_GIB = 24
"""Memory assumed for a card that matches no profile and whose memory the driver does not report."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileChoice:
    """A profile and the reason for it."""

    card: GpuProfile
    reason: str
    """Shown to the user and written to the manifest."""
    device: str = ""
    """CUDA_VISIBLE_DEVICES of the trainer; empty if it needs no value."""

    @property
    def sentence(self) -> str:
        """The choice in one line."""
        return f"card: {self.card.name} ({self.reason})"


def choose_profile(name: str | None) -> ProfileChoice:
    """The profile with this name; for None the one of the card in this machine, or `cpu` without a card.

    Raises:
        ConfigError: There is no profile with that name.
    """
    card = get_gpu_profile(name) if name is not None else None
    if card is not None and not card.is_gpu:
        return ProfileChoice(card=card, reason=NAMED_BY_USER)
    query = query_gpu()
    device = query.gpu.device if query.gpu else ""
    return ProfileChoice(card=card, reason=NAMED_BY_USER, device=device) if card else profile_for(query)


def profile_for(query: GpuQuery) -> ProfileChoice:
    """The profile of what was seen."""
    gpu = query.gpu
    if gpu is None:
        return ProfileChoice(card=get_gpu_profile("cpu"), reason=f"no GPU: {query.reason}; `card=` names another")
    card = profile_of(gpu)
    remarks = [f"{gpu.name_and_memory}, is here", *gpu_position(gpu, os.environ.get(VISIBLE))]
    if math.isnan(gpu.total_gib):
        remarks.append(f"{card.memory_gib:g} GiB are assumed; set `card=NAME-MEMORYgb` for another size")
    if not card.has_speed:
        remarks.append("its speed is not known before a rehearsal")
    return ProfileChoice(card=card, reason="; ".join(remarks), device=gpu.device)


def profile_of(gpu: Gpu | None) -> GpuProfile:
    """The profile that matches the card's name and memory, else a profile made from them."""
    if gpu is None:
        return get_gpu_profile("cpu")
    named = [GPU_PROFILES[name] for name, pattern in DRIVER_NAMES.items() if re.search(pattern, gpu.name)]
    if math.isnan(gpu.total_gib):
        return named[0] if named else get_gpu_profile(_described_name(gpu.name, ASSUMED_MEMORY_GIB))
    fitting = [c for c in named if MIN_MEMORY_SHARE <= gpu.total_gib / c.memory_gib <= MAX_MEMORY_SHARE]
    return fitting[0] if fitting else get_gpu_profile(_described_name(gpu.name, max(1, round(gpu.total_gib))))


def _described_name(name: str, memory_gib: int) -> str:
    """`NVIDIA L40S` with 45 GiB -> `l40s-45gb`, which `get_gpu_profile` parses."""
    words = re.sub(r"[^a-z0-9.]+", "-", re.sub(r"(?i)nvidia|geforce", "", name).lower()).strip("-.")
    return f"{words or 'gpu'}-{memory_gib}gb"
