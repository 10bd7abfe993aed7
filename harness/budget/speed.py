"""Speed: real tokens per second of training time, without padding, evaluations and saves. One definition for all.

    meter = SpeedMeter.of(EventReader(path, from_start=True).read())
    meter.tokens_per_s                # 1940.6

Where it sits: the trainer's events -> **speed** -> summary of a run, console, live view, report.
"""

from collections.abc import Iterable

from harness.inside.events import DiskFull, Evaluation, Event, Save, Step, TrainBegin


class SpeedMeter:
    """Hears every event of a run in order. The first step of a start is not counted: its begin is not known."""

    def __init__(self) -> None:
        self.steps = 0
        """The last one reported."""
        self.last_tokens_per_s: float | None = None
        """Tokens per second between the last two reported steps; None if they are not of one start."""
        self._tokens, self._spent_s, self._paused_s = 0, 0.0, 0.0
        self._last: Step | None = None

    @classmethod
    def of(cls, events: Iterable[Event]) -> "SpeedMeter":
        """After all of them."""
        meter = cls()
        for event in events:
            meter.add(event)
        return meter

    def add(self, event: Event) -> None:
        """Takes one event; those that say nothing of speed are passed over."""
        match event:
            case TrainBegin():
                self._last = None
            case Evaluation() | Save() | DiskFull():
                self._paused_s += event.seconds
            case Step():
                self._hear_step(event)

    def _hear_step(self, step: Step) -> None:
        self.steps, self.last_tokens_per_s = step.step, None
        if self._last is not None and step.tokens >= self._last.tokens:
            tokens, spent_s = step.tokens - self._last.tokens, step.up - self._last.up - self._paused_s
            self._tokens += tokens
            self._spent_s += spent_s
            self.last_tokens_per_s = tokens / spent_s if tokens > 0 and spent_s > 0 else None
        self._last, self._paused_s = step, 0.0

    @property
    def tokens_per_s(self) -> float | None:
        """Since the start of the run; None before two steps of one start are reported."""
        return round(self._tokens / self._spent_s, 1) if self._tokens > 0 and self._spent_s > 0 else None
