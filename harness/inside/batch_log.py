"""The log `batches.jsonl`: the batch hash, the learning rate and the loss of every step.

    log.clear(); log.add(digest, loss); log.write(step=7, rate=1e-4)      # in the trainer
    read_batches(Path("07_train/batches.jsonl"))[7].loss

A resumed run repeats steps. The last line of a step is the valid one.

Where it sits: the trainer writes it; the run's summary and `oneday reproduce` read it.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from harness.errors import DataError
from harness.inside.events import jsonable

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRecord:
    """One line of the file."""

    step: int
    batch: str
    """Hash of the token ids, labels and position ids of the step's micro-batches."""
    lr: float
    loss: float


class BatchLog:
    """Appends one line per step."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", buffering=1, encoding="utf-8")
        self.clear()

    def clear(self) -> None:
        """Discards the collected micro-batches. Call it before the first one of a step."""
        self._digest = hashlib.sha256()
        self._losses: list[torch.Tensor] = []

    def add(self, digest: bytes, loss: "torch.Tensor") -> None:
        """Adds a micro-batch. Its loss stays on the device, because reading it would wait for the GPU."""
        self._digest.update(digest)
        self._losses.append(loss)

    def write(self, step: int, rate: float) -> float:
        """Writes the line of a step and returns the step's loss."""
        import torch

        loss = float(torch.stack(self._losses).double().sum())
        record = {"step": step, "batch": self._digest.hexdigest()[:16], "lr": rate, "loss": jsonable(loss)}
        self._file.write(json.dumps(record) + "\n")
        return loss


def read_batches(path: Path) -> dict[int, StepRecord]:
    """The steps of a run by step number. An incomplete last line is skipped.

    Raises:
        DataError: A complete line is not the record of a step.
    """
    steps: dict[int, StepRecord] = {}
    lines = path.read_bytes().splitlines(keepends=True) if path.is_file() else []
    for number, line in enumerate(lines, start=1):
        if not line.endswith(b"\n"):
            break
        try:
            record = orjson.loads(line)
            steps[int(record["step"])] = StepRecord(
                step=int(record["step"]),
                batch=str(record["batch"]),
                lr=float(record["lr"]),
                loss=float(record["loss"]),
            )
        except (KeyError, TypeError, ValueError) as e:
            raise DataError(f"{path}: record {number} lacks step, batch, lr or loss. Restore the file.") from e
    return steps
