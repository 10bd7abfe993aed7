"""The supervisor: from the start of the trainer to its end, whatever it does in between.

    because = Supervisor(job=job, stage=stage, ledger=ledger, measured=measured, ...).supervise()

The plugin stops in time for a last evaluation and save. This side makes sure: at the deadline less the picker's reserve
it kills what still runs. A trainer that falls silent is killed and started again from its last whole checkpoint, one
that crashes likewise if it had got further than before.

Where it sits: inside harness/run.py, over harness/drive.py.
"""

import contextlib
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson

from core.errors import Interrupted
from core.files import cut_torn_line, make_folder, naming
from core.stage import Stage
from harness.axolotl_document import RunSettings, write_config
from harness.axolotl_process import Launcher, axolotl_environment, failure
from harness.budget.ledger import Ledger
from harness.budget.pace import first_horizon
from harness.budget.rehearse import CHILD_EXIT_S, Rehearsal, pack_plan
from harness.budget.schedule import Segment, read_segments, write_segment
from harness.checkpoint.seal import SAVING, newest_whole, set_aside
from harness.dataset import Dataset, link_dataset, read_dataset
from harness.drive import Ended, Ending, Seen, drive
from harness.errors import TrainError
from harness.inside.events import (
    Evaluation,
    Event,
    EventReader,
    Phase,
    PluginAlive,
    PluginRegistered,
    Restart,
    Save,
    TrainBegin,
    TrainEnd,
    TrainerEvent,
    now,
)
from harness.job import TrainJob
from harness.pack import PackPlan
from harness.tracker import tracking_environment, tracking_keys

OUTPUT, METRICS, SCHEDULE, DATA = "output", "metrics.jsonl", "plan.jsonl", "data"
PACKS, BATCHES, DAMAGED, TRACKING = "packs.jsonl", "batches.jsonl", "damaged.jsonl", "tracking"

IMPORT_PATIENCE_S = 60.0
"""For Axolotl to import our plugin, on top of five times what the rehearsal took to start."""

LEAST_SILENCE_S, SILENT_COSTS = 30.0, 20.0
"""A trainer that gives no sign of life for this long, or for so many of its slowest steps or saves, hangs."""

MOST_DEATHS = 3
"""Of a trainer that hangs or is killed from outside without having got further, before the command gives up."""

OnEvent = Callable[[Event, float], None]
"""Called with each event and the seconds of budget that are left."""


