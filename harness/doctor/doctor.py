"""The doctor: checks whether a run would work on this machine, and says how to mend what would not.

    machine = Machine.here(card="rtx4090", run=Path("runs/200k"))
    findings = [run_check(name, check, machine) for name, check in CHECKS.items()]

Nothing is printed, downloaded or changed, and a check that raises an error is a finding as well. This module checks the
machine; stack.py checks packages, base model and hub; builds.py and gpu.py check torch, the card and its kernels.

Where it sits: below `oneday doctor`, which people run before anything else.
"""

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from core.errors import OnedayError
from core.model.libraries import is_offline
from harness.budget.gpu_profile import GpuProfile, get_gpu_profile
from harness.budget.profile_choice import profile_for
from harness.doctor.card import Gpu, query_gpu

GIB = 2**30
PYTHONS = ((3, 11), (3, 12))
"""As in pyproject.toml: packages that Axolotl pins have no wheels for other versions."""

FREE_DISK_GIB = {True: 20.0, False: 2.0}
"""With a GPU: five checkpoints of a 7B model at rank 128 with their optimizer, 3.75 GiB each (computed). On a full disk
a run continues, but deletes its oldest checkpoints."""

FREE_MEMORY_GIB = {True: 16.0, False: 2.0}
"""With a GPU, loading a 7B base takes 14 GiB; without, Axolotl's imports take 0.75 GiB (measured)."""

SHARED_MEMORY_GIB = 1.0
"""Docker's default is 64 MiB."""

DOCKER_TIMEOUT_S = 3.0


class Status(StrEnum):
    """How serious a finding is."""

    OK = "OK"
    NOTE = "note"
    WARNING = "warning"
    PROBLEM = "PROBLEM"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The result of a check."""

    name: str = ""
    """Name of the check, which `run_check` sets."""
    status: Status
    what: str
    mend: str = ""


def ok(what: str) -> Finding:
    """The check passed."""
    return Finding(status=Status.OK, what=what)


def note(what: str) -> Finding:
    """Information that needs no action."""
    return Finding(status=Status.NOTE, what=what)


def warning(what: str, mend: str) -> Finding:
    """A run works, but more slowly than it could, or not reliably."""
    return Finding(status=Status.WARNING, what=what, mend=mend)


def problem(what: str, mend: str) -> Finding:
    """A run would fail."""
    return Finding(status=Status.PROBLEM, what=what, mend=mend)


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """The inputs of the checks."""

    card: GpuProfile
    """The profile that a run would use."""
    gpu: Gpu | None
    no_gpu_reason: str = ""
    """Why no GPU was found."""
    has_broken_driver: bool = False
    """nvidia-smi is installed and does not work."""
    run: Path
    """Folder that a run would write into."""
    base: str | None = None
    """A folder, or a name in the hub's cache."""
    asks_hub: bool = False
    """Whether the hub may be contacted."""
    environment: Mapping[str, str]
    root: Path = Path("/")
    """Root of the file system that holds /proc, /sys and /dev/shm."""
    constraints: Path = Path(__file__).resolve().parents[2] / "constraints.txt"

    @classmethod
    def here(cls, *, card: str | None, run: Path, base: str | None = None, asks_hub: bool = False) -> "Machine":
        """This machine, with the named profile or that of the GPU that is found.

        Raises:
            ConfigError: No profile has that name.
        """
        named = get_gpu_profile(card) if card else None
        query = query_gpu()
        return cls(
            card=named or profile_for(query).card, gpu=query.gpu, no_gpu_reason=query.reason,
            has_broken_driver=query.is_broken, run=run, base=base, asks_hub=asks_hub, environment=dict(os.environ),
        )  # fmt: skip

    def which(self, program: str) -> str | None:
        """Path of a program; None if it is not installed."""
        return shutil.which(program, path=self.environment.get("PATH"))


Check = Callable[[Machine], Finding | None]
"""Returns None if the check does not apply."""


def run_check(name: str, check: Check, machine: Machine) -> Finding | None:
    """Runs a check; an error that it raises becomes a finding."""
    try:
        finding = check(machine)
    except OnedayError as e:
        what, _, mend = str(e).partition(". ")
        finding = problem(what, mend)
    except ModuleNotFoundError as e:
        finding = warning(f"not checked: {e.name} is not installed", "pip install 'oneday-llm[train]'")
    except Exception as e:  # a broken installation can raise anything
        finding = problem(
            f"could not be checked: {in_one_line(e)}",
            "Mend what it names, or report this line as a bug.",
        )
    return replace(finding, name=name) if finding else None


