"""Results as JSON lines, each on the disk before the next measurement begins.

    lines = Lines(Path("benchmarks/results/gpu/lines.jsonl"), part="levers")
    lines.write(measured="winner", tokens_per_s=9_000)

A line says part, command, card, date and versions beside its figures, so that it can be read alone. Only the standard
library is imported here: the script that runs all parts uses it too and must not depend on what they import.
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
    """What `nvidia-smi` says of the first card."""

    name: str
    total_gib: float
    used_gib: float
    driver: str


def find_card() -> Card | None:
    """None without a card, or where its driver does not answer."""
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
    """Of the packages that decide speed and memory; one that is not installed is left out."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


@dataclass(slots=True, kw_only=True)
class Lines:
    """One part's lines."""

    path: Path
    part: str
    command: Sequence[str] = field(default_factory=lambda: tuple(sys.argv))
    _facts: dict[str, Any] = field(default_factory=dict)

    def write(self, **figures: Any) -> None:
        """One line. It is fsynced: a machine that is taken away keeps what was measured."""
        if not self._facts:
            card = find_card()
            described = f"{card.name}, {card.total_gib:.1f} GiB, driver {card.driver}" if card else "none, CPU"
            self._facts = {"command": _shown(self.command), "card": described, "versions": versions()}
        date = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        line = {"part": self.part, **figures, "date": date, **self._facts}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(_rounded(line)) + "\n")
            file.flush()
            os.fsync(file.fileno())


def _shown(command: Sequence[str]) -> str:
    """As it would be typed, with the tree's root taken off."""
    root = f"{Path(__file__).resolve().parents[2]}/"
    return shlex.join(word.removeprefix(root) for word in command)


def _rounded(value: Any) -> Any:
    """Five significant digits are more than any measurement here has; JSON has no NaN."""
    if isinstance(value, float):
        return float(f"{value:.5g}") if math.isfinite(value) else str(value)
    if isinstance(value, dict):
        return {str(key): _rounded(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(part) for part in value]
    return value
