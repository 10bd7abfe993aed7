"""`oneday train`: checks the options, rehearses, trains and shows the result."""

import shutil
import subprocess
from dataclasses import replace

from core.files import naming, read_as, read_json
from core.run_folder import PLAN, TRAIN
from core.stage import locked
from evaluation.errors import EvaluationError
from evaluation.held_out import held_out_questions
from harness.axolotl_process import Launcher, start_axolotl
from harness.budget.duration import pretty, seconds
from harness.budget.memory import ModelShape, memory_reductions
from harness.budget.pace import first_horizon
from harness.budget.rehearse import Rehearsal, pack_plan, planned, rehearse
from harness.budget.schedule import check_plan
from harness.checkpoint.averaging import Averaging
from harness.checkpoint.pick import read_picked
from harness.data.dataset import check_rows
from harness.errors import ConfigError, MemoryFullError, TrainError
from harness.job import TrainJob
from harness.ledger.ledger import Ledger
from harness.rate_probe import choose_rate
from harness.recipe import with_rate
from harness.run import LEDGER, TrainResult, train
from harness.supervise import TRACKING
from harness.tracker import read_trackers, view_commands
from oneday import child
from oneday.commands.compare import compare_run
from oneday.commands.report import leave_report
from oneday.commands.training.dry_run import run_dry_run, show_keys
from oneday.commands.training.final_model import check_place, price, write_in_budget
from oneday.commands.training.job import Setting, charging_of, training_job
from oneday.commands.training.own_mix import show_dataset
from oneday.commands.training.pick import pick_within
from oneday.display.console import Console
from oneday.display.live_view import live
from oneday.display.training import TrainingDisplay, show_rehearsal, show_training
from oneday.requests.looking import CompareRequest
from oneday.requests.request import arguments
from oneday.requests.training import PickRequest, TrainRequest


def run_train_command(request: TrainRequest, console: Console) -> None:
    """Trains in this process, or with `--detach` in one that continues when the terminal is closed."""
    if request.detach and not request.dry_run:
        run_detached(request, console)
    else:
        run_train(request, console)


def run_train(request: TrainRequest, console: Console, *, launch: Launcher = start_axolotl) -> None:
    """Checks, rehearses, trains, picks."""
    setting = Setting.of(request)
    if request.dry_run:
        run_dry_run(request, setting, console)
        return
    job = _job(request, setting, console)
    show_keys(setting.acceptance(), console)
    setting.say_card(console)
    result = rehearse_and_train(
        job, console, launch=launch, auto_fit=request.auto_fit, rehearses=request.rehearsal
    )  # fmt: skip
    late = write_in_budget(job, request.final_model, console) if request.final_model and not result.was_done else None
    show_training(result, console)
    for command in view_commands(job.trackers, job.run / TRAIN / TRACKING):
        console.say(f"tracked: {command}")
    if request.data and request.questions and not result.verdict.diverged:
        compare_held_out(job, request.questions, console, redo=request.redo)
    leave_report(job.run, console)
    console.result(
        {
            "run": str(job.run), "card": job.card.name, "card_how": job.card_how, "steps": result.steps,
            "because": result.stop_reason, "tokens_per_s": result.tokens_per_s, "picked": result.picked.checkpoint,
            "validation_loss": result.picked.validation_loss, "base_validation_loss": result.picked.base_loss,
            "better_than_base": result.verdict.better_than_base, "last_validation_loss": result.last_loss,
            "diverged": result.verdict.diverged, "charged_s": result.ledger.charged_s,
            "overshoot_s": result.ledger.overshoot_s,
        }
    )  # fmt: skip
    check_converged(result)
    if late:
        raise late


def compare_held_out(job: TrainJob, num: int, console: Console, *, redo: bool) -> None:
    """Compares base and tuned on validation rows, after the budget and not charged to it."""
    try:
        questions = held_out_questions(job.mix, num)
    except EvaluationError:
        console.say("not compared on held-out questions: the validation rows are texts, which ask nothing")
        return
    console.say("held-out questions, after the budget (not charged to it):")
    longest = CompareRequest(run=job.run).max_new_tokens
    compare_run(job.run, questions, base=job.base, max_new_tokens=longest, redo=redo, console=console)


