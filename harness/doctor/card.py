"""The card in this machine, as the driver sees it: is it the one that was named, and does anybody else use it?

    look().gpu.name, look().why_not        # "NVIDIA GeForce RTX 4090", ""
    check_gpu(get_gpu_profile("rtx4090"), find_gpu())

Where it sits: before the rehearsal loads anything.
"""

import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import metadata

from harness.budget.gpu_profile import GpuProfile
from harness.doctor.nvidia_smi import MigDevice, ask, fields_of, mig_device, mig_devices
from harness.errors import ConfigError, TrainError

MOST_OCCUPIED_GIB = 1.5
"""A desktop's own use of its card; more than that, and neither memory nor speed are ours."""

SMALLEST_SHARE = 0.9
"""Of the memory a profile names that a card of that kind shows: drivers keep some."""

VISIBLE = "CUDA_VISIBLE_DEVICES"
UNNAMED = "GPU"
"""A card whose name the driver does not tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One card, or the part of one that MIG gives."""

    name: str
    total_gib: float
    """Not a number where the driver does not tell."""
    used_gib: float
    driver: str
    processes: tuple[str, ...]
    """Of others: pid, name and memory. Empty in a container that cannot see them."""
    device: str = ""
    """What CUDA_VISIBLE_DEVICES must hold for this one alone: its UUID, else its number."""
    num_gpus: int = 1
    """That the driver lists."""

    @property
    def described(self) -> str:
        """Name and memory."""
        memory = "memory not told" if math.isnan(self.total_gib) else f"{self.total_gib:.1f} GiB"
        return f"{self.name}, {memory}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What was seen of a card."""

    gpu: Gpu | None
    why_not: str = ""
    """In a few words, if there is none."""
    is_broken: bool = False
    """nvidia-smi is there and does not answer as it should."""


def find_gpu() -> Gpu | None:
    """The first card that CUDA_VISIBLE_DEVICES leaves; None without a card, or without its driver."""
    return look().gpu


def look() -> Sight:
    """The first card that CUDA_VISIBLE_DEVICES leaves, or why there is none."""
    visible = os.environ.get(VISIBLE)
    wanted = visible.split(",")[0].strip() if visible is not None else None
    if wanted is not None and wanted.lower() in ("", "-1", "nodevfiles", "none"):
        return Sight(gpu=None, why_not=f"{VISIBLE} hides every card")
    mig = mig_device(wanted) if wanted is not None and wanted.startswith("MIG-") else None
    if wanted is not None and wanted.startswith("MIG-") and mig is None:
        return Sight(gpu=None, why_not=f"nvidia-smi lists no {wanted}, which {VISIBLE} names", is_broken=True)
    asked = mig.parent if mig else wanted
    answer = ask("--query-gpu=name,memory.total,memory.used,driver_version", device=asked)
    if not answer.is_good:
        return Sight(gpu=None, why_not=answer.said, is_broken=answer.is_there)
    rows = [line for line in answer.lines if line.count(",") >= 3]  # a warning may stand among them
    cards = [(number, gpu) for number, row in enumerate(rows) if (gpu := _read_card(row))]
    if not cards:
        said = answer.lines[0] if answer.lines else ""
        is_none = not said or "no devices" in said.lower()
        why = "nvidia-smi lists no card" if is_none else f"nvidia-smi says: {said[:100]}"
        return Sight(gpu=None, why_not=why, is_broken=not is_none)
    number, gpu = cards[0]
    return _completed(gpu, asked if asked is not None else str(number), len(rows), mig)


def _read_card(line: str) -> Gpu | None:
    """A line of the query; None if the card does not answer."""
    fields = [field.strip() for field in line.split(",")]
    name, (total, used, driver) = ", ".join(fields[:-3]), fields[-3:]
    if _is_odd(name) and math.isnan(_gib(total)):
        return None
    return Gpu(
        name=UNNAMED if _is_odd(name) else name,
        total_gib=_gib(total),
        used_gib=_gib(used),
        driver=driver if re.fullmatch(r"\d+(\.\d+)*", driver) else "",
        processes=(),
    )


