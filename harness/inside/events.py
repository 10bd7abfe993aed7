"""What the trainer tells the supervisor: events as JSON lines, and the hash, rate and loss of every step.

Where it sits: inside Axolotl; the budget's callback and our trainer write it.
"""

import hashlib
import json
import math
import os
import time
from pathlib import Path
from typing import Any

import torch

from harness.budget.clock import uptime

BEAT_S = 1.0
"""At most so often is a sign of life reported while nothing else is."""


class Events:
    """Appends events, one JSON line each, with the wall clock and the uptime clock."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a", buffering=1, encoding="utf-8")
        self._last = 0.0

    def emit(self, event: str, **fields: Any) -> None:
        """One line, written at once. JSON has no NaN: a number that is not finite is written as text."""
        self._last = uptime()
        record = {"event": event, "t": round(time.time(), 3), "up": round(self._last, 3), "pid": os.getpid(), **fields}
        self._file.write(json.dumps({key: _jsonable(value) for key, value in record.items()}) + "\n")

    def beat(self) -> None:
        """A sign of life, for the supervisor's watchdog."""
        if uptime() - self._last >= BEAT_S:
            self.emit("beat")


class BatchLog:
    """`batches.jsonl`: what every step trained on, at which rate, with which loss. Its last line of a step counts."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", buffering=1, encoding="utf-8")
        self.clear()

    def clear(self) -> None:
        """Before the first micro-batch of a step."""
        self._digest = hashlib.sha256()
        self._losses: list[torch.Tensor] = []

    def add(self, digest: bytes, loss: torch.Tensor) -> None:
        """One micro-batch. The loss stays on its device: reading it would wait for the card."""
        self._digest.update(digest)
        self._losses.append(loss)

    def write(self, step: int, rate: float) -> float:
        """The step's line; returns its loss."""
        loss = float(torch.stack(self._losses).double().sum())
        record = {"step": step, "batch": self._digest.hexdigest()[:16], "lr": rate, "loss": _jsonable(loss)}
        self._file.write(json.dumps(record) + "\n")
        return loss


def _jsonable(value: Any) -> Any:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
