"""`oneday watch` of a study: one screen, drawn from its folder."""

import contextlib
import time
from pathlib import Path

from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from oneday.display.console import Console
from oneday.requests.looking import WatchRequest
from studies.running.view import HowFar, how_far

LOOK_EVERY_S = 2.0
PLAIN_EVERY_S = 60.0


def watch_study(request: WatchRequest, console: Console) -> None:
    """Shows a study that another process runs, until it ends or Ctrl-C."""
    folder = request.run
    if not request.once:
        with contextlib.suppress(KeyboardInterrupt):
            _follow(folder, console)
    far = how_far(folder)
    console.out.print(_screen(far)) if console.out.is_terminal else console.line(far.line)
    counts = dict(far.counts)
    console.result({"run": str(folder), "study": far.state.study, "is_running": far.is_running, "work": counts})


def _follow(folder: Path, console: Console) -> None:
    """In a pipe a line a minute."""
    if console.err.is_terminal:
        with Live(console=console.err, transient=True) as live:
            while (far := how_far(folder)).is_running:
                live.update(_screen(far))
                time.sleep(LOOK_EVERY_S)
        return
    shown = float("-inf")
    while (far := how_far(folder)).is_running:
        if time.monotonic() - shown >= PLAIN_EVERY_S:
            shown = time.monotonic()
            console.line(far.line)
        time.sleep(LOOK_EVERY_S)


def _screen(far: HowFar) -> RenderableType:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column()
    for what, text in far.lines:
        grid.add_row(what, text)
    head = Text("oneday  ", style="dim").append(str(far.folder), style="bold").append(f"  study {far.state.study}")
    return Group(head, grid)
