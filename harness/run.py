"""The budgeted run: Axolotl in a child, one clock, a deadline that holds whatever the child does.

    result = train(job)

The plugin stops in time for a last evaluation and save; this supervisor makes sure of the end: at the deadline less
the picker's reserve it kills what still runs, and publishes the best whole checkpoint.

Where it sits: rehearsal -> **run** -> pick.
"""

import contextlib
import math
import shutil
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from curation.errors import Interrupted
from curation.stage import Dropped, Stage, Summary, locked, read_json, read_jsonl, write_json
from harness.axolotl_config import RunSettings, write_config
from harness.axolotl_process import (
    LOCK_VARIABLE,
    EventReader,
    Launcher,
    ask_to_stop,
    axolotl_environment,
    end,
    failure,
    follow,
    start_axolotl,
)
from harness.budget import pretty
from harness.checkpoint import inspect_all, set_aside
from harness.dataset import Dataset, TokenisedRow, prepare_dataset, read_dataset_rows
from harness.errors import BudgetError, CheckpointError, HarnessError
from harness.ledger import Ledger, LedgerReport
from harness.manifest import record
from harness.pick import Picked, pick, validation_loss_of
from harness.rehearse import REAP_S, Rehearsal, TrainJob
from harness.schedule import Segment

TRAIN = "07_train"
OUTPUT, METRICS, SCHEDULE, DATA = "output", "metrics.jsonl", "plan.jsonl", "data"
LEDGER, DAMAGED = "ledger.jsonl", "damaged.jsonl"

IMPORT_PATIENCE_S = 60
"""For Axolotl to import our plugin, on top of five times what the rehearsal took to start."""

