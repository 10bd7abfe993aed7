"""The doctor's checks of compatibility: driver and CUDA, compiler and headers, packages with kernels and torch.

    run_check("driver", driver, machine)    # "driver 550.54.14 is too old for CUDA 13.0, which needs 580"

Where it sits: beside gpu.py. A package whose import may crash is imported in a separate process.
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
"""Oldest driver for each major version of CUDA. Source: NVIDIA, CUDA Compatibility, table 1 of "Minor Version
Compatibility"."""

COMMAND_TIMEOUT_S = 120.0
"""Enough for a compiler, or an import of torch on a busy machine."""

LAUNCHER = """#include <Python.h>
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "launcher", NULL, -1, NULL};
PyMODINIT_FUNC PyInit_launcher(void) { return PyModule_Create(&module); }
"""
"""A C extension that needs the same compiler and Python headers as Triton's launchers."""

NEEDS_GPU = "not tried: it needs a GPU"

KERNELS_MISSING = re.compile(r"can't load C\+\+|incompatible torch|Failed to load|need to compile C\+\+", re.IGNORECASE)
"""Messages of xformers and torchao when they continue without their own kernels."""


def needed_driver(cuda: str) -> int:
    """Major version of the oldest driver for a CUDA version; 0 if it is unknown."""
    return OLDEST_DRIVER.get(int(cuda.partition(".")[0]), 0)


def driver(machine: Machine) -> Finding | None:
    """Checks that the driver is installed, works, and is new enough for this torch."""
    if machine.gpu is None:
        if not machine.has_broken_driver:
            return None
        finding = problem if machine.card.is_gpu else warning
        return finding(
            machine.no_gpu_reason, "Make nvidia-smi work: load the driver, or restart the container or the machine."
        )
    import torch

    return check_driver(machine.gpu.driver, torch.version.cuda)


def check_driver(driver: str, cuda: str | None) -> Finding:
    """Compares the driver with the CUDA version that torch was built for."""
    if not cuda:
        return note(f"driver {driver or 'unknown'}; it is not compared, because this torch is a CPU build")
    oldest, major = needed_driver(cuda), driver.partition(".")[0]
    if not major.isdigit() or not oldest:
        return note(f"driver {driver or 'unknown'}, CUDA {cuda}: their compatibility is unknown")
    if int(major) < oldest:
        return problem(
            f"driver {driver} is too old for CUDA {cuda}, which needs {oldest}",
            "Update the driver, or install a torch for an older CUDA.",
        )
    return ok(f"driver {driver}; CUDA {cuda} needs {oldest} or newer")


def triton(machine: Machine) -> Finding:
    """Checks Triton, and the C compiler and Python headers with which it builds its launchers."""
    if not machine.card.is_gpu:
        return note(NEEDS_GPU)
    if importlib.util.find_spec("triton") is None:
        return problem("triton is not installed; fused kernels need it", "pip install the CUDA build of torch again.")
    compiler = machine.environment.get("CC") or machine.which("gcc") or machine.which("clang")  # in Triton's order
    if compiler is None:
        return problem("no C compiler for Triton's launchers", "apt install gcc libc6-dev, or set CC.")
    scheme = sysconfig.get_default_scheme()  # as in triton/runtime/build.py
    include = Path(sysconfig.get_paths("posix_prefix" if scheme == "posix_local" else scheme)["include"])
    if not (include / "Python.h").is_file():
        return problem(f"{include}: no Python.h for Triton's launchers", "apt install python3-dev")
    error = _build_error(compiler, include, machine.environment)
    if error:
        return problem(
            f"{compiler} cannot build Triton's launchers: {error}",
            "apt install gcc libc6-dev, or change CC.",
        )
    return ok(f"installed; {compiler} builds its launchers")


def _build_error(compiler: str, include: Path, environment: Mapping[str, str]) -> str:
    """The compiler's error for a launcher that is built as in Triton; empty if the build succeeds."""
    with tempfile.TemporaryDirectory(prefix="oneday-") as folder:
        source, library = Path(folder) / "launcher.c", Path(folder) / "launcher.so"
        source.write_text(LAUNCHER)
        command = [compiler, str(source), "-shared", "-fPIC", f"-I{include}", "-o", str(library)]
        code, output = _run(command, environment)
        if code == 0 and library.is_file():
            return ""
    return next((line for line in output if "error" in line.lower()), output[0] if output else f"exit code {code}")


def _run(command: Sequence[str], environment: Mapping[str, str]) -> tuple[int, list[str]]:
    """Exit code and output lines of a command; 127 if it cannot be run, 124 if it takes too long."""
    try:
        done = subprocess.run(
            command, env=dict(environment), capture_output=True, timeout=COMMAND_TIMEOUT_S, stdin=subprocess.DEVNULL
        )
    except OSError as e:
        return 127, [e.strerror or str(e)]
    except subprocess.TimeoutExpired:
        return 124, [f"no answer in {COMMAND_TIMEOUT_S:g} s"]
    text = (done.stderr + done.stdout).decode("utf-8", errors="replace")
    return done.returncode, [line.strip() for line in text.splitlines() if line.strip()]


def xformers(machine: Machine) -> Finding | None:
    """Checks that xformers is compatible with this torch."""
    return check_torch_compatibility("xformers", machine)


def torchao(machine: Machine) -> Finding | None:
    """Checks that torchao is compatible with this torch."""
    return check_torch_compatibility("torchao", machine)


def check_torch_compatibility(name: str, machine: Machine) -> Finding | None:
    """Checks a package with kernels for one torch: by its requirements, and on a GPU by importing it."""
    from packaging.requirements import Requirement

    try:
        version, torch = importlib.metadata.version(name), importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return None
    mend = f"pip install -c constraints.txt torch {name}, the tested pair; or pip uninstall {name}: no recipe needs it."
    pair = f"{name} {version} with torch {torch}"
    for requirement in map(Requirement, importlib.metadata.requires(name) or []):
        applies = requirement.name == "torch" and (requirement.marker is None or requirement.marker.evaluate())
        if applies and not requirement.specifier.contains(torch, prereleases=True):
            return problem(f"{pair}: it requires torch{requirement.specifier}", mend)
    if not machine.card.is_gpu:
        return ok(f"{pair}; without a GPU its kernels are not tried")
    environment = {**machine.environment, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    code, output = _run([sys.executable, "-P", "-c", f"import {name}"], environment)
    if code != 0:
        return problem(f"{pair} cannot be imported: {output[-1][:200] if output else f'exit code {code}'}", mend)
    missing = next((line for line in output if KERNELS_MISSING.search(line)), "")
    if missing:
        return warning(f"{pair}: its kernels do not load ({missing[:200]})", mend)
    return ok(f"{pair}: imported with its kernels")


CHECKS: dict[str, Check] = {
    "driver": driver,
    "Triton": triton,
    "xformers": xformers,
    "torchao": torchao,
}
