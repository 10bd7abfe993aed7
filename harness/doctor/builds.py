"""What the doctor says of what must fit: driver and CUDA, compiler and headers, kernels and torch.

    attempt("driver", driver, machine)    # "driver 550.54.14 is too old for CUDA 13.0, which needs 580"

Where it sits: beside gpu.py. What may end a process when it is imported is imported in one of its own.
"""

import importlib.metadata
import importlib.util
import os
import re
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.doctor.doctor import Check, Finding, Machine, note, ok, problem, warning

OLDEST_DRIVER = {11: 450, 12: 525, 13: 580}
"""By CUDA's major version. Source: NVIDIA, CUDA Compatibility, table 1 of "Minor Version Compatibility"."""

ANSWERS_S = 120.0
"""A compiler, or an import of torch on a busy machine."""

LAUNCHER = """#include <Python.h>
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "launcher", NULL, -1, NULL};
PyMODINIT_FUNC PyInit_launcher(void) { return PyModule_Create(&module); }
"""
"""As much of Triton's launchers as a compiler and Python's headers decide."""

NEEDS_CARD = "not tried: it needs a GPU"

KERNELS_MISSING = re.compile(r"can't load C\+\+|incompatible torch|Failed to load|need to compile C\+\+", re.IGNORECASE)
"""What xformers and torchao say when their own kernels do not load: they go on without."""


def needed_driver(cuda: str) -> int:
    """The oldest driver's major version; 0: not known."""
    return OLDEST_DRIVER.get(int(cuda.partition(".")[0]), 0)


def driver(machine: Machine) -> Finding | None:
    """Whether the driver is there, answers, and is new enough for this torch."""
    if machine.gpu is None:
        if not machine.has_broken_driver:
            return None
        say = problem if machine.card.is_gpu else warning
        return say(
            machine.why_no_gpu, "See that nvidia-smi works: load the driver, or restart the container or the machine."
        )
    import torch

    return driver_runs(machine.gpu.driver, torch.version.cuda)


def driver_runs(driver: str, cuda: str | None) -> Finding:
    """The driver against the CUDA that torch was built for, before anything is tried."""
    if not cuda:
        return note(f"driver {driver or 'unknown'}; this torch is a CPU build, so nothing is compared")
    oldest, major = needed_driver(cuda), driver.partition(".")[0]
    if not major.isdigit() or not oldest:
        return note(f"driver {driver or 'unknown'}, CUDA {cuda}: whether they fit is not known")
    if int(major) < oldest:
        return problem(
            f"driver {driver} is too old for CUDA {cuda}, which needs {oldest}",
            "Update the driver, or install a torch for an older CUDA.",
        )
    return ok(f"driver {driver}; CUDA {cuda} needs {oldest} or newer")


def triton(machine: Machine) -> Finding:
    """Triton, and the C compiler and Python headers that it builds its launchers with."""
    if not machine.card.is_gpu:
        return note(NEEDS_CARD)
    if importlib.util.find_spec("triton") is None:
        return problem("triton is not installed; fused kernels need it", "pip install the CUDA build of torch again.")
    compiler = machine.environment.get("CC") or machine.which("gcc") or machine.which("clang")  # in Triton's order
    if compiler is None:
        return problem("no C compiler for Triton's launchers", "apt install gcc libc6-dev, or name one in CC.")
    scheme = sysconfig.get_default_scheme()  # as in triton/runtime/build.py
    include = Path(sysconfig.get_paths("posix_prefix" if scheme == "posix_local" else scheme)["include"])
    if not (include / "Python.h").is_file():
        return problem(f"{include}: no Python.h for Triton's launchers", "apt install python3-dev")
    why = _cannot_build(compiler, include, machine.environment)
    if why:
        return problem(
            f"{compiler} builds no launcher for Triton: {why}", "apt install gcc libc6-dev, or name another one in CC."
        )
    return ok(f"installed; {compiler} builds its launchers")


def _cannot_build(compiler: str, include: Path, environment: Mapping[str, str]) -> str:
    """What is said of a launcher that is compiled as Triton does; empty: it is built."""
    with tempfile.TemporaryDirectory(prefix="oneday-") as folder:
        source, library = Path(folder) / "launcher.c", Path(folder) / "launcher.so"
        source.write_text(LAUNCHER)
        command = [compiler, str(source), "-shared", "-fPIC", f"-I{include}", "-o", str(library)]
        code, said = _run(command, environment)
        if code == 0 and library.is_file():
            return ""
    return next((line for line in said if "error" in line.lower()), said[0] if said else f"exit code {code}")


def _run(command: Sequence[str], environment: Mapping[str, str]) -> tuple[int, list[str]]:
    """Exit code and lines of a command, whatever becomes of it."""
    try:
        done = subprocess.run(
            command, env=dict(environment), capture_output=True, timeout=ANSWERS_S, stdin=subprocess.DEVNULL
        )
    except OSError as e:
        return 127, [e.strerror or str(e)]
    except subprocess.TimeoutExpired:
        return 124, [f"no answer in {ANSWERS_S:g} s"]
    text = (done.stderr + done.stdout).decode("utf-8", errors="replace")
    return done.returncode, [line.strip() for line in text.splitlines() if line.strip()]


def xformers(machine: Machine) -> Finding | None:
    """Whether xformers fits this torch."""
    return fits_torch("xformers", machine)


def torchao(machine: Machine) -> Finding | None:
    """Whether torchao fits this torch."""
    return fits_torch("torchao", machine)


def fits_torch(name: str, machine: Machine) -> Finding | None:
    """A package whose kernels are built for one torch: by what it requires, and on a GPU by importing it."""
    from packaging.requirements import Requirement

    try:
        version, torch = importlib.metadata.version(name), importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return None
    mend = f"pip install -c constraints.txt torch {name}, the tested pair; or pip uninstall {name}: no recipe needs it."
    what = f"{name} {version} with torch {torch}"
    for requirement in map(Requirement, importlib.metadata.requires(name) or []):
        asked = requirement.name == "torch" and (requirement.marker is None or requirement.marker.evaluate())
        if asked and not requirement.specifier.contains(torch, prereleases=True):
            return problem(f"{what}: it requires torch{requirement.specifier}", mend)
    if not machine.card.is_gpu:
        return ok(f"{what}; without a GPU its kernels are not tried")
    environment = {**machine.environment, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    code, said = _run([sys.executable, "-P", "-c", f"import {name}"], environment)
    if code != 0:
        return problem(f"{what} cannot be imported: {said[-1][:200] if said else f'exit code {code}'}", mend)
    missing = next((line for line in said if KERNELS_MISSING.search(line)), "")
    if missing:
        return warning(f"{what}: its kernels do not load ({missing[:200]})", mend)
    return ok(f"{what}: imported with its kernels")


CHECKS: dict[str, Check] = {
    "driver": driver,
    "Triton": triton,
    "xformers": xformers,
    "torchao": torchao,
}
