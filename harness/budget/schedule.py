"""The schedule of a run: how much of it has passed at a step. The learning rate is a function of it (curve.py).

    >>> schedule = LRSchedule([Segment(step=0, progress=0.0, horizon=100, reason="start")])
    >>> round(schedule.progress(50), 3)
    0.5
    >>> schedule.replan(50, horizon=200, reason="slower")
    >>> round(schedule.progress(50), 3), round(schedule.progress(125), 3)
    (0.5, 0.75)

The horizon is the step at which training will end, from the measured speed. A re-plan stretches the rest of the curve
so that it ends at the new horizon, without a jump. A run that follows the logged schedule gets the same rates.

Where it sits: the Axolotl plugin asks it at every step; the file is 07_train/plan.jsonl.
"""

import contextlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import orjson

from core.files import cut_torn_line, naming
from harness.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """From `step` on, progress increases linearly from `progress` to 1 at `horizon`."""

    step: int
    progress: float
    horizon: int
    reason: str


class LRSchedule:
    """Segments in the order in which they were planned. At a step, the newest segment that has begun applies."""

    def __init__(self, segments: Iterable[Segment]) -> None:
        self.segments = list(segments)
        assert self.segments, "a schedule has a first segment"
        assert self.segments[0].step == 0, "a schedule begins at step 0"

    @property
    def horizon(self) -> int:
        """The step at which training will end according to the newest segment."""
        return self.segments[-1].horizon

    def progress(self, step: int) -> float:
        """Share of the schedule that has passed at `step`, in [0, 1]."""
        segment = next(s for s in reversed(self.segments) if s.step <= step)
        length = segment.horizon - segment.step
        done = (step - segment.step) / length if length > 0 else 1.0
        return min(1.0, segment.progress + (1 - segment.progress) * done)

    def replan(self, step: int, *, horizon: int, reason: str) -> None:
        """Adds a segment from `step` to `horizon`. If `horizon` has passed, the next step is the last one."""
        progress = self.progress(step)
        self.segments.append(Segment(step=step, progress=progress, horizon=max(horizon, step + 1), reason=reason))


def read_segments(path: Path) -> list[Segment]:
    """The segments of a plan file; empty if it does not exist. A line that a kill truncated is skipped."""
    segments = []
    for line in path.read_bytes().splitlines() if path.is_file() else []:
        with contextlib.suppress(orjson.JSONDecodeError):
            segments.append(Segment(**orjson.loads(line)))
    return segments


def write_segment(path: Path, segment: Segment) -> None:
    """Appends a segment to a plan file and syncs it to disk."""
    cut_torn_line(path)
    with naming(path), path.open("ab") as f:
        f.write(orjson.dumps(segment, option=orjson.OPT_APPEND_NEWLINE))
        f.flush()
        os.fsync(f.fileno())


def is_plan(path: Path) -> bool:
    """Whether a file holds a schedule that begins at step 0 and in which no segment ends before its start."""
    try:
        segments = read_segments(path)
        in_range = all(0 <= s.step <= s.horizon and 0 <= s.progress <= 1 for s in segments)
    except (OSError, TypeError):
        return False
    are_integers = all(isinstance(n, int) for s in segments for n in (s.step, s.horizon))
    return bool(segments) and segments[0].step == 0 and in_range and are_integers


def check_plan(path: Path) -> None:
    """Checks the file that `follow_plan` names.

    Raises:
        ConfigError: The file holds no valid schedule.
    """
    if not is_plan(path):
        raise ConfigError(f"`follow_plan={path}`: not a plan file. Give the 07_train/plan.jsonl of a run.")
