"""What has happened in a run so far, read from its folder: finished, running, interrupted or killed.

    history = read_history(Path("runs/200k"))
    history.state, history.evaluations[-1].loss, history.spans

Nothing is asked of the processes at work: the ledger and the trainer's events are on the disk. The report, `watch` and
the live view are made from it.

Where it sits: ledger and events -> **history** -> report, live view.
"""

import math
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

from core.files import read_as
from core.manifest import read_manifest
from core.run_folder import PICK, TRAIN
from core.stage import SUMMARY, Summary, is_locked
from harness.budget.day import Charging, LedgerReport, Span
from harness.budget.ledger import Ledger
from harness.budget.speed import SpeedMeter
from harness.checkpoint.pick import PICKED, Picked, read_picked
from harness.errors import DataError
from harness.inside import events as trainer
from harness.inside.events import Event, EventReader
from harness.run import LEDGER
from harness.supervise import METRICS

T = TypeVar("T")


class State(StrEnum):
    """How a run stands."""

    RUNNING = "running"
    FINISHED = "finished"
    STOPPED = "stopped"
    """By a signal, a kill or an error: the same command goes on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A training step that was reported."""

    step: int
    at_s: float
    """Seconds of the budget, charged before it."""
    loss: float
    learning_rate: float
    tokens_per_s: float | None
    """Since the step before, evaluations and saves taken off; None for the first of a start."""
    memory_gib: float | None
    """Most that was ever reserved on the card; None on a CPU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """A validation loss."""

    step: int
    at_s: float
    loss: float
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """Something that a reader of the day should know of."""

    at_s: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """A run so far. Lists are in order of time; a step that a resume repeated stands in its last form."""

    run: Path
    name: str
    """For people."""
    state: State
    phase: str
    """What is being done, or was last."""
    day: LedgerReport
    left_s: float
    """Of the budget; while a run lies down it goes on running out, unless only work is charged."""
    spans: tuple[Span, ...]
    steps: tuple[Step, ...]
    evaluations: tuple[Evaluation, ...]
    moments: tuple[Moment, ...]
    horizon: int
    """The step at which the plan ends; 0 before there is one."""
    num_unknown_events: int
    """Of kinds that only a newer version knows."""
    tokens_per_s: float | None
    """Since the start of the run; of a finished one, what its summary says."""
    manifest: Mapping[str, Any]
    picked: Picked | None

    @property
    def best(self) -> Evaluation | None:
        """The lowest validation loss; of equals the earlier."""
        finite = [e for e in self.evaluations if math.isfinite(e.loss)]
        return min(finite, key=lambda e: e.loss, default=None)

    @property
    def finish_s(self) -> float | None:
        """Seconds from now to the end of the plan, at the speed of the last steps; never past the deadline."""
        recent = self.steps[-20:]
        if len(recent) < 2 or recent[-1].step <= recent[0].step:
            return None
        step_s = (recent[-1].at_s - recent[0].at_s) / (recent[-1].step - recent[0].step)
        return max(0.0, min(self.left_s, step_s * (self.horizon - recent[-1].step)))


def read_history(run: Path) -> History:
    """Everything on the disk, at any time.

    Raises:
        DataError: nothing was ever trained here, or a line of the events is none.
    """
    if not (run / LEDGER).is_file():
        raise DataError(f"{run}: no training in it yet. `oneday train` begins one; RUN is the folder with 05_mix.")
    ledger = Ledger.of_run(run / LEDGER)
    clock = _DayClock(ledger)
    reader = EventReader(run / TRAIN / METRICS, from_start=True)
    events = list(reader.read())
    picked = run / PICK / PICKED
    day = ledger.report()
    done = (run / TRAIN / "done.json").is_file() and picked.is_file()
    works = not ledger.is_closed and ledger.phase != "idle" and (ledger.is_alive or is_locked(run))
    state = State.FINISHED if done else State.RUNNING if works else State.STOPPED
    runs_out = state is State.RUNNING or (state is State.STOPPED and day.clock == Charging.STRICT)
    return History(
        run=run,
        name=run.resolve().name,
        state=state,
        phase=ledger.phase,
        day=day,
        left_s=max(0.0, ledger.left_s if runs_out else day.budget_s - day.charged_s),
        spans=tuple(ledger.spans()),
        steps=tuple(_steps(events, clock)),
        evaluations=tuple(_evaluations(events, clock)),
        moments=tuple(_moments(events, clock)),
        tokens_per_s=_recorded_speed(run) if done else SpeedMeter.of(events).tokens_per_s,
        horizon=next((e.horizon for e in reversed(events) if isinstance(e, trainer.Step)), 0),
        num_unknown_events=reader.unknown.total(),
        manifest=read_manifest(run),
        picked=read_picked(run) if picked.is_file() else None,
    )


def _recorded_speed(run: Path) -> float | None:
    """As the end of the run computed it, so that every command tells the same figure."""
    return read_as(Summary, run / TRAIN / SUMMARY).details.get("tokens_per_s") or None


class _DayClock:
    """From an event's wall-clock time to seconds of the budget, between the ledger's records."""

    def __init__(self, ledger: Ledger) -> None:
        self._walls, self._charged = zip(*ledger.moments(), strict=True)

    def at(self, wall: float) -> float:
        number = bisect_right(self._walls, wall) - 1
        if number < 0:
            return 0.0
        if number + 1 == len(self._walls):
            return float(self._charged[number])
        into = min(wall, self._walls[number + 1]) - self._walls[number]
        return float(min(self._charged[number] + into, self._charged[number + 1]))


def _steps(events: Sequence[Event], clock: _DayClock) -> list[Step]:
    last: dict[int, Step] = {}
    meter = SpeedMeter()
    for event in events:
        meter.add(event)
        if isinstance(event, trainer.TrainBegin):
            _forget_after(last, event.step)
        if isinstance(event, trainer.Step):
            last[event.step] = Step(
                step=event.step,
                at_s=clock.at(event.t),
                loss=event.loss,
                learning_rate=event.learning_rate,
                tokens_per_s=meter.last_tokens_per_s,
                memory_gib=event.memory_gib,
            )
    return [last[step] for step in sorted(last)]


def _evaluations(events: Sequence[Event], clock: _DayClock) -> list[Evaluation]:
    last: dict[int, Evaluation] = {}
    for event in events:
        if isinstance(event, trainer.TrainBegin):
            _forget_after(last, event.step)
        if isinstance(event, trainer.Evaluation):
            last[event.step] = Evaluation(
                step=event.step, at_s=clock.at(event.t), loss=event.validation_loss, seconds=event.seconds
            )
    return [last[step] for step in sorted(last)]


def _forget_after(found: dict[int, T], step: int) -> None:
    """A start from `step` lost what a killed trainer had done after it."""
    for lost in [number for number in found if number > step]:
        del found[lost]


def _moments(events: Sequence[Event], clock: _DayClock) -> Iterator[Moment]:
    begun = False
    for event in events:
        text = _telling(event, begun=begun)
        begun |= isinstance(event, trainer.TrainBegin)
        if text:
            yield Moment(at_s=clock.at(event.t), text=text)


def _telling(event: Event, *, begun: bool) -> str:
    """What a reader of the day should know of an event; nothing of most."""
    match event:
        case trainer.TrainBegin():
            return f"went on from step {event.step}" if begun else ""
        case trainer.DiskFull():
            return f"step {event.step}: the disk was full, nothing saved"
        case trainer.TrackerFailed():
            return f"{event.tracker} failed and was left out: {event.why}"
        case trainer.NotFinite():
            return f"step {event.step}: the loss was {event.loss}"
        case trainer.Stopping():
            return f"step {event.step}: closing for the {event.because}"
    return ""


_KEPT = 0.8
"""Weight of the mean so far in the next one."""


def smoothed(values: list[float]) -> list[float]:
    """Exponential moving average without a bias at the start. Values that are not finite are passed over."""
    result, mean, norm = [], 0.0, 0.0
    for value in values:
        if math.isfinite(value):
            mean, norm = _KEPT * mean + (1 - _KEPT) * value, _KEPT * norm + (1 - _KEPT)
        result.append(mean / norm if norm else math.nan)
    return result
