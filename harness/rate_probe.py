"""Short trainings at several learning rates, within the budget: the choice behind `learning_rate: auto`.

    choice = choose_rate(job, measured)            # in 06_probe of the run; the same call goes on after a kill
    train(choice.job(job), measured)

The rate of a formula comes first, then a third of it and three times as much, each on the run's first batches with the
whole shape of the schedule. One that is clearly worse at half of the way is stopped. The lowest validation loss wins,
the lower rate of a tie. Everything is charged to the run's budget, in accounts of its ledger.

Where it sits: rehearsal -> **rate_probe** -> run.
"""

import os
import shutil
import signal
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from core.files import make_folder, read_as, write_json
from core.manifest import record
from core.run_folder import OUTPUT, PICK, PROBE, TABLE, TRAIN
from core.stage import INPUTS, Stage, Summary, locked
from harness.axolotl_process import Launcher, start_axolotl
from harness.budget.duration import CLOSING_MARGIN
from harness.budget.rehearse import Rehearsal
from harness.budget.schedule import Segment, read_segments, write_segment
from harness.checkpoint.averaging import NO_AVERAGES
from harness.inside.events import Evaluation, Event
from harness.job import TrainJob
from harness.ledger.account import Account
from harness.ledger.ledger import Ledger
from harness.run import LEDGER, run_id_of, train
from harness.supervise import OnEvent, events_of

FACTORS = (1.0, 1 / 3, 3.0)
"""The probed rates as multiples of the formula's, in order."""

SHARE = 0.05
"""Of the budget, for all probes."""

FEWEST_STEPS, MOST_STEPS = 8, 60
"""Of a probe. With fewer, a difference of rates is not visible, and the formula's rate is taken."""

CLEARLY_WORSE = 0.02
"""Nats above the first probe's loss at half of the way at which a probe is stopped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What one rate gave."""

    rate: float
    steps: int
    halfway_loss: float | None
    loss: float
    """Lowest validation loss; of one that was stopped the one at half of the way."""
    stopped: bool
    """It was clearly worse than the first one. How many steps more it then makes is chance, and counts for nothing."""
    charged_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RateChoice:
    """The choice, with its numbers. They stand in `06_probe/summary.json` and in the manifest."""

    rate: float
    formula_rate: float
    probes: tuple[Probe, ...]
    reason: str

    def job(self, job: TrainJob) -> TrainJob:
        """The job with the chosen rate."""
        changes = {"learning_rate": self.rate, "learning_rate_auto": False}
        return replace(job, recipe=job.recipe.model_copy(update=changes))


def choose_rate(
    job: TrainJob,
    measured: Rehearsal,
    *,
    launch: Launcher = start_axolotl,
    on_event: OnEvent = lambda event, left_s: None,
    on_probe: Callable[[float, int], None] = lambda rate, steps: None,
) -> RateChoice:
    """Probes the rates, or returns the choice that an earlier call made.

    Args:
        on_probe: Called with rate and steps before each training.
    Raises:
        OnedayError: No probe could be trained; as for `train`.
        Interrupted: By a signal; finished probes are kept.
    """
    with locked(job.run):
        inputs = {**job.inputs(), "budget_s": job.budget_s, "clock": str(job.charging)}
        stage = Stage(job.run / PROBE, inputs=inputs, redo=job.redo)
        if stage.is_done:
            return stage.details(RateChoice)
        formula = job.recipe.learning_rate
        steps = probe_steps(job, measured)
        if steps < FEWEST_STEPS:
            few = f"fewer than {FEWEST_STEPS} steps at each of {len(FACTORS)} rates"
            reason = f"the formula's: {SHARE:.0%} of the budget hold {few}"
            choice = RateChoice(rate=formula, formula_rate=formula, probes=(), reason=reason)
        else:
            _forget_earlier_runs(job, stage)
            ledger = Ledger.start(
                job.run / LEDGER, budget_s=job.budget_s, run_id=run_id_of(job.run), charging=job.charging
            )
            work = _Probing(job, measured, stage, ledger, steps, launch, on_event)
            probes: list[Probe] = []
            for rate in (float(f"{factor * formula:.2e}") for factor in FACTORS):
                on_probe(rate, steps)
                probes.append(work.probe(rate, probes))
            choice = _chosen(formula, probes)
        record(job.run, "learning_rate", asdict(choice))
        stage.finish(Summary(details=asdict(choice)))
        return choice


def _forget_earlier_runs(job: TrainJob, stage: Stage) -> None:
    """Lets probes that begin have a ledger of their own: its name is in the folder of the training that follows."""
    begun = stage.path("begun")
    if not begun.is_file():
        if not (job.run / TRAIN / INPUTS).is_file():
            shutil.rmtree(job.run / TRAIN, ignore_errors=True)
        begun.touch()


