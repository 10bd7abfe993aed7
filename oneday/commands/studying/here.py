"""`oneday study FILE`: a study run on this machine, or gone on with."""

from collections.abc import Callable
from pathlib import Path

from harness.budget.duration import pretty
from harness.budget.profile_choice import choose_profile
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
    choice = choose_profile(request.card)
    study = study_of(request, choice.card.name)
    folder = request.run or Path("runs") / study.study
    console.say(choice.sentence)
    runner = HarnessRunner(card=choice.card, folder=folder, device=choice.device)
    evaluator = CommandEvaluator()
    context = prepare(study, folder=folder, runner=runner, evaluator=evaluator, on_event=console.say)
    if fitted is not None:
        study = fitted(context)
        context = prepare(study, folder=folder, runner=runner, evaluator=evaluator, on_event=lambda line: None)
    for name, why in context.not_run.items():
        console.say(f"suite {name}: not run: {why}")
    result = run_study(context, runner=runner, evaluator=evaluator, on_event=console.say)
    show_results(result, console)
    write_study_report(folder, folder / REPORT)
    console.say(f"report: {folder / REPORT}")
    console.result(
        {"run": str(folder), **result.results.as_json(), "unfinished": list(result.unfinished)} | _spent(result)
    )
    _check_anchor(study, result, folder)


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