@dataclass(slots=True, kw_only=True)
class Supervisor:
    """Starts the trainer, again if need be, and sees to its end."""

    job: TrainJob
    stage: Stage
    ledger: Ledger
    measured: Rehearsal
    launch: Launcher
    on_event: OnEvent
    lock: int
    """Descriptor of the run's locked file; the child inherits it."""
    name: str
    """Stands in the seal of every checkpoint of this run."""
    num_deaths: int = 0

    def supervise(self) -> str:
        """Trains; returns why it ended: `deadline`, `epochs`, `plan`, `not_finite` or `killed`.

        Raises:
            TrainError: the trainer cannot go on; whole checkpoints stay and the next call resumes.
            Interrupted: SIGINT, SIGTERM or SIGHUP; the state is saved.
        """
        with _signals() as received:
            while True:
                before = self.newest_step()
                over = self._over(before)
                if over:
                    return over
                ending = self.run(received)
                if received:
                    self.ledger.enter("idle")
                    raise Interrupted(f"stopped by {received[0]}; {self.state()}.")
                trained = ending.seen.last(TrainEnd)
                if trained is not None:
                    return trained.because
                if ending.how is Ended.DEADLINE:
                    return "killed"
                self.check_another(ending, progress=self.newest_step() > before)

    def _over(self, step: int) -> str:
        """Why there is nothing left to train, as for a run that was killed while it picked; empty if there is."""
        if self.ledger.is_closed:
            return "deadline"
        if step == 0:
            return ""
        if self.job.follow_plan and step >= read_segments(self.stage.path(SCHEDULE))[-1].horizon:
            return "plan"
        packs = self.stage.path(PACKS)
        if packs.is_file() and step >= PackPlan.read(packs).num_steps(self.job.recipe.gradient_accumulation_steps):
            return "epochs"
        shortest_s = self.measured.minimum_s(self.job.average)
        too_late = self.ledger.left_s < shortest_s
        return "deadline" if too_late else ""

    @property
    def reserve_s(self) -> float:
        """Kept free for the picker."""
        return self.measured.pick_reserve_s(self.job.average)

    @property
    def log(self) -> Path:
        """Of the child."""
        return self.stage.path("axolotl.log")

    def run(self, received: list[str]) -> Ending:
        """One child, from the newest whole checkpoint on."""
        self.ledger.enter("pack")
        dataset, packs = self._dataset()
        settings = self._settings(dataset, packs)
        self._first_plan(settings)
        write_config(self.stage.path("axolotl.yml"), self.job.recipe, settings, self.job.card)
        self.ledger.enter("load")
        environment = {
            **axolotl_environment(self.job.card, device=self.job.device),
            **tracking_environment(self.job.trackers, self.stage.path(TRACKING).resolve()),
        }
        for log in (settings.events, settings.batches):
            cut_torn_line(log)
        reader = EventReader(settings.events)
        os.set_inheritable(self.lock, True)
        child = self.launch(self.stage.path("axolotl.yml"), self.log, environment)
        try:
            return drive(
                child,
                reader,
                until=self.ledger.deadline - self.reserve_s - CHILD_EXIT_S / 4,
                silence_s=self._silence_s,
                on_event=self._hear,
                asked=lambda: bool(received),
            )
        finally:
            self.ledger.enter("save")

    def _hear(self, event: Event) -> None:
        charge(self.ledger, event)
        self.ledger.beat()
        self.on_event(event, self.ledger.left_s)

    def _silence_s(self, seen: Seen) -> float:
        """The start gives no sign; after it the costs of steps and saves tell."""
        if TrainBegin not in seen:
            return IMPORT_PATIENCE_S + 5 * self.measured.load_s
        saved = seen.last(Save)
        costs = [self.measured.step_s, self.measured.save_s, saved.seconds if saved else 0.0]
        return max(LEAST_SILENCE_S, SILENT_COSTS * max(costs))

    def check_another(self, ending: Ending, *, progress: bool) -> None:
        """Returns if the trainer is to be started again.

        Raises:
            TrainError: it would only fail again.
        """
        from_outside = ending.how is Ended.HUNG or ending.exit_code < 0  # it did not end by an error of its own
        self.num_deaths = 0 if progress else self.num_deaths + 1
        alive = PluginRegistered in ending.seen
        if alive and (progress or (from_outside and self.num_deaths < MOST_DEATHS)):
            self.on_event(Restart(**now(), because=str(ending.how)), self.ledger.left_s)
            return
        self.ledger.enter("idle")
        error = failure(self.log, ending.exit_code, alive=alive)
        raise TrainError(f"{error} {self._outlook()}")

    def _outlook(self) -> str:
        """What can be done after the trainer failed."""
        step = self.newest_step()
        if self.ledger.left_s < self.measured.minimum_s(self.job.average):
            if step == 0:
                return (
                    "Nothing is saved and too little of the budget is left to begin again: mend the cause, and "
                    "`redo=true`."
                )
            return f"Too little of the budget is left to go on: the same command publishes the best up to step {step}."
        if step == 0:
            return "Nothing is saved yet: mend the cause; then the same command begins in what is left of the budget."
        return f"The checkpoint of step {step} is whole: mend the cause; then the same command goes on from it."

    def newest_step(self) -> int:
        """Of the whole checkpoints; 0 if there is none."""
        newest = newest_whole(self.stage.path(OUTPUT), job=self.name)
        return newest.step if newest else 0

    def state(self) -> str:
        """What a resume finds."""
        step = self.newest_step()
        return f"checkpoint of step {step} is whole" if step else "no checkpoint yet"

    def _dataset(self) -> tuple[Dataset, PackPlan]:
        """The rows that the run was begun with, else those of its inputs; and every batch of them.

        What the rehearsal or `oneday plan` tokenised is found here. Without them it is done now, on the clock.
        """
        out, path = self.stage.path(DATA), self.stage.path(PACKS)
        dataset = read_dataset(out) or link_dataset(self.job.dataset(), out)
        if not path.is_file():
            recipe = self.job.recipe
            pack_plan(recipe, dataset.lengths(), epochs=recipe.num_epochs).write(path)
        return dataset, PackPlan.read(path)

    def _settings(self, dataset: Dataset, packs: PackPlan) -> RunSettings:
        output = self.stage.path(OUTPUT).resolve()
        make_folder(output)
        with naming(self.stage.path(DAMAGED)), self.stage.path(DAMAGED).open("ab") as f:
            f.writelines(orjson.dumps(d, option=orjson.OPT_APPEND_NEWLINE) for d in set_aside(output, job=self.name))
        newest = newest_whole(output, job=self.name)
        for leftover in (output / SAVING, *output.glob("deleted-checkpoint-*")):
            shutil.rmtree(leftover, ignore_errors=True)
        return RunSettings(
            base_model=self.job.base.resolve(),
            train_file=dataset.train.path.resolve(),
            validation_file=dataset.validation.path.resolve(),
            output_dir=output,
            events=self.stage.path(METRICS).resolve(),
            plan=self.stage.path(SCHEDULE).resolve(),
            packs=self.stage.path(PACKS).resolve(),
            batches=self.stage.path(BATCHES).resolve(),
            num_steps=packs.num_steps(self.job.recipe.gradient_accumulation_steps),
            deadline=self.ledger.deadline - self.reserve_s - CHILD_EXIT_S,
            job=self.name,
            follow_plan=self.job.follow_plan is not None,
            eval_s=self.measured.eval_s,
            save_s=self.measured.save_s,
            resume_from=newest.path if newest else None,
            tracking=tracking_keys(self.job.trackers, run=self.job.run.resolve().name),
        )

    def _first_plan(self, settings: RunSettings) -> None:
        """The plan to follow, or the horizon that the rehearsal promises; the plugin re-plans from what it measures."""
        if read_segments(settings.plan):
            return
        if self.job.follow_plan:
            shutil.copy(self.job.follow_plan, settings.plan)
            return
        measured, recipe = self.measured, self.job.recipe
        fitting = first_horizon(
            left_s=self.ledger.left_s - measured.load_s - self.reserve_s,
            step_s=measured.typical_step_s,
            closing_s=measured.usual_closing_s,
            eval_steps=recipe.eval_steps,
        )
        horizon = min(settings.num_steps, fitting)
        write_segment(settings.plan, Segment(step=0, progress=0.0, horizon=horizon, reason="rehearsal"))


def charge(ledger: Ledger, event: Event) -> None:
    """An event of the plugin as a phase of the ledger."""
    match event:
        case PluginRegistered():
            ledger.enter("pack", at=event.up)
        case PluginAlive():
            ledger.enter("load", at=event.up)
        case TrainBegin() | Evaluation() | Save():
            ledger.enter("train", at=event.up)
        case Phase():
            ledger.enter(event.phase, at=event.up)


@contextlib.contextmanager
def _signals() -> Iterator[list[str]]:
    """Collects the names of SIGINT, SIGTERM and SIGHUP instead of dying of them."""
    received: list[str] = []

    def note(number: int, frame: object) -> None:
        received.append(signal.Signals(number).name)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def events_of(stage: Path) -> Iterator[TrainerEvent]:
    """Everything the plugin reported, in all attempts.

    Raises:
        DataError: a line of it is no event.
    """
    return EventReader(stage / METRICS, from_start=True).read()