def probe_steps(job: TrainJob, measured: Rehearsal) -> int:
    """Steps of each probe that fit its part of the budget, and at most as many as the recipe trains."""
    start_s = measured.load_s + measured.prepare_s + measured.pick_reserve_s()
    left_s = SHARE * job.budget_s / len(FACTORS) - start_s - 3 * measured.usual_closing_s
    most = min(MOST_STEPS, job.recipe.max_steps or MOST_STEPS)
    return min(most, max(0, int(left_s / measured.typical_step_s)))


def _chosen(formula: float, probes: Sequence[Probe]) -> RateChoice:
    best = min((probe for probe in probes if not probe.stopped), key=lambda probe: (probe.loss, probe.rate))
    others = ", ".join(f"{p.rate:g}: {p.loss:.4f}" for p in probes)
    reason = f"the lowest validation loss after {best.steps} steps ({others})"
    return RateChoice(rate=best.rate, formula_rate=formula, probes=tuple(probes), reason=reason)


@dataclass(slots=True)
class _Probing:
    job: TrainJob
    measured: Rehearsal
    stage: Stage
    ledger: Ledger
    steps: int
    launch: Launcher
    on_event: OnEvent

    def probe(self, rate: float, before: Sequence[Probe]) -> Probe:
        """Trains at a rate, or reads what an earlier call found.

        Raises:
            HarnessError: It gave no checkpoint.
        """
        folder = self.stage.path(f"rate-{rate:g}")
        result_file = folder / "probe.json"
        if result_file.is_file():
            return read_as(Probe, result_file)
        make_folder(folder)
        if not (folder / TABLE).exists():
            (folder / TABLE).symlink_to(make_folder(self.job.run / TABLE).absolute(), target_is_directory=True)
        job = self._job(rate, folder)
        share_s = max(CLOSING_MARGIN * SHARE * self.job.budget_s / len(FACTORS), self.measured.minimum_s() + 1.0)
        account = Account.open(folder / LEDGER, of=self.ledger, name=f"rate {rate:g}", share_s=share_s)
        half = _Halfway(self.on_event, step=self.halfway, against=before[0].halfway_loss if before else None)
        result = train(job, replace(self.measured, wall_s=0.0), launch=self.launch, on_event=half, ledger=account)
        halfway_loss, stopped = self._halfway_loss(folder), result.stop_reason == "signal"
        found = Probe(
            rate=rate,
            steps=self.halfway if stopped else result.steps,
            halfway_loss=halfway_loss,
            loss=halfway_loss if stopped and halfway_loss is not None else result.picked.validation_loss,
            stopped=stopped,
            charged_s=round(account.charged_s, 3),
        )
        write_json(result_file, asdict(found))
        for weights in (folder / TRAIN / OUTPUT, folder / PICK):  # of all weights, gigabytes that nobody trains on
            shutil.rmtree(weights, ignore_errors=True)
        return found

    @property
    def halfway(self) -> int:
        """The step at which a probe is compared with the first one."""
        return max(1, self.steps // 2)

    def _halfway_loss(self, folder: Path) -> float | None:
        """From the trainer's events, for this call may have gone on behind that step."""
        events = events_of(folder / TRAIN)
        return next((e.validation_loss for e in events if isinstance(e, Evaluation) and e.step == self.halfway), None)

    def _job(self, rate: float, folder: Path) -> TrainJob:
        plan = folder / "plan.jsonl"
        if not read_segments(plan):
            write_segment(plan, Segment(step=0, progress=0.0, horizon=self.steps, reason="probe"))
        changes = {
            "learning_rate": rate,
            "learning_rate_auto": False,
            "max_steps": self.steps,
            "eval_steps": self.halfway,
        }
        recipe = self.job.recipe.model_copy(update=changes)
        return replace(
            self.job, run=folder, recipe=recipe, follow_plan=plan, averaging=NO_AVERAGES, trackers=(), redo=False
        )


@dataclass(frozen=True, slots=True)
class _Halfway:
    """Passes events on, and stops a trainer whose loss at half of the way is clearly above that of the first probe."""

    on_event: OnEvent
    step: int
    against: float | None

    def __call__(self, event: Event, left_s: float) -> None:
        self.on_event(event, left_s)
        if self.against is None or not isinstance(event, Evaluation) or event.step != self.step:
            return
        if event.validation_loss > self.against + CLEARLY_WORSE:
            os.kill(event.pid, signal.SIGTERM)  # the trainer then evaluates, saves and ends
