"""Runs nvidia-smi and returns its lines, which may be invalid.

    run_nvidia_smi("--query-gpu=name,memory.total").lines     # ("NVIDIA GeForce RTX 4090, 24564",)

nvidia-smi may print errors in place of values or bytes that are not UTF-8, end with an exit code, or hang.

Where it sits: below card.py.
"""

import contextlib
import math
import os
import re
import signal
import subprocess
import tempfile
from dataclasses import dataclass

TIMEOUT_S = 20.0
"""Without the driver's persistence mode, nvidia-smi takes ten seconds on a machine with eight cards."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SmiResult:
    """The result of a call of nvidia-smi."""

    is_installed: bool
    is_ok: bool
    lines: tuple[str, ...] = ()
    error: str = ""
    """What failed, if it is not ok."""


def run_nvidia_smi(option: str, *, device: str | None = None) -> SmiResult:
    """Runs nvidia-smi with an option. A call that hangs in the kernel cannot be killed and is abandoned."""
    command = ["nvidia-smi", *(["-i", device] if device is not None else []), option]
    command += ["--format=csv,noheader,nounits"] if option.startswith("--query") else []
    with tempfile.TemporaryFile() as out:
        try:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
            )
        except FileNotFoundError:
            return SmiResult(
                is_installed=False, is_ok=False, error="nvidia-smi is not installed, so there is no NVIDIA driver"
            )
        except OSError as e:
            return SmiResult(is_installed=True, is_ok=False, error=f"nvidia-smi cannot be run ({e.strerror})")
        code = _exit_code(process)
        out.seek(0)
        text = out.read(1 << 20).decode("utf-8", errors="replace")
    lines = tuple(line.rstrip() for line in text.splitlines() if line.strip())
    if code is None:
        return SmiResult(is_installed=True, is_ok=False, error=f"nvidia-smi did not answer in {TIMEOUT_S:g} s")
    if code != 0:
        error = f"nvidia-smi ended with exit code {code}" + (f": {lines[0][:200]}" if lines else "")
        return SmiResult(is_installed=True, is_ok=False, lines=lines, error=error)
    return SmiResult(is_installed=True, is_ok=True, lines=lines)


def _exit_code(process: "subprocess.Popen[bytes]") -> int | None:
    """The exit code; None if the process group had to be killed."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        return process.wait(timeout=TIMEOUT_S)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=1.0)
    return None


def fields_of(result: SmiResult) -> list[str]:
    """Every field of every line; empty if the call failed."""
    return [field.strip() for line in result.lines for field in line.split(",")] if result.is_ok else []


@dataclass(frozen=True, slots=True, kw_only=True)
class MigDevice:
    """A MIG instance, as `nvidia-smi -L` lists it."""

    parent: str
    """Index of its GPU."""
    parent_uuid: str
    profile: str
    """For example 3g.20gb."""
    uuid: str

    def is_of(self, index: str) -> bool:
        """Whether `index`, a number or the beginning of a UUID, denotes its GPU."""
        return self.parent == index or (index.startswith("GPU-") and self.parent_uuid.startswith(index))

    @property
    def total_gib(self) -> float:
        """Memory by the profile's name, because nvidia-smi's queries report that of the whole GPU."""
        size = re.search(r"(\d+)gb", self.profile)
        return float(size.group(1)) if size else math.nan


def mig_devices() -> list[MigDevice]:
    """The MIG instances of all GPUs, in nvidia-smi's order."""
    devices, parent, uuid = [], "0", ""
    for line in run_nvidia_smi("-L").lines:
        if card := re.match(r"GPU (\d+):.*?(GPU-[\w-]*)?\)?$", line):
            parent, uuid = card.group(1), card.group(2) or ""
        elif part := re.match(r"\s*MIG (\S+)\s+Device\s+\d+: \(UUID: (MIG-\S+)\)", line):
            devices.append(MigDevice(parent=parent, parent_uuid=uuid, profile=part.group(1), uuid=part.group(2)))
    return devices


def mig_device(uuid: str) -> MigDevice | None:
    """The MIG instance of a UUID, which may be shortened to its beginning, as for CUDA."""
    return next((device for device in mig_devices() if device.uuid.startswith(uuid)), None)
