"""`oneday report`, and the page that a run leaves when it ends."""

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

from harness.errors import DataError
from harness.history import read_history
from harness.report import sentence, verdict_of, write_report
from oneday.display.console import Console

REPORT = "report.html"


def run_report(runs: Sequence[Path], *, compare: tuple[Path, Path] | None, out: Path | None, console: Console) -> None:
    """The page of one run, or of two.

    Raises:
        OnedayError: which run is not said, or nothing was ever trained in it.
    """
    if len(runs) + 2 * (compare is not None) not in (1, 2) or len(runs) > 1:
        raise DataError("which run? `oneday report RUN` writes its page, `oneday report --compare A B` that of two.")
    shown = list(compare or runs)
    path = out or (shown[0] / (REPORT if compare is None else f"compare-{Path(os.path.realpath(shown[1])).name}.html"))
    write_report(shown, path)
    for run in shown:
        history = read_history(run)
        verdict = verdict_of(history)
        if verdict is not None:
            (console.say if verdict.is_good else console.alarm)(f"{run}: {verdict.headline}")
        console.line(f"{run}: {sentence(history)}")
    console.say(f"page: {path}")
    console.result({"report": str(path), "runs": [str(run) for run in shown]})


def leave_report(run: Path, console: Console) -> None:
    """At the end of a run, after its clock: a page that cannot be written is no reason to fail."""
    try:
        write_report([run], run / REPORT)
    except Exception as e:  # whatever is wrong with a page, the day was good
        console.say(f"report: not written ({e})")
        return
    with contextlib.suppress(ValueError):
        run = run.relative_to(Path.cwd())
    console.say(f"report: {run / REPORT}")
