"""The rounds of adaptive asking that a run has behind it, with their seconds, and why asking stopped.

    record = RoundRecord(run, inputs, within_s=10_800.0, redo=False)
    record.add(4_096, 203.1)
    record.finish(StopReason.TIME, 53)

The number of rounds follows from the time, so it must outlive a kill: every line is flushed to the disk.

Where it sits: beside the answer store; asking writes it, the command line shows its times.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import orjson

from core.errors import StageError
from core.files import JSON_OPTIONS, as_json, naming, read_jsonl, sha256

ROUNDS = "asking.jsonl"
"""File in the run folder: the inputs' hash, a line for each round, and the reason for which asking stopped."""


class StopReason(StrEnum):
    """Why no more rounds were asked."""

    CERTAIN = "certain"
    """Quotas are filled, or cannot be, and buckets are certain enough."""
    TIME = "time"
    """The time limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AskingTime:
    """How long the rounds of a run took."""

    asked: int
    seconds: float
    stopped: StopReason


def read_timing(run: Path) -> AskingTime | None:
    """From `asking.jsonl`; None if the run repeated a given number of rounds."""
    lines = list(_whole_lines(run / ROUNDS))
    rounds = [line for line in lines if line.round]
    if not rounds or not lines[-1].stopped:
        return None
    return AskingTime(
        asked=sum(line.asked for line in rounds),
        seconds=sum(line.seconds for line in rounds),
        stopped=StopReason(lines[-1].stopped),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    """A line of the file: the inputs, a round, or the end."""

    inputs: str = ""
    round: int = 0
    asked: int = 0
    seconds: float = 0.0
    stopped: str = ""
    rounds: int = 0
    within_s: float | None = None


class RoundRecord:
    """`asking.jsonl` of a run.

    Args:
        inputs: Everything that decides the rounds. The record of other inputs is replaced.
        within_s: The time limit.
        redo: Whether asking may go on with another limit than the record's.
    """

    _header: Mapping[str, object] | None

    def __init__(self, run: Path, inputs: object, *, within_s: float | None, redo: bool) -> None:
        self._path, self._within_s, self._redo = run / ROUNDS, within_s, redo
        key = sha256(orjson.dumps(as_json(inputs)))
        lines = list(_whole_lines(self._path))
        if not lines or lines[0].inputs != key:
            lines = []
        self._header = None if lines else {"inputs": key}
        self._rounds = [line for line in lines if line.round]
        self._ends = [line for line in lines if line.stopped]
        self._own_s = 0.0

    def finished_rounds(self) -> int | None:
        """The number of rounds, if asking stopped; None if it has to go on."""
        if not self._ends:
            return None
        end = self._ends[-1]
        if end.stopped == StopReason.TIME and end.within_s != self._within_s:
            if self._redo:
                return None
            raise StageError(
                f"{self._path}: asking stopped after {end.within_s:g} s, another time than `within=` says. Give the "
                "same, or `redo=true` to go on asking."
            )
        return end.rounds

    @property
    def num_rounds(self) -> int:
        """Number of rounds that were asked before."""
        return len(self._rounds)

    def add_time(self, seconds: float) -> None:
        """Charges time that belongs to no round."""
        self._own_s += seconds

    def exceeds_limit(self, size: int) -> bool:
        """Whether a round of this size would end after the time limit, at the mean speed of the rounds before it."""
        if self._within_s is None or not self._rounds:
            return False
        spent_s = sum(line.seconds for line in self._rounds)
        pace = spent_s / sum(line.asked for line in self._rounds)
        return self._own_s + spent_s + size * pace > self._within_s

    def add(self, asked: int, seconds: float) -> None:
        """Adds a round."""
        line = _Line(round=len(self._rounds) + 1, asked=asked, seconds=round(seconds, 3))
        self._rounds.append(line)
        self._write({"round": line.round, "asked": line.asked, "seconds": line.seconds})

    def finish(self, reason: StopReason, rounds: int) -> None:
        """Adds the end."""
        self._write({"stopped": reason.value, "rounds": rounds, "within_s": self._within_s})

    def _write(self, line: Mapping[str, object]) -> None:
        with naming(self._path), self._path.open("ab" if self._header is None else "wb") as file:
            if self._header is not None:
                file.write(orjson.dumps(self._header, option=JSON_OPTIONS))
            file.write(orjson.dumps(line, option=JSON_OPTIONS))
            file.flush()
            os.fsync(file.fileno())
        self._header = None


def _whole_lines(path: Path) -> Iterator[_Line]:
    """The lines of a file whose last line may be cut off by a kill; that line is removed."""
    if not path.is_file():
        return
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if whole != content:
        path.write_bytes(whole)
    yield from (_Line(**row) for row in read_jsonl(path))
