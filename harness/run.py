"""The budgeted run: one clock from `oneday train`'s start to the published checkpoint.

    result = train(job, measured)

At the end the best whole checkpoint is published, whether the trainer ended by itself or had to be killed.

Where it sits: rehearsal -> **run** -> pick.
"""

import math
import uuid
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from core.files import read_json, read_jsonl, write_json
from core.manifest import record
from core.run_folder import TRAIN
from core.stage import Dropped, Stage, Summary, locked
from harness.axolotl_process import Launcher, start_axolotl
from harness.base_model import licence_of
from harness.budget.clock import uptime
from harness.budget.day import LedgerReport
from harness.budget.duration import CLOSING_MARGIN, pretty
from harness.budget.ledger import Ledger
from harness.budget.rehearse import Rehearsal
from harness.budget.schedule import check_plan
from harness.budget.speed import SpeedMeter
from harness.checkpoint.pick import Picked, pick, read_picked
from harness.checkpoint.seal import checkpoint_folders
from harness.checkpoint.trained_base import quantisation_in_training
from harness.checkpoint.verdict import Verdict, faint_share
from harness.dataset import DROPPED, described_dataset
from harness.errors import BudgetError, CheckpointError, TrainError
from harness.inside.batch_log import read_batches
from harness.inside.events import Evaluation, Event
from harness.job import TrainJob
from harness.recipe import AxolotlConfig
from harness.supervise import BATCHES, DAMAGED, DATA, OUTPUT, OnEvent, Supervisor, events_of

LEDGER = "ledger.jsonl"

PUBLISH_S = 0.1
"""To look files up, link one and write a few lines."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainResult:
    """How a run ended."""

    run: Path
    steps: int
    because: str
    """`deadline`, `epochs`, `plan`, `not_finite` after a loss that was none, or `killed` when the supervisor had to."""
    tokens_per_s: float
    """Real tokens over training time, padding left out."""
    picked: Picked
    ledger: LedgerReport
    last_loss: float | None
    """Of the last evaluation."""
    faint_share: float = 0.0
    """See harness/verdict.py."""
    was_done: bool = False

    @property
    def verdict(self) -> Verdict:
        """Whether it is better than the base, and whether it diverged."""
        return Verdict(
            base_loss=self.picked.base_loss,
            best_loss=self.picked.validation_loss,
            last_loss=self.last_loss,
            ended_by=self.because,
            faint_share=self.faint_share,
        )


def train(
    job: TrainJob,
    measured: Rehearsal,
    *,
    launch: Launcher = start_axolotl,
    on_event: OnEvent = lambda event, left_s: None,
) -> TrainResult:
    """Trains within the budget, or goes on with an interrupted run, or says that all is done.

    Raises:
        BudgetError: the budget is shorter than the measured minimum, or ran out without a checkpoint.
        TrainError: Axolotl failed; whole checkpoints stay and the next call resumes.
        Interrupted: SIGINT or SIGTERM; the state is saved.
        StageError: another command is at work on this run.
    """
    minimum_s = measured.minimum_s(job.average)
    if job.budget_s < minimum_s:
        raise BudgetError(
            f"`budget={pretty(job.budget_s)}` is shorter than the measured minimum of {pretty(minimum_s)} "
            f"({measured.describe()}; with margins). Give at least that."
        )
    if job.follow_plan:
        check_plan(job.follow_plan)
    with locked(job.run) as lock:
        inputs = {**job.inputs(), "budget_s": job.budget_s, "clock": str(job.charging)}
        stage = Stage(job.run / TRAIN, inputs=inputs, redo=job.redo)
        if stage.is_done:
            return _stored_result(job.run)
        places = {"mix_path": str(job.mix.resolve()), "base_path": str(job.base)}
        kept = asdict(quantisation_in_training(job.recipe, job.card))
        described = {**inputs, **places, "base_licence": licence_of(job.base), "quantisation": kept}
        described["card_how"] = job.card_how
        record(job.run, "train", described)
        name = _identity(stage)
        ledger = Ledger.start(job.run / LEDGER, budget_s=job.budget_s, run_id=name, charging=job.charging)
        if checkpoint_folders(stage.path(OUTPUT)) and _is_late(ledger, measured):
            ledger.stop(at_last=True)  # the resume: writing it took a moment of its own
        if measured.wall_s:
            ledger.note_not_charged("rehearsal", measured.wall_s)
        supervisor = Supervisor(
            job=job,
            stage=stage,
            ledger=ledger,
            measured=measured,
            launch=launch,
            on_event=on_event,
            lock=lock,
            name=name,
        )
        because = supervisor.supervise()
        return _finish(job, stage, ledger, because, described, measured)


def _identity(stage: Stage) -> str:
    """A name for this attempt at this stage. It goes when the stage is thrown away, and the day begins anew."""
    path = stage.path("id")
    if not path.is_file():
        write_json(path, uuid.uuid4().hex)
    return str(read_json(path, mend=f"Restore it, or remove {stage.directory} to begin anew."))


def _is_late(ledger: Ledger, measured: Rehearsal) -> bool:
    """Whether there is no time left to read the best checkpoint's files."""
    return ledger.left_s < PUBLISH_S + CLOSING_MARGIN * measured.verify_s


