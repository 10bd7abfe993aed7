"""The budgeted run: one clock from the start of `oneday train` to the published checkpoint.

    result = train(job, measured)

At the end the best complete checkpoint is published, whether the trainer ended by itself or was killed.

Where it sits: rehearsal -> **run** -> pick.
"""

import math
import uuid
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from core.files import make_folder, read_json, read_jsonl, write_json
from core.manifest import record
from core.run_folder import OUTPUT, TRAIN
from core.stage import Dropped, Stage, Summary, locked
from harness.axolotl_process import Launcher, start_axolotl
from harness.base_model import licence_of
from harness.budget.clock import uptime
from harness.budget.duration import CLOSING_MARGIN, pretty
from harness.budget.rehearse import Rehearsal
from harness.budget.schedule import check_plan
from harness.budget.speed import SpeedMeter
from harness.checkpoint.pick import Picked, pick, read_picked
from harness.checkpoint.seal import checkpoint_folders
from harness.checkpoint.trained_base import base_precision, quantisation_in_training
from harness.checkpoint.verdict import Verdict, faint_share
from harness.data.dataset import DROPPED, described_dataset
from harness.errors import BudgetError, CheckpointError, TrainError
from harness.inside.batch_log import read_batches
from harness.inside.events import Evaluation, Event
from harness.job import TrainJob
from harness.ledger.day import LedgerReport
from harness.ledger.ledger import Ledger
from harness.recipe import AxolotlConfig
from harness.supervise import BATCHES, DAMAGED, DATA, OnEvent, Supervisor, events_of

LEDGER, PAUSE = "ledger.jsonl", "pause"

