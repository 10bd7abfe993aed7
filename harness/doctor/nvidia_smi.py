"""What nvidia-smi says, line by line. Nothing of it is trusted.

    ask("--query-gpu=name,memory.total").lines     # ("NVIDIA GeForce RTX 4090, 24564",)

Errors in place of values, bytes that are no UTF-8, other exit codes and silence are all answers that it gives.

Where it sits: below gpu.
"""

import contextlib
import math
import os
import re
import signal
import subprocess
import tempfile
from dataclasses import dataclass

ANSWERS_S = 20.0
"""Without the driver's persistence mode a machine with eight cards takes ten seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What nvidia-smi said."""

    is_there: bool
    is_good: bool
    lines: tuple[str, ...] = ()
    said: str = ""
    """What is wrong, if it is not good."""


def ask(what: str, *, device: str | None = None) -> Answer:
    """Its lines. A call that hangs is left behind: in the kernel it cannot even be killed."""
    command = ["nvidia-smi", *(["-i", device] if device is not None else []), what]
    command += ["--format=csv,noheader,nounits"] if what.startswith("--query") else []
    with tempfile.TemporaryFile() as out:
        try:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
            )
        except FileNotFoundError:
            return Answer(is_there=False, is_good=False, said="there is no nvidia-smi, hence no NVIDIA driver")
        except OSError as e:
            return Answer(is_there=True, is_good=False, said=f"nvidia-smi cannot be run ({e.strerror})")
        code = _code_of(process)
        out.seek(0)
        text = out.read(1 << 20).decode("utf-8", errors="replace")
    lines = tuple(line.rstrip() for line in text.splitlines() if line.strip())
    if code is None:
        return Answer(is_there=True, is_good=False, said=f"nvidia-smi did not answer in {ANSWERS_S:g} s")
    if code != 0:
        said = f": {lines[0][:200]}" if lines else ""
        return Answer(is_there=True, is_good=False, lines=lines, said=f"nvidia-smi ended with exit code {code}{said}")
    return Answer(is_there=True, is_good=True, lines=lines)


def _code_of(process: "subprocess.Popen[bytes]") -> int | None:
    """Its exit code; None if it had to be killed with all that it started."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        return process.wait(timeout=ANSWERS_S)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=1.0)
    return None


def fields_of(answer: Answer) -> list[str]:
    """Every field of every line of a good answer."""
    return [field.strip() for line in answer.lines for field in line.split(",")] if answer.is_good else []


@dataclass(frozen=True, slots=True, kw_only=True)
class MigDevice:
    """A part of a card, as `nvidia-smi -L` lists it."""

    parent: str
    """Number of the whole card."""
    parent_uuid: str
    profile: str
    """Such as 3g.20gb."""
    uuid: str

    def is_of(self, index: str) -> bool:
        """Whether `index`, a number or the beginning of a UUID, means its card."""
        return self.parent == index or (index.startswith("GPU-") and self.parent_uuid.startswith(index))

    @property
    def total_gib(self) -> float:
        """From the name: nvidia-smi's queries tell the whole card's."""
        found = re.search(r"(\d+)gb", self.profile)
        return float(found.group(1)) if found else math.nan


def mig_devices() -> list[MigDevice]:
    """Of all cards, in nvidia-smi's order."""
    found, parent, uuid = [], "0", ""
    for line in ask("-L").lines:
        if card := re.match(r"GPU (\d+):.*?(GPU-[\w-]*)?\)?$", line):
            parent, uuid = card.group(1), card.group(2) or ""
        elif part := re.match(r"\s*MIG (\S+)\s+Device\s+\d+: \(UUID: (MIG-\S+)\)", line):
            found.append(MigDevice(parent=parent, parent_uuid=uuid, profile=part.group(1), uuid=part.group(2)))
    return found


def mig_device(uuid: str) -> MigDevice | None:
    """CUDA takes the beginning of a UUID too."""
    return next((device for device in mig_devices() if device.uuid.startswith(uuid)), None)