def _pick(job: TrainJob, stage: Stage, ledger: Ledger, because: str, measured: Rehearsal) -> Picked:
    """Publishes the best within the reserve, and ends the day.

    A run that was killed in its last moments has no time left to read files: what stands is published as it is, which
    takes a few milliseconds, and the day ends before it. No loss is computed here, for that could outlast the deadline:
    `oneday pick` measures what was left unmeasured.
    """
    late = ledger.is_closed or _is_late(ledger, measured)
    ledger.stop() if late else ledger.enter("pick")
    began = uptime()
    try:
        picked = pick(
            run=job.run,
            output=stage.path(OUTPUT),
            base=job.base,
            four_bit=job.recipe.load_in_4bit,
            base_loss=measured.base_loss,
            verify=not late,
        )
    except CheckpointError as e:
        if because == "not_finite":
            raise TrainError(
                f"{stage.directory}: the loss was no finite number before a checkpoint was whole. Lower learning_rate, "
                "and `redo=true`."
            ) from e
        raise BudgetError(
            f"the budget of {pretty(job.budget_s)} ran out before a checkpoint was whole. Give more with `budget=`, "
            "and `redo=true`."
        ) from e
    finally:
        ledger.stop()
    if late:
        ledger.note_not_charged("publish", uptime() - began)
    return picked


def _finish(
    job: TrainJob, stage: Stage, ledger: Ledger, because: str, described: dict[str, object], measured: Rehearsal
) -> TrainResult:
    """Picks, then writes the summary."""
    picked = _pick(job, stage, ledger, because, measured)
    events = list(events_of(stage.directory))
    speed = SpeedMeter.of(events)
    report = ledger.report()
    dropped = [Dropped(**row) for row in read_jsonl(stage.path(DATA) / DROPPED)]
    dataset = described_dataset(stage.path(DATA))
    num_kept = dataset.train.num_rows + dataset.validation.num_rows
    for row in dropped:
        stage.drop(row)
    tally = stage.tally("row", read=num_kept + len(dropped), kept=num_kept)
    details = {
        "steps": speed.steps,
        "because": because,
        "tokens_per_s": speed.tokens_per_s or 0.0,
        "ledger": asdict(report),
        "num_ends_removed": dataset.num_ends_removed,
        "base_loss": measured.base_loss,
        "last_loss": _last_loss(events),
        "faint_share": _faint_share(stage.directory, job.recipe),
    }
    record(job.run, "train", {**described, **details})
    record(job.run, "pick", asdict(picked))
    damaged = [Dropped(**row) for row in read_jsonl(stage.path(DAMAGED))] if stage.path(DAMAGED).is_file() else []
    stage.finish(Summary(tallies={"row": tally}, details=details), dropped=damaged)
    return _stored_result(job.run, was_done=False)


def _last_loss(events: Iterable[Event]) -> float | None:
    """Of the last evaluation; None if that was not finite."""
    losses = [event.validation_loss for event in events if isinstance(event, Evaluation)]
    return losses[-1] if losses and math.isfinite(losses[-1]) else None


def _faint_share(directory: Path, recipe: AxolotlConfig) -> float:
    steps = read_batches(directory / BATCHES)
    share = faint_share(
        [steps[step].lr for step in sorted(steps)],
        peak=recipe.learning_rate,
        shape=recipe.lr_scheduler,
        floor=recipe.cosine_min_lr_ratio,
    )
    return round(share, 4)


def _stored_result(run: Path, *, was_done: bool = True) -> TrainResult:
    details = read_json(run / TRAIN / "summary.json")["details"]
    return TrainResult(
        run=run,
        steps=details["steps"],
        because=details["because"],
        tokens_per_s=details["tokens_per_s"],
        picked=read_picked(run),
        ledger=Ledger.of_run(run / LEDGER).report(),
        last_loss=details.get("last_loss"),
        faint_share=details.get("faint_share", 0.0),
        was_done=was_done,
    )
