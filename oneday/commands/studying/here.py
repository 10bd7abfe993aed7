"""`oneday study FILE`: a study run on this machine or on a cluster, or gone on with."""

from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

from core.generation.cluster import connect
from harness.budget.duration import pretty
from harness.budget.profile_choice import ProfileChoice, choose_profile
from oneday.commands.studying.evaluator import CommandEvaluator
from oneday.commands.studying.reading import study_of
from oneday.display.console import Console
from oneday.display.study_results import show_results
from oneday.requests.studying import StudyRequest
from studies.errors import StudyError
from studies.running.harness_runner import HarnessRunner
from studies.running.page import write_study_report
from studies.running.prepare import prepare
from studies.running.run import StudyResult, run_study
from studies.running.runner import Rehearser
from studies.running.slot import OneSlot, OpenSlots
from studies.running.survey import Context
from studies.study import Study

REPORT = "report.html"


def run_here(request: StudyRequest, console: Console, *, fitted: Callable[[Context], Study] | None = None) -> None:
    """Prepares what comes before the clock, runs, shows.

    Args:
        fitted: Changes lengths and budget after the rehearsals, from what they measured.

    Raises:
        OnedayError: the study cannot be run here, or its anchor has no result.
    """
    if request.on == "ray":
        from studies.running.ray import RaySlots, RehearsedThere, on_worker

        with closing(connect(request.ray_address)) as cluster:
            choice = on_worker(cluster, choose_profile, request.card)
            study, harness = _study(request, choice, console)
            console.say(f"Ray: {cluster.num_slots} slots; the budget of {study.budget} counts the time of each")
            there = RehearsedThere(harness, cluster)
            context = _prepared(study, harness.folder, there, console, fitted)
            _run(context, there.inner, partial(RaySlots.open, cluster), console)
        return
    if request.ray_address is not None:
        raise StudyError(f"`ray_address={request.ray_address}` without `on=ray`. Give both, or leave it out.")
    choice = choose_profile(request.card)
    study, harness = _study(request, choice, console)
    _run(_prepared(study, harness.folder, harness, console, fitted), harness, OneSlot.open, console)


def _study(request: StudyRequest, choice: ProfileChoice, console: Console) -> tuple[Study, HarnessRunner]:
    study = study_of(request, choice.card.name)
    console.say(choice.sentence)
    folder = request.run or Path("runs") / study.study
    return study, HarnessRunner(card=choice.card, folder=folder, device=choice.device)


def _prepared(
    study: Study, folder: Path, runner: Rehearser, console: Console, fitted: Callable[[Context], Study] | None
) -> Context:
    evaluator = CommandEvaluator()
    context = prepare(study, folder=folder, runner=runner, evaluator=evaluator, on_event=console.say)
    if fitted is not None:
        study = fitted(context)
        context = prepare(study, folder=folder, runner=runner, evaluator=evaluator)
    for name, why in context.not_run.items():
        console.say(f"suite {name}: not run: {why}")
    return context


def _run(context: Context, runner: HarnessRunner, open_slots: OpenSlots, console: Console) -> None:
    folder = context.folder.path
    result = run_study(
        context, runner=runner, evaluator=CommandEvaluator(), open_slots=open_slots, on_event=console.say
    )  # fmt: skip
    show_results(result, console)
    write_study_report(folder, folder / REPORT)
    console.say(f"report: {folder / REPORT}")
    console.result(
        {"run": str(folder), **result.results.as_json(), "unfinished": list(result.unfinished)} | _spent(result)
    )
    _check_anchor(context.study, result, folder)


def _spent(result: StudyResult) -> dict[str, object]:
    report = result.ledger
    return {
        "budget_s": report.budget_s,
        "charged_s": report.charged_s,
        "overshoot_s": report.overshoot_s,
        "by_account": report.by_account or {},
    }


def _check_anchor(study: Study, result: StudyResult, folder: Path) -> None:
    """Refuses to call a study a success whose anchor has no result; what was done stays.

    Raises:
        StudyError: it has none.
    """
    state = result.results.arms[study.anchor].state
    if state != "done":
        left = pretty(max(0.0, result.ledger.budget_s - result.ledger.charged_s))
        raise StudyError(f"{folder}: the anchor {study.anchor} is {state}. {left} of the budget are left.")