PUBLISH_S = 0.1
"""Time to look up files, link the adapter and write `picked.json`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainResult:
    """The result of a run."""

    run: Path
    steps: int
    stop_reason: str
    """`deadline`, `epochs`, `plan`, `pause` (the job's `pause_at`), `not_finite` (a loss was not finite), or `killed`
    (by the supervisor)."""
    tokens_per_s: float
    """Tokens without padding, divided by the training time."""
    picked: Picked
    ledger: LedgerReport
    last_loss: float | None
    """Validation loss of the last evaluation; None if there was none or it was not finite."""
    faint_share: float = 0.0
    """See harness/checkpoint/verdict.py."""
    was_done: bool = False
    """The run had finished before this call."""

    @property
    def verdict(self) -> Verdict:
        """Whether the picked checkpoint is better than the base, and whether training diverged."""
        return Verdict(
            base_loss=self.picked.base_loss,
            best_loss=self.picked.validation_loss,
            last_loss=self.last_loss,
            stop_reason=self.stop_reason,
            faint_share=self.faint_share,
        )


def train(
    job: TrainJob,
    measured: Rehearsal,
    *,
    launch: Launcher = start_axolotl,
    on_event: OnEvent = lambda event, left_s: None,
    ledger: Ledger | None = None,
) -> TrainResult:
    """Trains within the budget, resumes an interrupted run, or returns the result of a finished one.

    Args:
        ledger: The open account of a study, in the place of the run's ledger. Its share may be another one at every
            call, so the job's own budget and clock do not count.

    Raises:
        BudgetError: The budget is shorter than the measured minimum, or ran out without a checkpoint.
        TrainError: Axolotl failed; complete checkpoints stay and the next call resumes.
        Interrupted: SIGINT, SIGTERM or SIGHUP was received; the state is saved.
        StageError: Another command is working on this run.
    """
    minimum_s = measured.minimum_s(job.averaging)
    budget_s = ledger.left_s if ledger else job.budget_s
    if budget_s < minimum_s:
        raise BudgetError(
            f"`budget={pretty(budget_s)}` is shorter than the measured minimum of {pretty(minimum_s)} "
            f"({measured.describe()}; with margins). Give at least that."
        )
    if job.follow_plan:
        check_plan(job.follow_plan)
    with locked(job.run) as lock:
        budget = {} if ledger else {"budget_s": job.budget_s, "clock": str(job.charging)}
        inputs = {**job.inputs(), **budget}
        stage = Stage(job.run / TRAIN, inputs=inputs, redo=job.redo)
        if stage.is_done:
            return _stored_result(job.run)
        train_record = {
            **inputs,
            "mix_path": str(job.mix.resolve()),
            "base_path": str(job.base),
            "base_licence": licence_of(job.base),
            "quantisation": asdict(quantisation_in_training(job.recipe, job.card)),
            "card_how": job.card_how,
        }
        record(job.run, "train", train_record)
        run_id = run_id_of(job.run)
        ledger = ledger or Ledger.start(job.run / LEDGER, budget_s=job.budget_s, run_id=run_id, charging=job.charging)
        if checkpoint_folders(stage.path(OUTPUT)) and _is_late(ledger, measured):
            ledger.stop(at_last=True)  # at the record of the resume, because writing it took time as well
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
            run_id=run_id,
        )
        stop_reason = supervisor.supervise()
        if stop_reason == PAUSE:
            return _paused(job, stage, ledger, measured)
        return _finish(job, stage, ledger, stop_reason, train_record, measured)


def run_id_of(run: Path) -> str:
    """The identifier of this run; a new one is created after the folder of its training was removed."""
    path = make_folder(run / TRAIN) / "id"
    if not path.is_file():
        write_json(path, uuid.uuid4().hex)
    return str(read_json(path, mend=f"Restore it, or remove {run / TRAIN} to start again."))


def _is_late(ledger: Ledger, measured: Rehearsal) -> bool:
    """Whether too little time is left to verify the files of the best checkpoint."""
    return ledger.left_s < PUBLISH_S + CLOSING_MARGIN * measured.verify_s


def _pick(job: TrainJob, stage: Stage, ledger: Ledger, stop_reason: str, measured: Rehearsal) -> Picked:
    """Publishes the best checkpoint within the reserve and stops the clock.

    A run that was killed shortly before its deadline has no time to verify files: the clock stops first, and the best
    checkpoint is published unverified, which takes a few milliseconds. No loss is computed here, because that could
    exceed the deadline; `oneday pick` measures checkpoints that have no loss.
    """
    late = ledger.is_closed or _is_late(ledger, measured)
    ledger.stop() if late else ledger.enter("pick")
    started_at = uptime()
    try:
        picked = pick(
            run=job.run,
            output=stage.path(OUTPUT),
            base=job.base,
            precision=base_precision(job.recipe),
            base_loss=measured.base_loss,
            verify=not late,
        )
    except CheckpointError as e:
        if stop_reason == "not_finite":
            raise TrainError(
                f"{stage.directory}: the loss was not finite before a checkpoint was complete. Lower learning_rate, "
                "and give `redo=true`."
            ) from e
        raise BudgetError(
            f"the budget of {pretty(ledger.budget_s)} ran out before a checkpoint was complete. Give more with "
            "`budget=`, and give `redo=true`."
        ) from e
    finally:
        ledger.stop()
    if late:
        ledger.note_not_charged("publish", uptime() - started_at)
    return picked


def _paused(job: TrainJob, stage: Stage, ledger: Ledger, measured: Rehearsal) -> TrainResult:
    """Publishes the best checkpoint so far. The stage stays open, so that the next call continues it."""
    picked = _pick(job, stage, ledger, PAUSE, measured)
    events = list(events_of(stage.directory))
    speed = SpeedMeter.of(events)
    return TrainResult(
        run=job.run,
        steps=speed.steps,
        stop_reason=PAUSE,
        tokens_per_s=speed.tokens_per_s or 0.0,
        picked=picked,
        ledger=ledger.report(),
        last_loss=_last_loss(events),
    )


def _finish(
    job: TrainJob, stage: Stage, ledger: Ledger, stop_reason: str, train_record: dict[str, object], measured: Rehearsal
) -> TrainResult:
    """Picks, then writes the summary and the manifest."""
    picked = _pick(job, stage, ledger, stop_reason, measured)
    events = list(events_of(stage.directory))
    speed = SpeedMeter.of(events)
    report = ledger.report()
    dropped = [Dropped(**row) for row in read_jsonl(stage.path(DATA) / DROPPED)]
    dataset = described_dataset(stage.path(DATA))
    num_kept = dataset.num_examples
    for row in dropped:
        stage.drop(row)
    tally = stage.tally("row", read=num_kept + len(dropped), kept=num_kept)
    details = {
        "steps": speed.steps,
        "because": stop_reason,
        "tokens_per_s": speed.tokens_per_s or 0.0,
        "ledger": asdict(report),
        "num_ends_removed": dataset.num_ends_removed,
        "base_loss": measured.base_loss,
        "last_loss": _last_loss(events),
        "faint_share": _faint_share(stage.directory, job.recipe),
    }
    record(job.run, "train", {**train_record, **details})
    record(job.run, "pick", asdict(picked))
    damaged = [Dropped(**row) for row in read_jsonl(stage.path(DAMAGED))] if stage.path(DAMAGED).is_file() else []
    stage.finish(Summary(tallies={"row": tally}, details=details), dropped=damaged)
    return _stored_result(job.run, was_done=False)


def _last_loss(events: Iterable[Event]) -> float | None:
    """Validation loss of the last evaluation; None if there was none or it was not finite."""
    losses = [event.validation_loss for event in events if isinstance(event, Evaluation)]
    return losses[-1] if losses and math.isfinite(losses[-1]) else None


def _faint_share(directory: Path, recipe: AxolotlConfig) -> float:
    steps = read_batches(directory / BATCHES)
    share = faint_share(
        [steps[step].lr for step in sorted(steps)],
        peak=recipe.learning_rate,
        curve=recipe.curve(),
    )
    return round(share, 4)


def _stored_result(run: Path, *, was_done: bool = True) -> TrainResult:
    details = read_json(run / TRAIN / "summary.json")["details"]
    return TrainResult(
        run=run,
        steps=details["steps"],
        stop_reason=details["because"],
        tokens_per_s=details["tokens_per_s"],
        picked=read_picked(run),
        ledger=Ledger.of_run(run / LEDGER).report(),
        last_loss=details.get("last_loss"),
        faint_share=details.get("faint_share", 0.0),
        was_done=was_done,
    )
