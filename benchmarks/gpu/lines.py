"""Writes results as JSON lines, each to the disk before the next measurement begins.

    lines = Lines(Path("benchmarks/results/gpu/lines.jsonl"), part="levers")
    lines.write(measured="winner", tokens_per_s=9_000)

Besides its figures, a line has the part, command, GPU, date and versions, so that it can be read alone. This module
imports only the standard library, because the script that runs all parts uses it too and must not depend on their
imports.
"""

import json
import math
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = (
    "torch", "triton", "transformers", "peft", "accelerate", "bitsandbytes", "axolotl", "liger-kernel", "trl",
    "datasets",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """The first GPU, as `nvidia-smi` reports it."""

    name: str
    total_gib: float
    used_gib: float
    driver: str


def find_card() -> Card | None:
    """Returns the first GPU; None without one, or if its driver does not answer."""
    command = ["nvidia-smi", "-i", "0", "--query-gpu=name,memory.total,memory.used,driver_version"]
    try:
        done = subprocess.run(
            [*command, "--format=csv,noheader,nounits"], capture_output=True, text=True, timeout=30, check=True
        )
        name, total, used, driver = (word.strip() for word in done.stdout.splitlines()[0].split(","))
        return Card(name=name, total_gib=float(total) / 1024, used_gib=float(used) / 1024, driver=driver)
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None


def versions() -> dict[str, str]:
    """Returns the versions of the installed packages that affect speed and memory."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


@dataclass(slots=True, kw_only=True)
class Lines:
    """The lines of one part."""

    path: Path
    part: str
    command: Sequence[str] = field(default_factory=lambda: tuple(sys.argv))
    _facts: dict[str, Any] = field(default_factory=dict)

    def write(self, **figures: Any) -> None:
        """Appends one line and syncs it, so that no measurement is lost if the machine is taken away."""
        if not self._facts:
            card = find_card()
            described = f"{card.name}, {card.total_gib:.1f} GiB, driver {card.driver}" if card else "none, CPU"
            self._facts = {"command": _command_line(self.command), "card": described, "versions": versions()}
        date = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        line = {"part": self.part, **figures, "date": date, **self._facts}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(_rounded(line)) + "\n")
            file.flush()
            os.fsync(file.fileno())


def _command_line(command: Sequence[str]) -> str:
    """Returns the command as a user would type it, with paths relative to the repository."""
    root = f"{Path(__file__).resolve().parents[2]}/"
    return shlex.join(word.removeprefix(root) for word in command)


def _rounded(value: Any) -> Any:
    """Rounds to five significant digits, more than any measurement here has. NaN, which JSON lacks, becomes text."""
    if isinstance(value, float):
        return float(f"{value:.5g}") if math.isfinite(value) else str(value)
    if isinstance(value, dict):
        return {str(key): _rounded(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(part) for part in value]
    return value