OnEvent = Callable[[dict[str, Any], float], None]
"""Called with each event of the plugin and the seconds of budget that are left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainResult:
    """How a run ended."""

    run: Path
    steps: int
    because: str
    """`deadline`, `epochs`, `not_finite` after a loss that was none, or `killed` when the supervisor had to."""
    tokens_per_s: float
    """Real tokens over training time, padding left out."""
    picked: Picked
    ledger: LedgerReport
    was_done: bool = False


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
    minimum_s = measured.minimum_s(job.recipe.save_total_limit)
    if job.budget_s < minimum_s:
        raise BudgetError(
            f"--budget {pretty(job.budget_s)} is shorter than the measured minimum of {pretty(minimum_s)} "
            f"({measured.describe()}; with margins). Give at least that."
        )
    with locked(job.run) as lock:
        stage = Stage(job.run / TRAIN, inputs={**job.inputs(), "budget_s": job.budget_s}, redo=job.redo)
        if stage.is_done:
            return _stored_result(job.run)
        described = {**job.inputs(), "budget_s": job.budget_s, "base_path": str(job.base)}
        record(job.run, "train", described)
        ledger = Ledger.start(job.run / LEDGER, budget_s=job.budget_s, job=_identity(stage))
        ending = _supervise(job, stage, ledger, measured, launch, on_event, lock=lock)
        return _finish(job, stage, ledger, ending, described)


def _identity(stage: Stage) -> str:
    """A name for this attempt at this stage. It goes when --redo throws the stage away, and the day begins anew."""
    path = stage.path("id")
    if not path.is_file():
        write_json(path, uuid.uuid4().hex)
    return str(read_json(path))


def _supervise(
    job: TrainJob,
    stage: Stage,
    ledger: Ledger,
    measured: Rehearsal,
    launch: Launcher,
    on_event: OnEvent,
    *,
    lock: int,
) -> str:
    """From the start of the child to its end; returns why it ended."""
    reserve_s = measured.pick_reserve_s(job.recipe.save_total_limit)
    if ledger.left_s < measured.minimum_s(job.recipe.save_total_limit) and inspect_all(stage.path(OUTPUT))[0]:
        return "deadline"  # resumed too late for another step: publish what there is
    ledger.enter("pack")
    dataset = _dataset(job, stage)
    settings = _settings(job, stage, dataset, measured, deadline=ledger.deadline - reserve_s - REAP_S)
    _first_plan(settings.plan, job, ledger, measured)
    write_config(stage.path("axolotl.yml"), job.recipe, settings, job.card)
    reader, log = EventReader(settings.events), stage.path("axolotl.log")
    ledger.enter("load")
    registered_by = time.time() + IMPORT_PATIENCE_S + 5 * measured.load_s
    environment = {**axolotl_environment(job.card, num_rows=dataset.train.num_rows), LOCK_VARIABLE: str(lock)}
    kill_at = ledger.deadline - reserve_s - REAP_S / 4
    seen: dict[str, dict[str, Any]] = {}
    with _signals() as received:
        child = launch(stage.path("axolotl.yml"), log, environment)
        try:
            for event in follow(child, reader, until=kill_at):
                seen[event["event"]] = event
                _charge(ledger, event)
                on_event(event, ledger.left_s)
                if received and "asked" not in seen:
                    seen["asked"] = event
                    ask_to_stop(child)
                if "registered" not in seen and time.time() > registered_by:
                    break
        finally:
            ledger.enter("save")
            exit_code = end(child, patience_s=min(3.0, kill_at - time.time()) if "train_end" in seen else 0)
    if received:
        ledger.enter("idle")
        raise Interrupted(f"stopped by {received[0]}; {_state(stage)}.")
    if "train_end" in seen:
        return str(seen["train_end"]["because"])
    if time.time() < kill_at - 0.05:
        ledger.enter("idle")
        raise _with_state(failure(log, exit_code, alive="registered" in seen), stage)
    return "killed"


def _finish(job: TrainJob, stage: Stage, ledger: Ledger, because: str, described: dict[str, Any]) -> TrainResult:
    """Picks within the reserve, stops the clock, writes the summary."""
    ledger.enter("pick")
    try:
        # No loss is computed here: that could outlast the deadline. `oneday pick` measures what was left unmeasured.
        picked = pick(
            run=job.run,
            output=stage.path(OUTPUT),
            base=job.base,
            four_bit=job.recipe.load_in_4bit,
            loss_of=lambda checkpoint: math.nan,
        )
    except CheckpointError as e:
        ledger.stop()
        raise BudgetError(
            f"the budget of {pretty(job.budget_s)} ran out before a checkpoint was whole. Give more with --budget, "
            "and --redo."
        ) from e
    ledger.stop()
    steps, tokens_per_s = _speed(stage.path(METRICS))
    report = ledger.report()
    dropped = [Dropped(**row) for row in read_jsonl(stage.path(DATA) / "dropped.jsonl")]
    dataset = read_json(stage.path(DATA) / "dataset.json")
    num_kept = dataset["train"]["num_rows"] + dataset["validation"]["num_rows"]
    for row in dropped:
        stage.drop(row)
    tally = stage.tally("row", read=num_kept + len(dropped), kept=num_kept)
    details = {"steps": steps, "because": because, "tokens_per_s": tokens_per_s, "ledger": asdict(report)}
    record(job.run, "train", {**described, **details})
    record(job.run, "pick", asdict(picked))
    damaged = [Dropped(**row) for row in read_jsonl(stage.path(DAMAGED))] if stage.path(DAMAGED).is_file() else []
    stage.finish(Summary(tallies={"row": tally}, details=details), dropped=damaged)
    return TrainResult(
        run=job.run, steps=steps, because=because, tokens_per_s=tokens_per_s, picked=picked, ledger=report
    )


def pick_from_run(run: Path, *, base: Path, four_bit: bool) -> Picked:
    """The picker over a run folder's own checkpoints and validation rows."""
    validation = run / TRAIN / DATA / "validation.jsonl"

    rows: list[TokenisedRow] = []

    def loss_of(checkpoint: Path) -> float:
        if not rows:
            rows.extend(read_dataset_rows(validation, base))
        return validation_loss_of(base, rows, four_bit=four_bit)(checkpoint)

    return pick(run=run, output=run / TRAIN / OUTPUT, base=base, four_bit=four_bit, loss_of=loss_of)


def _dataset(job: TrainJob, stage: Stage) -> Dataset:
    """Rendered and measured; the figures stand beside it."""
    dataset = prepare_dataset(job.mix, base=job.base, sequence_len=job.recipe.sequence_len, out=stage.path(DATA))
    described = {name: asdict(part) for name, part in (("train", dataset.train), ("validation", dataset.validation))}
    for part in described.values():
        part["path"] = Path(part["path"]).name
    write_json(stage.path(DATA) / "dataset.json", {**described, "num_too_long": dataset.num_too_long})
    return dataset


