"""The learning rate: a pure function of the step and a logged plan.

    >>> plan = LRSchedule([Segment(step=0, progress=0.0, horizon=100, reason="start")])
    >>> round(plan.progress(50), 3)
    0.5
    >>> plan.replan(50, horizon=200, reason="slower")
    >>> round(plan.progress(50), 3), round(plan.progress(125), 3)
    (0.5, 0.75)

The plan says at which step training will end (the horizon, from measured speed). A re-plan bends the rest of the
curve so that it ends at the new horizon; it never jumps. Whoever follows the logged plan gets the same rates.

Where it sits: the Axolotl plugin asks it at every step.
"""

import contextlib
import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import orjson

from core.files import cut_torn_line, naming
from harness.errors import ConfigError

Shape = Literal["cosine", "linear"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """From `step` on, progress runs evenly from `progress` to 1 at `horizon`."""

    step: int
    progress: float
    horizon: int
    reason: str


class LRSchedule:
    """The segments so far, in the order they were made. The newest that has begun counts."""

    def __init__(self, segments: Iterable[Segment]) -> None:
        self.segments = list(segments)
        assert self.segments, "a plan has a first segment"
        assert self.segments[0].step == 0, "a plan begins at step 0"

    @property
    def horizon(self) -> int:
        """The step at which training is to end, by the newest segment."""
        return self.segments[-1].horizon

    def progress(self, step: int) -> float:
        """Share of the schedule that is over at `step`, in [0, 1]."""
        segment = next(s for s in reversed(self.segments) if s.step <= step)
        length = segment.horizon - segment.step
        done = (step - segment.step) / length if length > 0 else 1.0
        return min(1.0, segment.progress + (1 - segment.progress) * done)

    def replan(self, step: int, *, horizon: int, reason: str) -> None:
        """From `step` on, end at `horizon`. A horizon already passed means: the next step is the last."""
        progress = self.progress(step)
        self.segments.append(Segment(step=step, progress=progress, horizon=max(horizon, step + 1), reason=reason))


def learning_rate(
    step: int, plan: LRSchedule, *, peak: float, warmup_steps: int, shape: Shape, floor: float = 0.0
) -> float:
    """The rate of optimizer step `step` (0 is the first).

    Args:
        peak: The recipe's `learning_rate`.
        warmup_steps: Steps of linear rise; at most a tenth of the horizon, so that a short budget is not all warm-up.
        floor: Rate at the horizon.
    """
    warmup = min(warmup_steps, max(1, plan.segments[0].horizon // 10))
    rise = min(1.0, (step + 1) / warmup) if warmup > 0 else 1.0
    progress = plan.progress(step)
    fall = 0.5 * (1 + math.cos(math.pi * progress)) if shape == "cosine" else 1 - progress
    return rise * (floor + (peak - floor) * fall)


def read_segments(path: Path) -> list[Segment]:
    """The plan file; nothing if there is none. A line that a kill tore is skipped."""
    segments = []
    for line in path.read_bytes().splitlines() if path.is_file() else []:
        with contextlib.suppress(orjson.JSONDecodeError):
            segments.append(Segment(**orjson.loads(line)))
    return segments


def write_segment(path: Path, segment: Segment) -> None:
    """Appends one segment, durably."""
    cut_torn_line(path)
    with naming(path), path.open("ab") as f:
        f.write(orjson.dumps(segment, option=orjson.OPT_APPEND_NEWLINE))
        f.flush()
        os.fsync(f.fileno())


def is_plan(path: Path) -> bool:
    """Whether a file holds a plan that can be followed: it begins at step 0, and no segment ends before its start."""
    try:
        segments = read_segments(path)
        sound = all(0 <= s.step <= s.horizon and 0 <= s.progress <= 1 for s in segments)
    except (OSError, TypeError):
        return False
    whole = all(isinstance(n, int) for s in segments for n in (s.step, s.horizon))
    return bool(segments) and segments[0].step == 0 and sound and whole


def check_plan(path: Path) -> None:
    """Refuses what `follow_plan` cannot follow.

    Raises:
        ConfigError: no plan in it, or none that begins at step 0.
    """
    if not is_plan(path):
        raise ConfigError(f"`follow_plan={path}`: no plan. Give the 07_train/plan.jsonl of a run.")