def in_one_line(error: BaseException) -> str:
    """Type and first line of an error."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__


def python(machine: Machine) -> Finding:
    """Checks the version of Python."""
    what = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    if sys.version_info[:2] not in PYTHONS:
        return problem(f"{what}: 3.11 or 3.12 is needed", "Make a virtual environment with python3.12.")
    return ok(what)


def processors(machine: Machine) -> Finding:
    """The number of cores that this process may use."""
    cores = float(len(os.sched_getaffinity(0)))
    quota = _text(machine.root / "sys/fs/cgroup/cpu.max").split()
    if quota and quota[0] != "max":
        cores = min(cores, int(quota[0]) / int(quota[1]))
    return ok(f"{cores:g} cores")


def memory(machine: Machine) -> Finding:
    """Checks the free memory, within the limit of a container."""
    lines = (line.partition(":") for line in _text(machine.root / "proc/meminfo").splitlines())
    sizes = {name: int(value.split()[0]) * 1024 for name, _, value in lines if value.split()}
    total, free = sizes["MemTotal"], sizes["MemAvailable"]
    groups = machine.root / "sys/fs/cgroup"
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        limit_bytes = _text(groups / limit).strip()
        if limit_bytes.isdigit():
            used_bytes = _text(groups / used).strip()
            left = int(limit_bytes) - (int(used_bytes) if used_bytes.isdigit() else 0)
            total, free = min(total, int(limit_bytes)), min(free, max(0, left))
    text, needed = f"{free / GIB:.1f} of {total / GIB:.1f} GiB free", FREE_MEMORY_GIB[machine.card.is_gpu]
    if free < needed * GIB:
        return warning(f"{text}; {needed:g} are recommended", "End other programs, or give the container more.")
    return ok(text)


def shared_memory(machine: Machine) -> Finding | None:
    """Checks the shared memory that data loaders use, which is small in containers."""
    folder = machine.root / "dev/shm"
    if not folder.is_dir():
        return None
    gib = shutil.disk_usage(folder).total / GIB
    if gib < SHARED_MEMORY_GIB and _container(machine):
        return warning(
            f"{gib:.2f} GiB; data loaders need {SHARED_MEMORY_GIB:g}", "Start the container with --shm-size=2g."
        )
    return ok(f"{gib:.1f} GiB")


def disk(machine: Machine) -> Finding:
    """Checks free space and permissions of the folder that a run would write into."""
    folder = next(p for p in (machine.run.resolve(), *machine.run.resolve().parents) if p.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        return problem(f"{folder}: is not writable", "Name another folder with `run=`, or change its permissions.")
    gib, needed = shutil.disk_usage(folder).free / GIB, FREE_DISK_GIB[machine.card.is_gpu]
    if gib < needed:
        text = f"{folder}: {gib:.1f} GiB free; a run needs {needed:g}"
        return warning(text, "Free space, or name another folder with `run=`.")
    return ok(f"{folder}: {gib:.1f} GiB free")


def downloads(machine: Machine) -> Finding:
    """Whether the hub's library may use the network."""
    if is_offline(machine.environment):
        return ok("HF_HUB_OFFLINE is set: nothing is fetched from the hub")
    return note("HF_HUB_OFFLINE is not set: the hub may be contacted for a hub name; training is always offline")


def telemetry(machine: Machine) -> Finding:
    """Axolotl's telemetry; with it enabled and no network, Axolotl hung at exit (measured)."""
    for name in ("AXOLOTL_DO_NOT_TRACK", "DO_NOT_TRACK"):
        if machine.environment.get(name, "").strip().lower() in ("1", "true"):  # as Axolotl reads it
            return ok(f"off: {name} is set")
    return note("not disabled in this shell; oneday disables it in the Axolotl processes that it starts")


def container(machine: Machine) -> Finding:
    """Whether this process runs in a container."""
    kind = _container(machine)
    return note(f"this process runs in a container ({kind})") if kind else ok("this process runs in no container")


def _container(machine: Machine) -> str:
    for mark, kind in ((".dockerenv", "docker"), ("run/.containerenv", "podman")):
        if (machine.root / mark).exists():
            return kind
    match = re.search(r"docker|kubepods|containerd|libpod|lxc", _text(machine.root / "proc/1/cgroup"))
    return match.group() if match else machine.environment.get("container", "")


def engine(machine: Machine) -> Finding:
    """The installed programs that can build and run the image of the Dockerfile."""
    others = [name for name in ("podman", "buildah") if machine.which(name)]
    docker = machine.which("docker")
    info = _docker_info(docker) if docker else ""
    if not info:
        failed = ["docker's engine does not answer"] if docker else []
        usable = [f"{' and '.join(others)} can build images"] if others else []
        none = "none of docker, podman and buildah is installed; only images need one"
        return note("; ".join([*failed, *usable]) or none)
    installed = ", ".join([f"docker {info.split()[0]}", *others])
    if machine.gpu is None or "nvidia" in info or machine.which("nvidia-ctk"):
        return ok(installed)
    return warning(
        f"{installed}; without nvidia-container-toolkit, containers cannot use the card",
        "Install it, then run nvidia-ctk runtime configure --runtime=docker, and restart docker.",
    )


def _docker_info(docker: str) -> str:
    """Version and runtimes of docker's engine; empty if it does not answer."""
    command = [docker, "info", "--format", "{{.ServerVersion}} {{json .Runtimes}}"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=DOCKER_TIMEOUT_S, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""
    return result.stdout.strip() if result.returncode == 0 else ""


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


CHECKS: dict[str, Check] = {
    "Python": python,
    "processors": processors,
    "memory": memory,
    "shared memory": shared_memory,
    "disk": disk,
    "downloads": downloads,
    "telemetry": telemetry,
    "container": container,
    "engine": engine,
}
