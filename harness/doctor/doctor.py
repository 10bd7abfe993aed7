"""What stands in the way of a run on this machine: one finding a line, each with its mend.

    machine = Machine.here(card="rtx4090", run=Path("runs/200k"))
    findings = [attempt(name, check, machine) for name, check in CHECKS.items()]

Nothing is printed, downloaded or changed, and a check that fails itself is a finding too. Here stands the machine;
stack.py looks at packages and base model, gpu.py at torch, the card and its kernels.

Where it sits: before everything, asked by hand.
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
from harness.doctor.card import Gpu, look

GIB = 2**30
PYTHONS = ((3, 11), (3, 12))
"""As in pyproject.toml: Axolotl's pins have no wheels for others."""

FREE_DISK_GIB = {True: 20.0, False: 2.0}
"""With a GPU: five checkpoints of a 7B's rank 128 with their optimizer, 3.75 GiB each (computed). A full disk costs the
oldest ones, not the run."""

FREE_MEMORY_GIB = {True: 16.0, False: 2.0}
"""With a GPU a 7B base passes through in 14 GiB; without, Axolotl's imports alone hold 0.75 (measured)."""

SHARED_MEMORY_GIB = 1.0
"""Docker gives 64 MiB."""

ENGINE_ANSWERS_S = 3.0


class Status(StrEnum):
    """How a finding stands."""

    OK = "OK"
    NOTE = "note"
    WARNING = "warning"
    PROBLEM = "PROBLEM"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of the doctor."""

    name: str = ""
    """Of the check; `attempt` writes it."""
    status: Status
    what: str
    mend: str = ""


def ok(what: str) -> Finding:
    """As it should be."""
    return Finding(status=Status.OK, what=what)


def note(what: str) -> Finding:
    """Worth knowing; nothing to do."""
    return Finding(status=Status.NOTE, what=what)


def warning(what: str, mend: str) -> Finding:
    """A run goes, but worse than it could, or not always."""
    return Finding(status=Status.WARNING, what=what, mend=mend)


def problem(what: str, mend: str) -> Finding:
    """A run would fail."""
    return Finding(status=Status.PROBLEM, what=what, mend=mend)


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What is looked at, and how."""

    card: GpuProfile
    """The profile that a run would name."""
    gpu: Gpu | None
    why_no_gpu: str = ""
    """If there is none."""
    has_broken_driver: bool = False
    """nvidia-smi is there and does not answer as it should."""
    run: Path
    """Where a run would write."""
    base: str | None = None
    """A folder, or a name in the hub's cache."""
    asks_hub: bool = False
    environment: Mapping[str, str]
    root: Path = Path("/")
    """Of the file system: /proc, /sys, /dev/shm."""
    constraints: Path = Path(__file__).resolve().parents[2] / "constraints.txt"

    @classmethod
    def here(cls, *, card: str | None, run: Path, base: str | None = None, asks_hub: bool = False) -> "Machine":
        """This machine; without a name, with the profile of the card that is found.

        Raises:
            ConfigError: no profile of that name.
        """
        named = get_gpu_profile(card) if card else None
        sight = look()
        return cls(
            card=named or profile_for(sight).card, gpu=sight.gpu, why_no_gpu=sight.why_not,
            has_broken_driver=sight.is_broken, run=run, base=base, asks_hub=asks_hub, environment=dict(os.environ),
        )  # fmt: skip

    def which(self, program: str) -> str | None:
        """Where a program is."""
        return shutil.which(program, path=self.environment.get("PATH"))


Check = Callable[[Machine], Finding | None]
"""None: nothing that was asked for."""


def attempt(name: str, check: Check, machine: Machine) -> Finding | None:
    """A check's finding, whatever becomes of the check."""
    try:
        found = check(machine)
    except OnedayError as e:
        what, _, mend = str(e).partition(". ")
        found = problem(what, mend)
    except ModuleNotFoundError as e:
        found = warning(f"not checked: {e.name} is not installed", "pip install 'oneday-llm[train]'")
    except Exception as e:  # a broken installation can raise anything
        found = problem(
            f"could not be checked: {in_one_line(e)}", "Mend what it names; if it is sound, report this line."
        )
    return replace(found, name=name) if found else None


def in_one_line(error: BaseException) -> str:
    """What an error says first."""
    said = str(error).strip().splitlines()
    return f"{type(error).__name__}: {said[0][:300]}" if said else type(error).__name__


def python(machine: Machine) -> Finding:
    """The interpreter."""
    what = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    if sys.version_info[:2] not in PYTHONS:
        return problem(f"{what}: 3.11 or 3.12 is needed", "Make a virtual environment with python3.12.")
    return ok(what)


