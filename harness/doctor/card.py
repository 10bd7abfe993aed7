"""The GPU of this machine, as nvidia-smi reports it, and checks that it is the named one and free.

    query_gpu().gpu.name        # "NVIDIA GeForce RTX 4090"
    check_gpu(get_gpu_profile("rtx4090"), find_gpu())

Where it sits: before the rehearsal, which loads the model.
"""

import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import metadata

from harness.budget.gpu_profile import GpuProfile
from harness.doctor.nvidia_smi import MigDevice, fields_of, mig_device, mig_devices, run_nvidia_smi
from harness.errors import ConfigError, TrainError

MAX_USED_GIB = 1.5
"""Memory that a desktop uses on its card; with more in use, another program takes memory and speed from a run."""

MIN_MEMORY_SHARE = 0.9
"""Share of a profile's memory that a card of that model must report, because drivers reserve some."""

VISIBLE = "CUDA_VISIBLE_DEVICES"
UNKNOWN_NAME = "GPU"
"""Name of a card whose name the driver does not report."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """A GPU, or a MIG instance of one."""

    name: str
    total_gib: float
    """NaN if the driver does not report it."""
    used_gib: float
    """NaN if the driver does not report it."""
    driver: str
    processes: tuple[str, ...]
    """Pid, name and memory of the processes on the card. Empty in a container that cannot see them."""
    device: str = ""
    """Value of CUDA_VISIBLE_DEVICES that selects only this GPU: its UUID, else its index."""
    num_gpus: int = 1
    """Number of GPUs that the driver lists."""

    @property
    def name_and_memory(self) -> str:
        """For example `NVIDIA A100, 40.0 GiB`."""
        memory = "memory unknown" if math.isnan(self.total_gib) else f"{self.total_gib:.1f} GiB"
        return f"{self.name}, {memory}"


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuQuery:
    """The result of a search for a GPU."""

    gpu: Gpu | None
    reason: str = ""
    """Why there is none, in a few words."""
    is_broken: bool = False
    """nvidia-smi is installed and does not work."""


def find_gpu() -> Gpu | None:
    """The first GPU that CUDA_VISIBLE_DEVICES makes visible; None without a GPU or its driver."""
    return query_gpu().gpu


def query_gpu() -> GpuQuery:
    """The first GPU that CUDA_VISIBLE_DEVICES makes visible, or the reason why there is none."""
    visible = os.environ.get(VISIBLE)
    wanted = visible.split(",")[0].strip() if visible is not None else None
    if wanted is not None and wanted.lower() in ("", "-1", "nodevfiles", "none"):
        return GpuQuery(gpu=None, reason=f"{VISIBLE} hides every card")
    mig = mig_device(wanted) if wanted is not None and wanted.startswith("MIG-") else None
    if wanted is not None and wanted.startswith("MIG-") and mig is None:
        return GpuQuery(gpu=None, reason=f"nvidia-smi lists no {wanted}, which {VISIBLE} names", is_broken=True)
    device = mig.parent if mig else wanted
    result = run_nvidia_smi("--query-gpu=name,memory.total,memory.used,driver_version", device=device)
    if not result.is_ok:
        return GpuQuery(gpu=None, reason=result.error, is_broken=result.is_installed)
    rows = [line for line in result.lines if line.count(",") >= 3]  # nvidia-smi may print warnings between rows
    gpus = [(number, gpu) for number, row in enumerate(rows) if (gpu := _parse_gpu(row))]
    if not gpus:
        first = result.lines[0] if result.lines else ""
        has_none = not first or "no devices" in first.lower()
        reason = "nvidia-smi lists no card" if has_none else f"nvidia-smi says: {first[:100]}"
        return GpuQuery(gpu=None, reason=reason, is_broken=not has_none)
    number, gpu = gpus[0]
    return _with_details(gpu, device if device is not None else str(number), len(rows), mig)


def _parse_gpu(line: str) -> Gpu | None:
    """The GPU of a line of the query; None if neither name nor memory is reported."""
    fields = [field.strip() for field in line.split(",")]
    name, (total, used, driver) = ", ".join(fields[:-3]), fields[-3:]
    if _is_no_name(name) and math.isnan(_gib(total)):
        return None
    return Gpu(
        name=UNKNOWN_NAME if _is_no_name(name) else name,
        total_gib=_gib(total),
        used_gib=_gib(used),
        driver=driver if re.fullmatch(r"\d+(\.\d+)*", driver) else "",
        processes=(),
    )


def _is_no_name(value: str) -> bool:
    """Whether a value such as `[N/A]`, `[Insufficient Permissions]` or `ERR!` replaces the name."""
    return value.startswith("[") or value == "ERR!" or not re.search("[A-Za-z]", value)


def _gib(mib: str) -> float:
    """NaN if the driver reports no number, as for MIG instances and memory shared with the CPU."""
    return float(mib) / 1024 if re.fullmatch(r"\d+(\.\d+)?", mib) else math.nan


def _with_details(gpu: Gpu, index: str, num_gpus: int, mig: MigDevice | None) -> GpuQuery:
    """Adds the UUID, the processes and the MIG instance of the GPU at `index`."""
    fields = fields_of(run_nvidia_smi("--query-gpu=uuid,mig.mode.current", device=index))
    device = next((field for field in fields if field.startswith("GPU-")), index)
    gpu = replace(gpu, device=device, num_gpus=num_gpus, processes=_processes(index))
    if mig is None and "Enabled" in fields:
        mig = next((part for part in mig_devices() if part.is_of(index)), None)
        if mig is None:
            return GpuQuery(gpu=None, reason=f"{gpu.name} is in MIG mode and has no instance", is_broken=True)
    if mig:
        name = f"{gpu.name} MIG {mig.profile}"
        gpu = replace(gpu, name=name, total_gib=mig.total_gib, used_gib=math.nan, device=mig.uuid)
    return GpuQuery(gpu=gpu)


def _processes(index: str) -> tuple[str, ...]:
    """The processes that compute on the card."""
    result = run_nvidia_smi("--query-compute-apps=pid,process_name,used_memory", device=index)
    lines = [line for line in result.lines if result.is_ok and line.count(",") >= 2]
    rows = [[field.strip() for field in line.split(",")] for line in lines]
    return tuple(f"{pid} {','.join(name)} {memory} MiB" for pid, *name, memory in rows if pid.isdigit())


def check_gpu(card: GpuProfile, gpu: Gpu | None, *, shared: bool = False) -> None:
    """Refuses a card that is missing, smaller than the named one, or used by other processes.

    Args:
        shared: Accept a card that other processes use.
    Raises:
        ConfigError: The card is missing or smaller.
        TrainError: The card is in use; the message names the processes.
    """
    if not card.is_gpu:
        return
    if gpu is None:
        raise ConfigError(f"`card={card.name}`: nvidia-smi shows no card. Check the driver, or use `card=cpu`.")
    if gpu.total_gib < MIN_MEMORY_SHARE * card.memory_gib:
        raise ConfigError(
            f"`card={card.name}` has {card.memory_gib:g} GiB, but the {gpu.name} here has {gpu.total_gib:.1f}. "
            "Name a card that is not larger."
        )
    if gpu.used_gib > MAX_USED_GIB and not shared:
        users = f" by {'; '.join(gpu.processes[:3])}" if gpu.processes else ""
        raise TrainError(
            f"{gpu.name}: {gpu.used_gib:.1f} of {gpu.total_gib:.1f} GiB are in use{users}. End the other "
            "programs, or give `shared_card=true`."
        )


def check_torch(card: GpuProfile) -> None:
    """Refuses a CPU build of torch for a GPU, by its version, because importing torch takes seconds.

    Raises:
        ConfigError: The build of torch cannot use the card.
    """
    try:
        version = metadata.version("torch")
    except metadata.PackageNotFoundError:
        return  # reported by training
    if card.is_gpu and version.endswith("+cpu"):
        raise ConfigError(
            f"`card={card.name}`: torch {version} is a build without CUDA. `oneday doctor` says how to install one "
            "with CUDA; or use `card=cpu`."
        )


def visible_device_environment(device: str) -> dict[str, str]:
    """Variables that make only this device visible. CUDA orders devices by speed by default, nvidia-smi by bus id."""
    return {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", VISIBLE: device} if device else {}


def gpu_position(gpu: Gpu, visible: str | None) -> Sequence[str]:
    """Which of several GPUs it is, in words; empty if there is only one."""
    if visible is not None:
        return (f"{VISIBLE}={visible}",)
    return (f"the first of {gpu.num_gpus}; {VISIBLE} chooses another",) if gpu.num_gpus > 1 else ()
