"""The history of a run, read from its folder at any time: while it runs, after it ended, or after it was killed.

    history = read_history(Path("runs/200k"))
    history.state, history.evaluations[-1].loss, history.spans

Only files are read (the ledger and the trainer's events), so a running process is not disturbed. The report, `watch`
and the live view use it.

Where it sits: ledger and events -> **history** -> report, live view.
"""

import math
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from core.files import read_as
from core.manifest import Origins, read_manifest, read_origins
from core.run_folder import PICK, TRAIN
from core.stage import SUMMARY, Summary, is_locked
from harness.budget.speed import SpeedMeter
from harness.checkpoint.pick import PICKED, Picked, read_picked
from harness.errors import DataError
from harness.inside import events as trainer
from harness.inside.events import Event, EventReader
from harness.keys.objective import loss_unit
from harness.ledger.day import Charging, LedgerReport, Span
from harness.ledger.ledger import Ledger
from harness.run import LEDGER
from harness.supervise import METRICS

T = TypeVar("T")


class State(StrEnum):
    """The state of a run."""

    RUNNING = "running"
    FINISHED = "finished"
    STOPPED = "stopped"
    """The run was stopped by a signal, a kill or an error; the same command resumes it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A training step that the trainer reported."""

    step: int
    at_s: float
    """Seconds of the budget that were charged before the step."""
    loss: float
    learning_rate: float
    tokens_per_s: float | None
    """Speed since the previous step, without evaluations and saves; None for the first step after a start."""
    memory_gib: float | None
    """Peak of the memory reserved on the card so far; None on a CPU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """An evaluation on the validation rows."""

    step: int
    at_s: float
    loss: float
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """An event that a reader of the report should know about, such as a restart or a full disk."""

    at_s: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """A run so far. Sequences are in chronological order; a step that was repeated after a resume appears once."""

    run: Path
    name: str
    """Display name of the run."""
    state: State
    phase: str
    """The current phase, or the last one."""
    day: LedgerReport
    left_s: float
    """Rest of the budget. It shrinks while a run is stopped, unless only computing time is charged."""
    spans: tuple[Span, ...]
    steps: tuple[Step, ...]
    evaluations: tuple[Evaluation, ...]
    incidents: tuple[Incident, ...]
    horizon: int
    """The step at which the learning rate schedule ends; 0 before the first step."""
    num_unknown_events: int
    """Events of types that only a newer version knows."""
    tokens_per_s: float | None
    """Mean speed of the run; for a finished run, the value in its summary."""
    manifest: Mapping[str, object]
    origins: Origins
    picked: Picked | None

    @property
    def loss_unit(self) -> str:
        """What a loss of this run is, in words."""
        train = self.manifest.get("train")
        return loss_unit(train.get("recipe") if isinstance(train, Mapping) else None)

    @property
    def best(self) -> Evaluation | None:
        """The evaluation with the lowest finite loss; the earlier one of a tie."""
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
    """Reads the history of a run in any state.

    Raises:
        DataError: The run was never trained, or a line of its events is damaged.
    """
    if not (run / LEDGER).is_file():
        raise DataError(f"{run}: no training in it yet. `oneday train` starts one; RUN is the folder with 05_mix.")
    ledger = Ledger.of_run(run / LEDGER)
    clock = _BudgetClock(ledger)
    reader = EventReader(run / TRAIN / METRICS, from_start=True)
    events = list(reader.read())
    picked = run / PICK / PICKED
    day = ledger.report()
    done = (run / TRAIN / "done.json").is_file() and picked.is_file()
    is_active = not ledger.is_closed and ledger.phase != "idle" and (ledger.is_alive or is_locked(run))
    state = State.FINISHED if done else State.RUNNING if is_active else State.STOPPED
    is_charged = state is State.RUNNING or (state is State.STOPPED and day.clock == Charging.STRICT)
    return History(
        run=run,
        name=run.resolve().name,
        state=state,
        phase=ledger.phase,
        day=day,
        left_s=max(0.0, ledger.left_s if is_charged else day.budget_s - day.charged_s),
        spans=tuple(ledger.spans()),
        steps=tuple(_steps(events, clock)),
        evaluations=tuple(_evaluations(events, clock)),
        incidents=tuple(_incidents(events, clock)),
        tokens_per_s=_recorded_speed(run) if done else SpeedMeter.of(events).tokens_per_s,
        horizon=next((e.horizon for e in reversed(events) if isinstance(e, trainer.Step)), 0),
        num_unknown_events=reader.unknown.total(),
        manifest=read_manifest(run),
        origins=read_origins(run),
        picked=read_picked(run) if picked.is_file() else None,
    )


def _recorded_speed(run: Path) -> float | None:
    """The speed in the summary of a finished run, so that every command shows the same value."""
    return read_as(Summary, run / TRAIN / SUMMARY).details.get("tokens_per_s") or None


class _BudgetClock:
    """Converts an event's wall-clock time to charged seconds of the budget, from the records of the ledger."""

    def __init__(self, ledger: Ledger) -> None:
        self._walls, self._charged = zip(*ledger.moments(), strict=True)

    def at(self, wall: float) -> float:
        number = bisect_right(self._walls, wall) - 1
        if number < 0:
            return 0.0
        if number + 1 == len(self._walls):
            return float(self._charged[number])
        elapsed = min(wall, self._walls[number + 1]) - self._walls[number]
        return float(min(self._charged[number] + elapsed, self._charged[number + 1]))


