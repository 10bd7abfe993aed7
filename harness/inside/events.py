"""What the trainer reports to the supervisor: one stream of typed events, written and read here alone.

    events = Events(path)                                        # in the trainer
    events.emit(Step(**now(), step=7, loss=0.71, learning_rate=1e-4, tokens=51_200, horizon=90))
    for event in EventReader(path).read(): ...                   # in the supervisor, in `watch`, in the report

A line of the file is one event as JSON; `event` names its kind. Every kind has a class below, and a reader gets objects
of these classes. A kind that only a newer version knows is skipped and counted.

Where it sits: trainer -> **events** -> supervisor, rehearsal, history, speed.
"""

import json
import math
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, TypedDict

from pydantic import Field, FiniteFloat, TypeAdapter, ValidationError

from core.files import make_folder
from harness.budget.clock import uptime
from harness.errors import DataError

BEAT_S = 1.0
"""At most so often is a sign of life reported while nothing else is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What every event says."""

    t: FiniteFloat
    """Wall-clock time."""
    up: FiniteFloat
    """On the uptime clock (`harness.budget.clock`)."""
    pid: int = 0


class Stamp(TypedDict):
    """When and by which process."""

    t: float
    up: float
    pid: int


def now() -> Stamp:
    """For an event of this moment."""
    return {"t": round(time.time(), 3), "up": round(uptime(), 3), "pid": os.getpid()}


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginRegistered(Event):
    """Axolotl has loaded our plugin."""

    event: Literal["registered"] = "registered"


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginAlive(Event):
    """The configuration was read and the data loaded; the model is next."""

    event: Literal["plugin_alive"] = "plugin_alive"
    attn_implementation: str | None = None
    memory_capped_gib: float | None = None
    """Of a card that is larger than the one that is planned for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackerFailed(Event):
    """A tracker raised an error and is left out."""

    event: Literal["tracker_failed"] = "tracker_failed"
    tracker: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Isolation(Event):
    """How far logits moved with what stands before their sample, and their standard deviation."""

    event: Literal["isolation"] = "isolation"
    moved: float
    spread: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernels(Event):
    """What ran in a step's forward pass. See harness/inside/kernels.py."""

    event: Literal["kernels"] = "kernels"
    paths: Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointTest(Event):
    """A rehearsal's checkpoint was loaded and used; why that failed, or None."""

    event: Literal["proof"] = "proof"
    failed: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainBegin(Event):
    """The training loop begins after `step` steps that a checkpoint holds."""

    event: Literal["train_begin"] = "train_begin"
    step: int
    max_steps: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase(Event):
    """An evaluation or a save begins."""

    event: Literal["phase"] = "phase"
    phase: Literal["evaluate", "save"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat(Event):
    """A sign of life."""

    event: Literal["beat"] = "beat"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step(Event):
    """A training step that was logged."""

    event: Literal["step"] = "step"
    step: int
    loss: float
    learning_rate: FiniteFloat
    grad_norm: float | None = None
    tokens: int
    """Since this start of the trainer, padding left out."""
    horizon: int
    """The step at which the plan ends."""
    memory_gib: float | None = None
    """Most that was ever reserved on the card; None on a CPU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseLoss(Event):
    """The validation loss before the first step, which is the base's."""

    event: Literal["base_loss"] = "base_loss"
    validation_loss: float
    seconds: FiniteFloat


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation(Event):
    """An evaluation is done."""

    event: Literal["evaluate"] = "evaluate"
    step: int
    validation_loss: float
    answer_tokens: int | None = None
    seconds: FiniteFloat


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationHalved(Event):
    """A batch of an evaluation did not fit the card's memory and was cut in two."""

    event: Literal["evaluation_halved"] = "evaluation_halved"
    step: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Save(Event):
    """A checkpoint is whole."""

    event: Literal["save"] = "save"
    step: int
    seconds: FiniteFloat
    deleted: Sequence[str] = ()
    """Checkpoints that gave way."""
    reserve_s: float = 0.0
    """Kept free for the last evaluation and save."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskFull(Event):
    """The disk had no room for a checkpoint."""

    event: Literal["disk_full"] = "disk_full"
    step: int
    seconds: FiniteFloat = 0.0
    deleted: Sequence[str] = ()
    reserve_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class NotFinite(Event):
    """A loss was no finite number: training ends."""

    event: Literal["not_finite"] = "not_finite"
    step: int
    loss: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopping(Event):
    """The step was the last; an evaluation and a save follow."""

    event: Literal["stopping"] = "stopping"
    step: int
    because: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainEnd(Event):
    """The training loop is over, with what it measured. Seconds."""

    event: Literal["train_end"] = "train_end"
    step: int
    because: str
    step_s: FiniteFloat
    mean_step_s: FiniteFloat = 0.0
    eval_s: FiniteFloat
    usual_eval_s: FiniteFloat = 0.0
    save_s: FiniteFloat
    peak_memory_gib: float | None = None
    peak_by_phase_gib: Mapping[str, float] | None = None


TrainerEvent: TypeAlias = (
    PluginRegistered | PluginAlive | TrackerFailed | Isolation | Kernels | CheckpointTest | TrainBegin | Phase
    | Heartbeat | Step | BaseLoss | Evaluation | EvaluationHalved | Save | DiskFull | NotFinite | Stopping | TrainEnd
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick(Event):
    """Nothing was reported: the supervisor's own, so that clocks and signals are looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Restart(Event):
    """The trainer is started again: the supervisor's own."""

    because: str


_ADAPTER: TypeAdapter[TrainerEvent] = TypeAdapter(Annotated[TrainerEvent, Field(discriminator="event")])


class Events:
    """Appends events to a file, one line each."""

    def __init__(self, path: Path) -> None:
        make_folder(path.parent)
        self._path, self._last = path, 0.0

    def emit(self, event: TrainerEvent) -> None:
        """One line, written at once. JSON has no NaN: a number that is not finite is written as text."""
        self._last = event.up
        record = {"event": event.event, **asdict(event)}
        line = json.dumps({key: jsonable(value) for key, value in record.items()}) + "\n"
        with self._path.open("ab", buffering=0) as file:
            file.write(line.encode())

    def beat(self) -> None:
        """A sign of life, for the supervisor's watchdog."""
        if uptime() - self._last >= BEAT_S:
            self.emit(Heartbeat(**now()))


def jsonable(value: Any) -> Any:
    """A number that is not finite as text."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


class EventReader:
    """New events of a file since the last read. A last line without its end is left for the next read.

    Args:
        from_start: Read what earlier attempts wrote too.
    """

    def __init__(self, path: Path, *, from_start: bool = False) -> None:
        self._path = path
        before = path.read_bytes() if path.is_file() and not from_start else b""
        self._offset = before.rfind(b"\n") + 1
        self._num_lines = before.count(b"\n")
        self.unknown: Counter[str] = Counter()
        """How many events of each kind were skipped because only a newer version knows it."""

    def read(self) -> Iterator[TrainerEvent]:
        """Never blocks.

        Raises:
            DataError: a line is whole and no event; the message names file and line.
        """
        if not self._path.is_file():
            return
        with self._path.open("rb") as f:
            f.seek(self._offset)
            for line in f:
                if not line.endswith(b"\n"):
                    return
                self._offset += len(line)
                self._num_lines += 1
                event = self._parsed(line)
                if event is not None:
                    yield event

    def _parsed(self, line: bytes) -> TrainerEvent | None:
        try:
            return _ADAPTER.validate_json(line)
        except ValidationError as e:
            problem = e.errors(include_url=False)[0]
            if problem["type"] == "union_tag_invalid":
                self.unknown[str(problem["ctx"]["tag"])] += 1
                return None
            where = ".".join(map(str, problem["loc"]))
            said = f"{where}: {problem['msg']}" if where else problem["msg"]
            raise DataError(f"{self._path}:{self._num_lines}: not an event ({said}). Remove the line.") from e
