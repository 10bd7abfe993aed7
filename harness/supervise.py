"""The supervisor: starts the trainer, restarts it after a hang or a crash, and enforces the deadline.

    stop_reason = Supervisor(job=job, stage=stage, ledger=ledger, measured=measured, ...).supervise()

The plugin stops training in time for a last evaluation and save. The supervisor enforces this: it kills a trainer that
still runs at the deadline less the picker's reserve. A trainer that reports no event for too long is killed and started
again from its newest complete checkpoint; one that crashes is restarted only if it had saved a new checkpoint.

Where it sits: between harness/run.py and harness/drive.py.
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
from core.run_folder import OUTPUT
from core.stage import Stage
from harness.axolotl_document import RunSettings, write_config
from harness.axolotl_process import Launcher, axolotl_environment, error_from_log
from harness.budget.pace import first_horizon
from harness.budget.rehearse import CHILD_EXIT_S, Rehearsal, pack_plan, planned
from harness.budget.schedule import Segment, read_segments, write_segment
from harness.checkpoint.seal import SAVING, newest_whole, set_aside
from harness.data.dataset import Dataset, link_dataset, read_dataset
from harness.data.pack import PackPlan
from harness.drive import ChildExit, ExitReason, LastEvents, drive
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
    Step,
    Tick,
    TrainBegin,
    TrainEnd,
    TrainerEvent,
    now,
)
from harness.job import TrainJob
from harness.ledger.ledger import Ledger
from harness.recipe import AxolotlConfig
from harness.tracker import tracking_environment, tracking_keys

METRICS, SCHEDULE, DATA = "metrics.jsonl", "plan.jsonl", "data"
PACKS, BATCHES, DAMAGED, TRACKING = "packs.jsonl", "batches.jsonl", "damaged.jsonl", "tracking"

IMPORT_TIMEOUT_S = 60.0
"""Time for Axolotl to import the plugin, in addition to five times the start-up time of the rehearsal."""

MIN_SILENCE_S, SILENCE_FACTOR = 30.0, 20.0
"""A trainer hangs if it reports no event for this time and for this multiple of its slowest step or save."""

GAP_FACTOR = 6.0
"""And for this multiple of its longest time between two events, on a machine that gets slower than in the rehearsal."""

MAX_FAILED_STARTS = 3
"""Consecutive trainers that hang or are killed from outside without a new checkpoint, before the command gives up."""

OnEvent = Callable[[Event, float], None]
"""Called with each event and the rest of the budget in seconds."""


@dataclass(slots=True, kw_only=True)
class Supervisor:
    """Runs the trainer until it has finished, with restarts."""

    job: TrainJob
    stage: Stage
    ledger: Ledger
    measured: Rehearsal
    launch: Launcher
    on_event: OnEvent
    lock: int
    """File descriptor of the run's lock, which the child inherits."""
    run_id: str
    """Identifier in the seal of every checkpoint of this run."""
    num_failed_starts: int = 0
    longest_gap_s: float = 0.0
    """Longest time between two events of training so far: a machine may get slower than it was in the rehearsal."""
    _last_up: float | None = None
    """Time of the last event of training, on the uptime clock."""

    def supervise(self) -> str:
        """Trains; returns why it stopped: `deadline`, `epochs`, `plan`, `pause`, `not_finite` or `killed`.

        Raises:
            TrainError: The trainer cannot continue; complete checkpoints stay and the next call resumes.
            Interrupted: SIGINT, SIGTERM or SIGHUP was received; the state is saved.
        """
        with _signals() as received:
            while True:
                before = self.newest_step()
                stop_reason = self._reason_not_to_start(before)
                if stop_reason:
                    return stop_reason
                child_exit = self.run(received)
                if received:
                    self.ledger.enter("idle")
                    raise Interrupted(f"stopped by {received[0]}; {self.state()}.")
                train_end = child_exit.events.get(TrainEnd)
                if train_end is not None:
                    return train_end.because
                if child_exit.reason is ExitReason.DEADLINE:
                    return "killed"
                self.check_restart(child_exit, progress=self.newest_step() > before)

    def _reason_not_to_start(self, step: int) -> str:
        """Why no training is left, as after a kill during the pick; empty if the trainer must be started."""
        if self.ledger.is_closed:
            return "deadline"
        if step == 0:
            return ""
        if self.job.follow_plan and step >= read_segments(self.stage.path(SCHEDULE))[-1].horizon:
            return "plan"
        if 0 < self.job.pause_at <= step:
            return "pause"
        packs = self.stage.path(PACKS)
        if packs.is_file() and step >= PackPlan.read(packs).num_steps(self.job.recipe.gradient_accumulation_steps):
            return "epochs"
        return "deadline" if self.ledger.left_s < self.measured.minimum_s(self.job.averaging) else ""

    @property
    def reserve_s(self) -> float:
        """Time reserved for the picker."""
        return self.measured.pick_reserve_s(self.job.averaging)

    @property
    def log(self) -> Path:
        """Output of the child."""
        return self.stage.path("axolotl.log")

    def run(self, received: list[str]) -> ChildExit:
        """Runs one child from the newest complete checkpoint."""
        self.ledger.enter("pack")
        dataset, packs = self._dataset()
        settings = self._settings(dataset, packs)
        recipe = planned(self.job.recipe, packs)
        self._first_plan(settings, recipe)
        write_config(self.stage.path("axolotl.yml"), recipe, settings, self.job.card)
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
                max_silence_s=self._max_silence_s,
                on_event=self._handle_event,
                stop_requested=lambda: bool(received),
            )
        finally:
            self.ledger.enter("save")

    def _handle_event(self, event: Event) -> None:
        self._measure_gap(event)
        charge(self.ledger, event)
        self.ledger.beat()
        self.on_event(event, self.ledger.left_s)

    def _measure_gap(self, event: Event) -> None:
        if isinstance(event, Tick):
            return
        if isinstance(event, TrainBegin):
            self._last_up = event.up
        elif self._last_up is not None:
            self.longest_gap_s = max(self.longest_gap_s, event.up - self._last_up)
            self._last_up = None if isinstance(event, TrainEnd) else event.up

    def _max_silence_s(self, events: LastEvents) -> float:
        """The start-up reports no events; after it the limit follows from the durations of steps and saves.

        Without a rehearsal nothing is known of the first step, which then has the time of a start-up.
        """
        was_rehearsed = self.measured.eval_s > 0
        if TrainBegin not in events or not (was_rehearsed or Step in events):
            return IMPORT_TIMEOUT_S + 5 * self.measured.load_s
        save = events.get(Save)
        durations = [self.measured.step_s, self.measured.save_s, save.seconds if save else 0.0]
        return max(MIN_SILENCE_S, SILENCE_FACTOR * max(durations), GAP_FACTOR * self.longest_gap_s)

    def check_restart(self, child_exit: ChildExit, *, progress: bool) -> None:
        """Returns if the trainer should be started again.

        Raises:
            TrainError: A new start would fail again.
        """
        ended_from_outside = child_exit.reason is ExitReason.HUNG or child_exit.exit_code < 0
        self.num_failed_starts = 0 if progress else self.num_failed_starts + 1
        registered = PluginRegistered in child_exit.events
        if registered and (progress or (ended_from_outside and self.num_failed_starts < MAX_FAILED_STARTS)):
            self.on_event(Restart(**now(), because=str(child_exit.reason)), self.ledger.left_s)
            return
        self.ledger.enter("idle")
        error = error_from_log(self.log, child_exit.exit_code, plugin_registered=registered)
        raise TrainError(f"{error} {self._recovery_advice()}")

    def _recovery_advice(self) -> str:
        """How the user can continue after the trainer failed."""
        step = self.newest_step()
        if self.ledger.left_s < self.measured.minimum_s(self.job.averaging):
            if step == 0:
                return (
                    "No checkpoint was saved and too little of the budget is left to start again: mend the cause, and "
                    "give `redo=true`."
                )
            return (
                f"Too little of the budget is left to continue: the same command publishes the best checkpoint up to "
                f"step {step}."
            )
        if step == 0:
            return (
                "No checkpoint was saved: mend the cause; then the same command starts again with the remaining budget."
            )
        return f"The checkpoint of step {step} is complete: mend the cause; then the same command resumes from it."

    def newest_step(self) -> int:
        """Step of the newest complete checkpoint; 0 if there is none."""
        newest = newest_whole(self.stage.path(OUTPUT), run_id=self.run_id)
        return newest.step if newest else 0

    def state(self) -> str:
        """The checkpoint that a resume would start from, in words."""
        step = self.newest_step()
        return f"the checkpoint of step {step} is complete" if step else "there is no checkpoint yet"

    def _dataset(self) -> tuple[Dataset, PackPlan]:
        """The rows that the run started with, or those of its inputs at the first start, and the pack plan.

        A table written by the rehearsal or `oneday plan` is reused; without one, tokenising is charged to the budget.
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
            damaged = set_aside(output, run_id=self.run_id)
            f.writelines(orjson.dumps(d, option=orjson.OPT_APPEND_NEWLINE) for d in damaged)
        newest = newest_whole(output, run_id=self.run_id)
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
            run_id=self.run_id,
            follow_plan=self.job.follow_plan is not None,
            pause_at=self.job.pause_at,
            eval_s=self.measured.eval_s,
            save_s=self.measured.save_s,
            resume_from=newest.path if newest else None,
            tracking=tracking_keys(self.job.trackers, run=self.job.run.resolve().name),
        )

    def _first_plan(self, settings: RunSettings, recipe: AxolotlConfig) -> None:
        """Writes the schedule to follow, or one from the rehearsal's timings that the plugin then re-plans."""
        if read_segments(settings.plan):
            return
        if self.job.follow_plan:
            shutil.copy(self.job.follow_plan, settings.plan)
            return
        measured = self.measured
        fitting = first_horizon(
            left_s=self.ledger.left_s - measured.load_s - self.reserve_s,
            step_s=measured.typical_step_s,
            closing_s=measured.usual_closing_s,
            eval_steps=recipe.evaluation_interval,
        )
        horizon = min(settings.num_steps, fitting)
        write_segment(settings.plan, Segment(step=0, progress=0.0, horizon=horizon, reason="rehearsal"))


def charge(ledger: Ledger, event: Event) -> None:
    """Enters the ledger phase that begins with an event of the plugin."""
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
    """Collects the names of received SIGINT, SIGTERM and SIGHUP signals instead of ending the process."""
    received: list[str] = []

    def handle(number: int, frame: object) -> None:
        received.append(signal.Signals(number).name)

    previous = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def events_of(stage: Path) -> Iterator[TrainerEvent]:
    """All events that the plugin reported, over all starts of the trainer.

    Raises:
        DataError: A line is not an event.
    """
    return EventReader(stage / METRICS, from_start=True).read()