def _settings(job: TrainJob, stage: Stage, dataset: Dataset, measured: Rehearsal, *, deadline: float) -> RunSettings:
    output = stage.path(OUTPUT).resolve()
    output.mkdir(exist_ok=True)
    with stage.path(DAMAGED).open("ab") as f:
        f.writelines(orjson.dumps(d, option=orjson.OPT_APPEND_NEWLINE) for d in set_aside(output))
    good, _ = inspect_all(output)
    for leftover in output.glob("tmp-checkpoint-*"):
        shutil.rmtree(leftover)
    return RunSettings(
        base_model=job.base.resolve(),
        train_file=dataset.train.path.resolve(),
        validation_file=dataset.validation.path.resolve(),
        prepared=(stage.directory / "prepared" / dataset.digest).resolve(),
        output_dir=output,
        events=stage.path(METRICS).resolve(),
        plan=stage.path(SCHEDULE).resolve(),
        deadline=deadline,
        eval_s=measured.eval_s,
        save_s=measured.save_s,
        resume_from=good[-1].path if good else None,
    )


def _first_plan(path: Path, job: TrainJob, ledger: Ledger, measured: Rehearsal) -> None:
    """The horizon that the rehearsal promises; the plugin re-plans from what it measures."""
    if path.is_file():
        return
    training_s = ledger.left_s - measured.load_s - measured.pick_reserve_s(job.recipe.save_total_limit)
    per_step_s = measured.step_s + (measured.eval_s + measured.save_s) / job.recipe.eval_steps
    horizon = max(1, int(training_s / max(per_step_s, 1e-3)))
    first = Segment(step=0, progress=0.0, horizon=horizon, reason="rehearsal")
    path.write_bytes(orjson.dumps(first, option=orjson.OPT_APPEND_NEWLINE))


def _charge(ledger: Ledger, event: dict[str, Any]) -> None:
    """An event of the plugin as a phase of the ledger. `evaluate` and `save` come when they are over."""
    begins = {"registered": "pack", "plugin_alive": "load", "train_begin": "train"}
    name = event["event"]
    if name in begins:
        ledger.enter(begins[name], at=event["t"])
    elif name in ("evaluate", "save"):
        ledger.enter(name, at=event["t"] - event["seconds"])
        ledger.enter("train", at=event["t"])


def _speed(metrics: Path) -> tuple[int, float]:
    """Steps done, and tokens per second of training time, evaluations and saves taken off."""
    steps, tokens, spent = 0, 0, 0.0
    last: tuple[int, float] | None = None
    paused = 0.0
    for event in EventReader(metrics, from_start=True).read():
        if event["event"] == "train_begin":
            last = None
        elif event["event"] in ("evaluate", "save"):
            paused += event["seconds"]
        elif event["event"] == "step":
            steps = event["step"]
            if last is not None and event["tokens"] >= last[0]:
                tokens += event["tokens"] - last[0]
                spent += event["t"] - last[1] - paused
            last, paused = (event["tokens"], event["t"]), 0.0
    return steps, round(tokens / spent, 1) if spent > 0 else 0.0


def _stored_result(run: Path) -> TrainResult:
    summary = read_json(run / TRAIN / "summary.json")["details"]
    chosen = read_json(run / "08_pick" / "picked.json")
    return TrainResult(
        run=run,
        steps=summary["steps"],
        because=summary["because"],
        tokens_per_s=summary["tokens_per_s"],
        picked=Picked(**chosen),
        ledger=LedgerReport(**summary["ledger"]),
        was_done=True,
    )


def _state(stage: Stage) -> str:
    good, _ = inspect_all(stage.path(OUTPUT))
    return f"checkpoint of step {good[-1].step} is whole" if good else "no checkpoint yet"


def _with_state(error: HarnessError, stage: Stage) -> HarnessError:
    return type(error)(f"{error} {_state(stage).capitalize()}; the same command goes on from it.")


@contextlib.contextmanager
def _signals() -> Iterator[list[str]]:
    """Collects the names of SIGINT and SIGTERM instead of dying of them."""
    received: list[str] = []

    def note(number: int, frame: Any) -> None:
        received.append(signal.Signals(number).name)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