def check_converged(result: TrainResult) -> None:
    """Lets a run that diverged end with an error; its picked checkpoint stays.

    Raises:
        TrainError: The run diverged.
    """
    if result.verdict.diverged:
        raise TrainError(
            f"{result.run}: {result.verdict.headline}. Its best checkpoint is kept in 08_pick. Lower learning_rate in "
            "the recipe, or check the data, and give `redo=true`."
        )


def _job(request: TrainRequest, setting: Setting, console: Console) -> TrainJob:
    job = training_job(
        setting,
        budget_s=seconds(request.budget),
        redo=request.redo,
        shared_card=request.shared_card,
        fetches=True,
        console=console,
    )
    if request.follow_plan is not None:
        check_plan(request.follow_plan)
    if job.recipe.learning_rate_auto and not request.rehearsal:
        raise ConfigError("learning_rate: auto with `rehearsal=false`: its probes need measured costs. Rehearse.")
    if request.final_model is not None:
        check_place(request.final_model)
        if not request.rehearsal:
            raise ConfigError(
                "`final_model=` with `rehearsal=false`: the rehearsal measures how long it takes to write."
            )
    return replace(
        job,
        averaging=Averaging.of(request.average, request.average_of, has_moving=job.recipe.ema_decay is not None),
        trackers=read_trackers(request.track),
        charging=charging_of(request.clock),
        follow_plan=request.follow_plan,
        writes_final_model=request.final_model is not None,
    )