def _is_odd(value: str) -> bool:
    """`[N/A]`, `[Insufficient Permissions]`, `ERR!`, or nothing that could be a name."""
    return value.startswith("[") or value == "ERR!" or not re.search("[A-Za-z]", value)


def _gib(mib: str) -> float:
    """Not a number where the driver does not say: memory shared with the machine, parts of a card."""
    return float(mib) / 1024 if re.fullmatch(r"\d+(\.\d+)?", mib) else math.nan


def _completed(gpu: Gpu, index: str, num_gpus: int, mig: MigDevice | None) -> Sight:
    """With what other questions tell of the card at `index`: its UUID, who uses it, and the part of it that is ours."""
    about = fields_of(ask("--query-gpu=uuid,mig.mode.current", device=index))
    device = next((field for field in about if field.startswith("GPU-")), index)
    gpu = replace(gpu, device=device, num_gpus=num_gpus, processes=_users(index))
    if mig is None and "Enabled" in about:
        mig = next((part for part in mig_devices() if part.is_of(index)), None)
        if mig is None:
            return Sight(gpu=None, why_not=f"{gpu.name} is in MIG mode and has no instance", is_broken=True)
    if mig:
        name = f"{gpu.name} MIG {mig.profile}"
        gpu = replace(gpu, name=name, total_gib=mig.total_gib, used_gib=math.nan, device=mig.uuid)
    return Sight(gpu=gpu)


def _users(index: str) -> tuple[str, ...]:
    """Processes of others on the card."""
    answer = ask("--query-compute-apps=pid,process_name,used_memory", device=index)
    lines = [line for line in answer.lines if answer.is_good and line.count(",") >= 2]
    rows = [[field.strip() for field in line.split(",")] for line in lines]
    return tuple(f"{pid} {','.join(what)} {memory} MiB" for pid, *what, memory in rows if pid.isdigit())


def check_gpu(card: GpuProfile, gpu: Gpu | None, *, shared: bool = False) -> None:
    """Refuses a card that is not there, is smaller than the one that was named, or is not free.

    Args:
        shared: Others may use it.
    Raises:
        ConfigError: none, or a smaller one.
        TrainError: occupied; says by whom.
    """
    if not card.is_gpu:
        return
    if gpu is None:
        raise ConfigError(f"`card={card.name}`: nvidia-smi shows no card. Check the driver, or take `card=cpu`.")
    if gpu.total_gib < SMALLEST_SHARE * card.memory_gib:
        raise ConfigError(
            f"`card={card.name}` has {card.memory_gib:g} GiB, but here is a {gpu.name} with {gpu.total_gib:.1f}. "
            "Name a card that is no larger."
        )
    if gpu.used_gib > MOST_OCCUPIED_GIB and not shared:
        users = f" by {'; '.join(gpu.processes[:3])}" if gpu.processes else ""
        raise TrainError(
            f"{gpu.name}: {gpu.used_gib:.1f} of {gpu.total_gib:.1f} GiB are in use{users}. End that, or give "
            "`shared_card=true`."
        )


def check_torch(card: GpuProfile) -> None:
    """Refuses a build of torch that cannot use the card. Torch is not imported: that takes seconds.

    Raises:
        ConfigError: says how to install the other one.
    """
    try:
        version = metadata.version("torch")
    except metadata.PackageNotFoundError:
        return  # training says so itself
    if card.is_gpu and version.endswith("+cpu"):
        raise ConfigError(
            f"`card={card.name}`: torch {version} is a build without CUDA. `oneday doctor` says how to install the "
            "other one; or take `card=cpu`."
        )


def only(device: str) -> dict[str, str]:
    """Environment in which a process sees this card alone. CUDA's own order of cards is by speed, not nvidia-smi's."""
    return {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", VISIBLE: device} if device else {}


def numbered(gpu: Gpu, visible: str | None) -> Sequence[str]:
    """Which of several cards it is, in words; nothing to say of the only one."""
    if visible is not None:
        return (f"{VISIBLE}={visible}",)
    return (f"the first of {gpu.num_gpus}; {VISIBLE} chooses another",) if gpu.num_gpus > 1 else ()
