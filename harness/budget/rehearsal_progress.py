"""The progress of a rehearsal that another process runs, read from the run's folder.

    progress = read_rehearsal_progress(Path("runs/200k"))
    progress.activity, progress.seconds  # "step 3", 41.0

Where it sits: the rehearsal's events -> **rehearsal progress** -> `oneday watch`, before the run has a ledger.
"""

import time
from dataclasses import dataclass
from pathlib import Path

from core.run_folder import PLAN
from core.stage import DONE, INPUTS, SCRATCH, is_locked
from harness.inside.events import BaseLoss, Evaluation, Event, EventReader, Save, Step, TrainBegin, TrainEnd


def _activity(event: Event, previous: str) -> str:
    """What the rehearsal does after an event; events that do not tell leave `previous`."""
    match event:
        case BaseLoss():
            return "measured the base"
        case TrainBegin():
            return "training on the hardest batches"
        case Step():
            return f"step {event.step}"
        case Evaluation():
            return "evaluated"
        case Save():
            return "saved"
        case TrainEnd():
            return "reading the checkpoint back"
    return previous


@dataclass(frozen=True, slots=True, kw_only=True)
class RehearsalProgress:
    """The state of a running rehearsal."""

    seconds: float
    """Time since its start."""
    activity: str


def read_rehearsal_progress(run: Path) -> RehearsalProgress | None:
    """The rehearsal that is running in a run's folder; None if there is none."""
    stage = run / PLAN
    inputs = stage / INPUTS
    if not inputs.is_file() or (stage / DONE).is_file() or not is_locked(run):
        return None
    activity = "starting Axolotl"
    try:
        for event in EventReader(stage / SCRATCH / "metrics.jsonl", from_start=True).read():
            activity = _activity(event, activity)
        seconds = max(0.0, time.time() - inputs.stat().st_mtime)
    except OSError:  # the rehearsal ended in the meantime and removed the files
        return None
    return RehearsalProgress(seconds=seconds, activity=activity)