def run_detached(request: TrainRequest, console: Console) -> None:
    """Checks the options, then starts the same command in its own session."""
    job = _job(request, Setting.of(request), console)
    check_rows(job.mix)
    with locked(job.run):  # so that a lock or a file in the folder's place is reported here and not in a log
        log = job.run / "train.log"
    command = child.command("train", *arguments(replace(request, detach=False)))
    with naming(log), log.open("ab") as output:
        detached = subprocess.Popen(
            command,
            env=child.environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    console.say(f"training continues as process {detached.pid}; its output: {log}")
    console.say(f"show it: oneday watch {job.run}    stop it with everything saved: kill {detached.pid}")
    console.result({"pid": detached.pid, "log": str(log), "run": str(job.run)})


def rehearse_and_train(
    job: TrainJob,
    console: Console,
    *,
    launch: Launcher = start_axolotl,
    auto_fit: bool = False,
    rehearses: bool = True,
) -> TrainResult:
    """Rehearses without charging the budget, then trains."""
    job, measured = measure(job, console, launch=launch, auto_fit=auto_fit, rehearses=rehearses)
    if job.recipe.learning_rate_auto:
        job = with_chosen_rate(job, measured, console, launch=launch)
    return train_measured(job, measured, console, launch=launch)


def with_chosen_rate(
    job: TrainJob, measured: Rehearsal, console: Console, *, launch: Launcher = start_axolotl
) -> TrainJob:
    """Probes learning rates within the budget; returns the job with the best one."""
    formula = with_rate(job.recipe, read_json(job.base / "config.json"))[1]
    told = "" if formula.is_calibrated else ", which was fitted to other families of models"
    console.say(f"learning_rate: auto; a published formula gives {formula.rate:g}{told}")
    choice = choose_rate(
        job,
        measured,
        launch=launch,
        on_probe=lambda rate, steps: console.say(f"probing {rate:g} for {steps} steps (charged to the budget)"),
    )
    rows = [
        (f"{p.rate:g}", str(p.steps), f"{p.loss:.4f}", "stopped half-way: clearly worse" if p.stopped else "")
        for p in choice.probes
    ]
    if rows:
        console.table("learning rates that were tried", ("rate", "steps", "validation loss", ""), rows)
    console.say(f"learning rate {choice.rate:g}: {choice.reason}")
    return choice.job(job)


def train_measured(
    job: TrainJob, measured: Rehearsal, console: Console, *, launch: Launcher = start_axolotl
) -> TrainResult:
    """Trains, then tries averages if the job requests any."""
    with live(console, job.run) as drawing:
        result = train(job, measured, launch=launch, on_event=TrainingDisplay(console, calm=drawing))
    if job.averaging.num_trials and not result.was_done:
        return try_average(job, result, console, reserve_s=measured.final_model_reserve_s)
    return result


def measure(
    job: TrainJob,
    console: Console,
    *,
    launch: Launcher = start_axolotl,
    auto_fit: bool = False,
    rehearses: bool = True,
) -> tuple[TrainJob, Rehearsal]:
    """Rehearses, or takes assumptions in its place; returns the job with settings that fit, and the costs."""
    if not rehearses:
        check_rows(job.mix)  # now, because without a rehearsal the table is written after the clock started
        console.say("not rehearsed: it is unknown whether the largest batch fits; costs are measured while training")
        return job, Rehearsal.unmeasured(job.recipe, job.card)
    show_dataset(job.dataset(), console)
    console.say("rehearsal: the largest batches, random batches, an evaluation and a save (not charged to the budget)")
    if auto_fit:
        job, measured = rehearse_until_it_fits(job, console, launch=launch)
    else:
        measured = rehearse(job, launch=launch, price_final_model=price(job))
    show_rehearsal(measured, job, console)
    if cut := steps_cut(job, measured):
        console.alarm(cut)
    return job, measured


def steps_cut(job: TrainJob, measured: Rehearsal) -> str:
    """A warning where the budget holds fewer steps than the recipe's `max_steps`; else empty."""
    wished = job.recipe.max_steps
    if wished is None or (fitting := steps_that_fit_budget(job, measured)) >= wished:
        return ""
    return f"max_steps {wished:,}: the budget holds about {fitting:,} steps at the measured costs, and ends the run"


def steps_that_fit_budget(job: TrainJob, measured: Rehearsal) -> int:
    """Steps that the job's budget holds at the measured costs."""
    recipe = planned(job.recipe, pack_plan(job.recipe, job.dataset().lengths(), epochs=job.recipe.num_epochs))
    return first_horizon(
        left_s=job.budget_s - measured.load_s - measured.prepare_s - measured.pick_reserve_s(job.averaging),
        step_s=measured.typical_step_s,
        closing_s=measured.usual_closing_s,
        eval_steps=recipe.evaluation_interval,
    )


def try_average(job: TrainJob, result: TrainResult, console: Console, *, reserve_s: float = 0.0) -> TrainResult:
    """Measures averages of the checkpoints in the rest of the budget.

    Args:
        reserve_s: Of the rest, what the final model needs.
    """
    ledger = Ledger.of_run(job.run / LEDGER)
    console.say(f"trying averages ({job.averaging.described}): {pretty(max(ledger.left_s, 0.0))} are left")
    request = PickRequest(folder=job.run, base=job.base, average=job.averaging.num, average_of=job.averaging.kinds)
    with ledger.working("pick"):
        code = pick_within(request, deadline=ledger.deadline - reserve_s, beat=ledger.beat)
    if code != 0:
        console.say("averages were not measured in time" if code is None else "no average was measured")
    picked = read_picked(job.run)
    is_same = picked.checkpoint == result.picked.checkpoint
    console.say(f"picked: {picked.checkpoint}, {'as before' if is_same else f'instead of {result.picked.checkpoint}'}")
    return replace(result, picked=picked, ledger=ledger.report())


def rehearse_until_it_fits(
    job: TrainJob, console: Console, *, launch: Launcher = start_axolotl
) -> tuple[TrainJob, Rehearsal]:
    """Takes the next smaller setting until the memory suffices. The settings are in the returned job, hence on record.

    The same command continues with the setting that an earlier call found.

    Raises:
        MemoryFullError: No smaller setting is known.
    """
    job = _fitted_before(job) or job
    while True:
        try:
            return job, rehearse(job, launch=launch, price_final_model=price(job))
        except MemoryFullError as e:
            less = memory_reductions(job.recipe, ModelShape.of(job.base), job.card)
            if not less:
                raise
            console.say(f"{str(e).split(' Computed')[0]}\n`auto_fit=true` takes {less[0]}")
            shutil.rmtree(job.run / PLAN)  # the failed rehearsal; later stages stay
            job = replace(job, recipe=job.recipe.model_copy(update=less[0].changes))


def _fitted_before(job: TrainJob) -> TrainJob | None:
    """The job with the smaller setting that an earlier call rehearsed in this run; None if there is none."""
    stored = job.run / PLAN / "inputs.json"
    if not stored.is_file() or job.redo:
        return None
    wanted, shape = read_as(dict[str, object], stored), ModelShape.of(job.base)
    while job.inputs() != wanted:
        less = memory_reductions(job.recipe, shape, job.card)
        if not less:
            return None
        job = replace(job, recipe=job.recipe.model_copy(update=less[0].changes))
    return job
