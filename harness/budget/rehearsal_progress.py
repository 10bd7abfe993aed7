"""A rehearsal that another process is at: how long, and what it did last. Read from the run's folder.

    found = read_rehearsal_progress(Path("runs/200k"))
    found.doing, found.seconds           # "step 3", 41.0

Where it sits: the rehearsal's own events -> **rehearsing** -> `oneday watch`, before there is a ledger to be read.
"""

import time
from dataclasses import dataclass
from pathlib import Path

from core.run_folder import PLAN
from core.stage import DONE, INPUTS, SCRATCH, is_locked
from harness.inside.events import BaseLoss, Evaluation, Event, EventReader, Save, Step, TrainBegin, TrainEnd


def _doing(event: Event, before: str) -> str:
    """What is being done after an event; one that says nothing of it changes nothing."""
    match event:
        case BaseLoss():
            return "the base is measured"
        case TrainBegin():
            return "the hardest batches"
        case Step():
            return f"step {event.step}"
        case Evaluation():
            return "evaluated"
        case Save():
            return "saved"
        case TrainEnd():
            return "reading the checkpoint back"
    return before


@dataclass(frozen=True, slots=True, kw_only=True)
class RehearsalProgress:
    """A rehearsal under way."""

    run: Path
    seconds: float
    """Since it began."""
    doing: str


def read_rehearsal_progress(run: Path) -> RehearsalProgress | None:
    """The rehearsal that is at work in a run at this moment; None: there is none."""
    stage = run / PLAN
    began = stage / INPUTS
    if not began.is_file() or (stage / DONE).is_file() or not is_locked(run):
        return None
    doing = "starting Axolotl"
    try:
        for event in EventReader(stage / SCRATCH / "metrics.jsonl", from_start=True).read():
            doing = _doing(event, doing)
        seconds = max(0.0, time.time() - began.stat().st_mtime)
    except OSError:  # it ended while it was read
        return None
    return RehearsalProgress(run=run, seconds=seconds, doing=doing)