def _steps(events: Sequence[Event], clock: _BudgetClock) -> list[Step]:
    last: dict[int, Step] = {}
    meter = SpeedMeter()
    for event in events:
        meter.add(event)
        if isinstance(event, trainer.TrainBegin):
            _discard_after(last, event.step)
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


def _evaluations(events: Sequence[Event], clock: _BudgetClock) -> list[Evaluation]:
    last: dict[int, Evaluation] = {}
    for event in events:
        if isinstance(event, trainer.TrainBegin):
            _discard_after(last, event.step)
        if isinstance(event, trainer.Evaluation):
            last[event.step] = Evaluation(
                step=event.step, at_s=clock.at(event.t), loss=event.validation_loss, seconds=event.seconds
            )
    return [last[step] for step in sorted(last)]


def _discard_after(by_step: dict[int, T], step: int) -> None:
    """Removes entries after `step`: a trainer that resumed from it repeats them."""
    for lost in [number for number in by_step if number > step]:
        del by_step[lost]


def _incidents(events: Sequence[Event], clock: _BudgetClock) -> Iterator[Incident]:
    has_started = False
    for event in events:
        text = _incident_text(event, has_started=has_started)
        has_started |= isinstance(event, trainer.TrainBegin)
        if text:
            yield Incident(at_s=clock.at(event.t), text=text)


def _incident_text(event: Event, *, has_started: bool) -> str:
    """The text of an incident; empty for most events."""
    match event:
        case trainer.TrainBegin():
            return f"resumed from step {event.step}" if has_started else ""
        case trainer.DiskFull():
            return f"step {event.step}: the disk was full, nothing was saved"
        case trainer.TrackerFailed():
            return f"{event.tracker} failed and was disabled: {event.why}"
        case trainer.NotFinite():
            return f"step {event.step}: the loss was {event.loss}"
        case trainer.Stopping():
            return f"step {event.step}: stopping, reason: {event.because}"
    return ""


_DECAY = 0.8
"""Weight of the previous mean in the exponential moving average."""


def smoothed(values: list[float]) -> list[float]:
    """Bias-corrected exponential moving average. Values that are not finite are skipped."""
    result, mean, norm = [], 0.0, 0.0
    for value in values:
        if math.isfinite(value):
            mean, norm = _DECAY * mean + (1 - _DECAY) * value, _DECAY * norm + (1 - _DECAY)
        result.append(mean / norm if norm else math.nan)
    return result
