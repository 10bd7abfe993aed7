"""`oneday report`, and the page that a run leaves when it ends."""

import contextlib
import os
from pathlib import Path

from harness.errors import DataError
from harness.history import History, State, read_history
from harness.report import status_sentence, verdict_of, write_report
from oneday.display.console import Console
from oneday.requests.looking import ReportRequest

REPORT = "report.html"


def run_report(request: ReportRequest, console: Console) -> None:
    """The page of one run, or of two.

    Raises:
        OnedayError: which run is not said, or nothing was ever trained in it.
    """
    runs, compare, out = request.runs, request.compare, request.out
    if len(runs) + 2 * (compare is not None) not in (1, 2) or len(runs) > 1:
        raise DataError("which run? `oneday report RUN` writes its page, `oneday report --compare A B` that of two.")
    shown = list(compare or runs)
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


def next_commands(history: History) -> list[tuple[str, str]]:
    """The next steps for a run: (description, command)."""
    run = history.run if history.run.name else history.run.resolve()
    if history.state is State.FINISHED:
        return [
            ("the run again, figure by figure", f"oneday reproduce {run}/manifest.json --run {run}-again"),
            ("served over HTTP", f"oneday serve --checkpoint {run}"),
            ("base against tuned", f"oneday compare {run}"),
            ("adapter, or merged weights, with a model card", f"oneday export {run} --merge bf16"),
        ]
    if history.state is State.RUNNING:
        return [("watch it", f"oneday watch {run}"), ("this page anew", f"oneday report {run}")]
    return [("go on", "the command that began it, once more"), ("where the day went", f"oneday ledger {run}")]


def leave_report(run: Path, console: Console) -> None:
    """At the end of a run, after its clock: a page that cannot be written is no reason to fail."""
    try:
        write_report([run], run / REPORT, commands=next_commands)
    except Exception as e:  # whatever is wrong with a page, the day was good
        console.say(f"report: not written ({e})")
        return
    with contextlib.suppress(ValueError):
        run = run.relative_to(Path.cwd())
    console.say(f"report: {run / REPORT}")