def processors(machine: Machine) -> Finding:
    """How many cores we may use."""
    cores = float(len(os.sched_getaffinity(0)))
    quota = _text(machine.root / "sys/fs/cgroup/cpu.max").split()
    if quota and quota[0] != "max":
        cores = min(cores, int(quota[0]) / int(quota[1]))
    return ok(f"{cores:g} cores")


def memory(machine: Machine) -> Finding:
    """RAM, and a container's share of it."""
    lines = (line.partition(":") for line in _text(machine.root / "proc/meminfo").splitlines())
    sizes = {name: int(value.split()[0]) * 1024 for name, _, value in lines if value.split()}
    total, free = sizes["MemTotal"], sizes["MemAvailable"]
    groups = machine.root / "sys/fs/cgroup"
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        most = _text(groups / limit).strip()
        if most.isdigit():
            taken = _text(groups / used).strip()
            left = int(most) - (int(taken) if taken.isdigit() else 0)
            total, free = min(total, int(most)), min(free, max(0, left))
    what, least = f"{free / GIB:.1f} of {total / GIB:.1f} GiB free", FREE_MEMORY_GIB[machine.card.is_gpu]
    if free < least * GIB:
        return warning(f"{what}; {least:g} are wanted", "End other programs, or give the container more.")
    return ok(what)


def shared_memory(machine: Machine) -> Finding | None:
    """What data loaders hand batches over in, and what containers get little of."""
    folder = machine.root / "dev/shm"
    if not folder.is_dir():
        return None
    gib = shutil.disk_usage(folder).total / GIB
    if gib < SHARED_MEMORY_GIB and _container(machine):
        return warning(
            f"{gib:.2f} GiB; data loaders want {SHARED_MEMORY_GIB:g}", "Start the container with --shm-size=2g."
        )
    return ok(f"{gib:.1f} GiB")


def disk(machine: Machine) -> Finding:
    """Room and rights where the run would be written."""
    folder = next(p for p in (machine.run.resolve(), *machine.run.resolve().parents) if p.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        return problem(f"{folder}: cannot be written to", "Name another folder with `run=`, or change its rights.")
    gib, least = shutil.disk_usage(folder).free / GIB, FREE_DISK_GIB[machine.card.is_gpu]
    if gib < least:
        what = f"{folder}: {gib:.1f} GiB free; a run wants {least:g}"
        return warning(what, "Make room, or name another with `run=`.")
    return ok(f"{folder}: {gib:.1f} GiB free")


def downloads(machine: Machine) -> Finding:
    """Whether the hub's library may use the network."""
    if is_offline(machine.environment):
        return ok("HF_HUB_OFFLINE is set: nothing is fetched from the hub")
    return note("HF_HUB_OFFLINE is not set: a hub name may be asked for; training itself is always offline")


def telemetry(machine: Machine) -> Finding:
    """Axolotl's; with it on and no network, it hung at exit (measured)."""
    for name in ("AXOLOTL_DO_NOT_TRACK", "DO_NOT_TRACK"):
        if machine.environment.get(name, "").strip().lower() in ("1", "true"):  # as Axolotl reads it
            return ok(f"off: {name} is set")
    return note("not switched off here; oneday does that for the Axolotl it starts")


def container(machine: Machine) -> Finding:
    """Whether we are in one."""
    kind = _container(machine)
    return note(f"this runs in one ({kind})") if kind else ok("this runs in none")


def _container(machine: Machine) -> str:
    for mark, kind in ((".dockerenv", "docker"), ("run/.containerenv", "podman")):
        if (machine.root / mark).exists():
            return kind
    found = re.search(r"docker|kubepods|containerd|libpod|lxc", _text(machine.root / "proc/1/cgroup"))
    return found.group() if found else machine.environment.get("container", "")


def engine(machine: Machine) -> Finding:
    """What can build and run the images of the Dockerfile here."""
    others = [name for name in ("podman", "buildah") if machine.which(name)]
    docker = machine.which("docker")
    said = _docker_info(docker) if docker else ""
    if not said:
        silent = ["docker's does not answer"] if docker else []
        here = [f"{' and '.join(others)} can build images"] if others else []
        return note("; ".join([*silent, *here]) or "none of docker, podman and buildah; only images need one")
    what = ", ".join([f"docker {said.split()[0]}", *others])
    if machine.gpu is None or "nvidia" in said or machine.which("nvidia-ctk"):
        return ok(what)
    return warning(
        f"{what}; no nvidia-container-toolkit: containers cannot see the card",
        "Install it, then nvidia-ctk runtime configure --runtime=docker, and restart docker.",
    )


def _docker_info(docker: str) -> str:
    """The engine's version and runtimes; empty if none answers."""
    command = [docker, "info", "--format", "{{.ServerVersion}} {{json .Runtimes}}"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=ENGINE_ANSWERS_S, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""
    return found.stdout.strip() if found.returncode == 0 else ""


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
