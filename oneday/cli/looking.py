"""Looking at a run, at any time: `watch`, `ledger`, `report`, `compare`; and at the machine: `doctor`."""

from pathlib import Path
from typing import Annotated

import typer

from oneday.cli.app import BaseChanged, Json, Redo, app


@app.command(short_help="One calm screen of a run that another process trains.")
def watch(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    once: Annotated[bool, typer.Option("--once", help="Show it once and end.")] = False,
    json: Json = False,
) -> None:
    """Shows a run that trains elsewhere: budget left, step, losses, speed, finish. Ctrl-C leaves; the run goes on.

    In a pipe it prints a line a minute.

    Example: oneday watch runs/200k
    """
    from oneday.display.console import Console
    from oneday.display.live_view import watch

    watch(run, Console(json_line=json), once=once)


@app.command(short_help="Where the day of a run went.")
def ledger(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    json: Json = False,
) -> None:
    """Shows where the day of a run went, also while it trains.

    Example: oneday ledger runs/200k
    """
    from oneday.display.console import Console
    from oneday.display.training import run_ledger

    run_ledger(run, Console(json_line=json))


@app.command(short_help="A run as one page, or two side by side.")
def report(
    runs: Annotated[list[Path] | None, typer.Argument(help="Run folder.")] = None,
    compare: Annotated[tuple[Path, Path] | None, typer.Option(help="Two run folders, side by side.")] = None,
    out: Annotated[Path | None, typer.Option(help="File. Default: report.html in the run folder.")] = None,
    json: Json = False,
) -> None:
    """Writes report.html, one offline page; also of a run that trains, or that was killed.

    Examples: oneday report runs/200k
              oneday report --compare runs/200k runs/forgets --out compare.html
    """
    from oneday.commands.report import run_report
    from oneday.display.console import Console

    run_report(list(runs or []), compare=compare, out=out, console=Console(json_line=json))


@app.command(short_help="Base against tuned on held-out questions.")
def compare(
    run: Annotated[Path, typer.Argument(help="Run folder with a picked checkpoint.")],
    questions: Annotated[int, typer.Option(min=1, help="How many validation rows are asked.")] = 200,
    base: Annotated[Path | None, typer.Option(help="Base model folder. Default: the run's.")] = None,
    base_changed: BaseChanged = False,
    mix: Annotated[Path | None, typer.Option(help="Its mix. Default: the one it was trained on.")] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, max=4096, help="Longest answer.")] = 128,
    redo: Redo = False,
    json: Json = False,
) -> None:
    """Asks base and picked checkpoint the same held-out questions; all answers go to 10_scores.

    Greedy, without shots, in the precision of training; scored by exact match or ROUGE-L; paired bootstrap.

    Example: oneday compare runs/200k --questions 500
    """
    from oneday.commands.compare import CompareRequest, run_compare
    from oneday.display.console import Console

    request = CompareRequest(
        run=run, num=questions, base=base, base_changed=base_changed, mix=mix, max_new_tokens=max_new_tokens, redo=redo
    )  # fmt: skip
    run_compare(request, Console(json_line=json))
