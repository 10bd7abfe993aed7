"""The events that the trainer reports to the supervisor: one typed stream, written and read only by this module.

    events = Events(path)                                        # in the trainer
    events.emit(Step(**now(), step=7, loss=0.71, learning_rate=1e-4, tokens=51_200, horizon=90))
    for event in EventReader(path).read(): ...                   # in the supervisor, in `watch`, in the report

A line of the file is one event as JSON, and its key `event` names the kind. Every kind has a class below, and a reader
yields objects of these classes. Kinds that only a newer version knows are skipped and counted.

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
"""Shortest interval between a heartbeat and the event before it, in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """The fields of every event."""

    t: FiniteFloat
    """Wall-clock time."""
    up: FiniteFloat
    """Time on the uptime clock (`harness.budget.clock`)."""
    pid: int = 0


class Stamp(TypedDict):
    """The times and the process of an event."""

    t: float
    up: float
    pid: int


def now() -> Stamp:
    """The stamp of an event at this moment."""
    return {"t": round(time.time(), 3), "up": round(uptime(), 3), "pid": os.getpid()}


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginRegistered(Event):
    """Axolotl has loaded the plugin."""

    event: Literal["registered"] = "registered"


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginAlive(Event):
    """The configuration and the data were loaded; loading the model is next."""

    event: Literal["plugin_alive"] = "plugin_alive"
    attn_implementation: str | None = None
    memory_capped_gib: float | None = None
    """Memory limit on a card that is larger than the planned one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackerFailed(Event):
    """A tracker raised an error and was switched off."""

    event: Literal["tracker_failed"] = "tracker_failed"
    tracker: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Isolation(Event):
    """Whether packed samples attend to each other."""

    event: Literal["isolation"] = "isolation"
    moved: float
    """Largest change of a sample's logits when its packed neighbour changes."""
    spread: float
    """Standard deviation of these logits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernels(Event):
    """The kernels that ran in a step's forward pass. See harness/inside/kernels.py."""

    event: Literal["kernels"] = "kernels"
    paths: Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointTest(Event):
    """A rehearsal's checkpoint was loaded onto the base and generated a token, or failed to."""

    event: Literal["proof"] = "proof"
    failed: str | None = None
    """The error; None if the checkpoint works."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainBegin(Event):
    """The training loop begins."""

    event: Literal["train_begin"] = "train_begin"
    step: int
    """Number of steps that were resumed from a checkpoint."""
    max_steps: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase(Event):
    """An evaluation or a save begins."""

    event: Literal["phase"] = "phase"
    phase: Literal["evaluate", "save"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat(Event):
    """The trainer is alive and has nothing else to report."""

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
    """Number of tokens without padding since this start of the trainer."""
    horizon: int
    """The step at which the learning-rate schedule ends."""
    memory_gib: float | None = None
    """Peak of the memory reserved on the card so far; None on a CPU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseLoss(Event):
    """The validation loss of the base, measured before the first step."""

    event: Literal["base_loss"] = "base_loss"
    validation_loss: float
    seconds: FiniteFloat


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation(Event):
    """An evaluation has finished."""

    event: Literal["evaluate"] = "evaluate"
    step: int
    validation_loss: float
    answer_tokens: int | None = None
    reward_accuracy: float | None = None
    """Of pairs: share of which the chosen answer gained more probability than the rejected one."""
    reward_margin: float | None = None
    """Of pairs: mean difference of both rewards."""
    seconds: FiniteFloat


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationHalved(Event):
    """A batch of an evaluation did not fit the card's memory and was split in two."""

    event: Literal["evaluation_halved"] = "evaluation_halved"
    step: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Save(Event):
    """A checkpoint is complete."""

    event: Literal["save"] = "save"
    step: int
    seconds: FiniteFloat
    deleted: Sequence[str] = ()
    """Names of the checkpoints that were deleted to make room."""
    reserve_s: float = 0.0
    """Seconds kept free for the last evaluation and save."""


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
    """Training ends because a loss is not finite."""

    event: Literal["not_finite"] = "not_finite"
    step: int
    loss: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopping(Event):
    """This step was the last one; an evaluation and a save follow."""

    event: Literal["stopping"] = "stopping"
    step: int
    because: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainEnd(Event):
    """The training loop is over. The costs that it measured are in seconds."""

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
    """The supervisor's own event while the trainer reports nothing, so that clocks and signals are checked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Restart(Event):
    """The supervisor's own event before it starts the trainer again."""

    because: str


_ADAPTER: TypeAdapter[TrainerEvent] = TypeAdapter(Annotated[TrainerEvent, Field(discriminator="event")])


class Events:
    """Appends events to a file, one line each."""

    def __init__(self, path: Path) -> None:
        make_folder(path.parent)
        self._path, self._last = path, 0.0

    def emit(self, event: TrainerEvent) -> None:
        """Appends an event to the file without buffering."""
        self._last = event.up
        record = {"event": event.event, **asdict(event)}
        line = json.dumps({key: jsonable(value) for key, value in record.items()}) + "\n"
        with self._path.open("ab", buffering=0) as file:
            file.write(line.encode())

    def beat(self) -> None:
        """Emits a heartbeat for the supervisor's watchdog if the last event is at least `BEAT_S` old."""
        if uptime() - self._last >= BEAT_S:
            self.emit(Heartbeat(**now()))


def jsonable(value: Any) -> Any:
    """The value; a float that is not finite becomes text, because JSON has no NaN."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


class EventReader:
    """Reads the new events of a file. An incomplete last line is left for the next read.

    Args:
        from_start: Also read the events that were written before now.
    """

    def __init__(self, path: Path, *, from_start: bool = False) -> None:
        self._path = path
        before = path.read_bytes() if path.is_file() and not from_start else b""
        self._offset = before.rfind(b"\n") + 1
        self._num_lines = before.count(b"\n")
        self.unknown: Counter[str] = Counter()
        """Number of skipped events of each unknown kind."""

    def read(self) -> Iterator[TrainerEvent]:
        """The events since the last read. It never blocks.

        Raises:
            DataError: A complete line is not an event. The message names file and line.
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
                event = self._parse(line)
                if event is not None:
                    yield event

    def _parse(self, line: bytes) -> TrainerEvent | None:
        try:
            return _ADAPTER.validate_json(line)
        except ValidationError as e:
            problem = e.errors(include_url=False)[0]
            if problem["type"] == "union_tag_invalid":
                self.unknown[str(problem["ctx"]["tag"])] += 1
                return None
            where = ".".join(map(str, problem["loc"]))
            reason = f"{where}: {problem['msg']}" if where else problem["msg"]
            raise DataError(f"{self._path}:{self._num_lines}: not an event ({reason}). Remove the line.") from e
