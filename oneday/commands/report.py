"""`oneday report`, and the page that is written when a run ends."""

import contextlib
import os
from pathlib import Path

from harness.errors import DataError
from harness.history import History, State, read_history
from harness.report import status_sentence, verdict_of, write_report
from oneday.display.console import Console
from oneday.requests.looking import ReportRequest
from studies.running.page import write_study_report
from studies.running.view import how_far, is_study

REPORT = "report.html"


def run_report(request: ReportRequest, console: Console) -> None:
    """Writes the page of one run, or of two.

    Raises:
        OnedayError: No run is given, or a run was never trained.
    """
    runs, compare, out = request.runs, request.compare, request.out
    if len(runs) + 2 * (compare is not None) not in (1, 2) or len(runs) > 1:
        raise DataError("no run is given. Write `oneday report RUN`, or `oneday report --compare A B` for two runs.")
    shown = list(compare or runs)
    if compare is None and is_study(shown[0]):
        _report_study(shown[0], out or shown[0] / REPORT, console)
        return
    path = out or (shown[0] / (REPORT if compare is None else f"compare-{Path(os.path.realpath(shown[1])).name}.html"))
    write_report(shown, path, commands=next_commands)
    for run in shown:
        history = read_history(run)
        verdict = verdict_of(history)
        if verdict is not None:
            (console.say if verdict.is_good else console.alarm)(f"{run}: {verdict.headline}")
        console.line(f"{run}: {status_sentence(history)}")
    console.say(f"page: {path}")
    console.result({"report": str(path), "runs": [str(run) for run in shown]})


def _report_study(folder: Path, path: Path, console: Console) -> None:
    write_study_report(folder, path)
    console.line(how_far(folder).line)
    console.say(f"page: {path}")
    console.result({"report": str(path), "runs": [str(folder)]})


def next_commands(history: History) -> list[tuple[str, str]]:
    """The next steps for a run: (description, command)."""
    run = history.run if history.run.name else history.run.resolve()
    if history.state is State.FINISHED:
        return [
            ("Repeat the run and compare every figure", f"oneday reproduce {run}/manifest.json --run {run}-again"),
            ("Serve it over HTTP", f"oneday serve --checkpoint {run}"),
            ("Compare base and tuned model", f"oneday compare {run}"),
            ("Export merged weights with a model card", f"oneday export {run} --merge bf16"),
        ]
    if history.state is State.RUNNING:
        return [("Watch it", f"oneday watch {run}"), ("Update this page", f"oneday report {run}")]
    return [("Resume it", "the command that started it"), ("Show the spent budget", f"oneday ledger {run}")]


def leave_report(run: Path, console: Console) -> None:
    """Writes the page at the end of a run, after its clock; an error is reported but does not fail the run."""
    try:
        write_report([run], run / REPORT, commands=next_commands)
    except Exception as e:  # an error in the page must not fail a finished run
        console.say(f"report: not written ({e})")
        return
    with contextlib.suppress(ValueError):
        run = run.relative_to(Path.cwd())
    console.say(f"report: {run / REPORT}")
