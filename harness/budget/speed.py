"""Training speed: tokens per second without padding, of the time without evaluations and saves.

Every place that shows a speed uses this definition.

    meter = SpeedMeter.of(EventReader(path, from_start=True).read())
    meter.tokens_per_s                # 1940.6

Where it sits: the trainer's events -> **speed** -> summary of a run, console, live view, report.
"""

from collections.abc import Iterable

from harness.inside.events import DiskFull, Evaluation, Event, Save, Step, TrainBegin


class SpeedMeter:
    """Computes the speed from the events of a run, added in order.

    The first step after each start of the trainer is not counted, because no event tells when it began.
    """

    def __init__(self) -> None:
        self.steps = 0
        """The last reported step."""
        self.last_tokens_per_s: float | None = None
        """Tokens per second between the last two reported steps; None if the trainer was restarted between them."""
        self._tokens, self._spent_s, self._paused_s = 0, 0.0, 0.0
        self._last: Step | None = None

    @classmethod
    def of(cls, events: Iterable[Event]) -> "SpeedMeter":
        """A meter that has seen all of these events."""
        meter = cls()
        for event in events:
            meter.add(event)
        return meter

    def add(self, event: Event) -> None:
        """Adds an event; kinds that do not matter for the speed are ignored."""
        match event:
            case TrainBegin():
                self._last = None
            case Evaluation() | Save() | DiskFull():
                self._paused_s += event.seconds
            case Step():
                self._add_step(event)

    def _add_step(self, step: Step) -> None:
        self.steps, self.last_tokens_per_s = step.step, None
        if self._last is not None and step.tokens >= self._last.tokens:
            tokens, spent_s = step.tokens - self._last.tokens, step.up - self._last.up - self._paused_s
            self._tokens += tokens
            self._spent_s += spent_s
            self.last_tokens_per_s = tokens / spent_s if tokens > 0 and spent_s > 0 else None
        self._last, self._paused_s = step, 0.0

    @property
    def tokens_per_s(self) -> float | None:
        """The speed since the start of the run; None until two steps of one start are reported."""
        return round(self._tokens / self._spent_s, 1) if self._tokens > 0 and self._spent_s > 0 else None
