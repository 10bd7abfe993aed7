"""Speed: real tokens per second of training time, without padding, evaluations and saves. One definition for all.

    >>> meter = SpeedMeter()
    >>> for event in ({"event": "step", "step": n, "tokens": 100 * n, "up": 2.0 * n} for n in (1, 2, 3)):
    ...     meter.hear(event)
    >>> meter.tokens_per_s
    50.0

Where it sits: the trainer's events -> **speed** -> summary of a run, console, live view, report.
"""

from collections.abc import Iterable, Mapping
from typing import Any


class SpeedMeter:
    """Hears every event of a run in order. The first step of a start is not counted: its begin is not known."""

    def __init__(self) -> None:
        self.steps = 0
        """The last one reported."""
        self.of_last_step: float | None = None
        """Tokens per second between the last two reported steps; None if they are not of one start."""
        self._tokens, self._spent_s, self._paused_s = 0, 0.0, 0.0
        self._last: tuple[int, float] | None = None

    @classmethod
    def of(cls, events: Iterable[Mapping[str, Any]]) -> "SpeedMeter":
        """After all of them."""
        meter = cls()
        for event in events:
            meter.hear(event)
        return meter

    def hear(self, event: Mapping[str, Any]) -> None:
        """Takes one event; those that say nothing of speed are passed over."""
        if event["event"] == "train_begin":
            self._last = None
        elif event["event"] in ("evaluate", "save", "disk_full"):
            self._paused_s += event.get("seconds", 0.0)
        elif event["event"] == "step":
            self._hear_step(event)

    def _hear_step(self, event: Mapping[str, Any]) -> None:
        self.steps, self.of_last_step = event["step"], None
        if self._last is not None and event["tokens"] >= self._last[0]:
            tokens, spent_s = event["tokens"] - self._last[0], event["up"] - self._last[1] - self._paused_s
            self._tokens += tokens
            self._spent_s += spent_s
            self.of_last_step = tokens / spent_s if tokens > 0 and spent_s > 0 else None
        self._last, self._paused_s = (event["tokens"], event["up"]), 0.0

    @property
    def tokens_per_s(self) -> float | None:
        """Since the start of the run; None before two steps of one start are reported."""
        return round(self._tokens / self._spent_s, 1) if self._tokens > 0 and self._spent_s > 0 else None
