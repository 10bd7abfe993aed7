"""The live view of a run, drawn from its folder, in `oneday train` and in `oneday watch` from any terminal.

    with live(console, run): ...          # redraws itself twice a second until the block ends
    console.out.print(panel(read_history(run)))

Where it sits: history -> **live view** -> terminal.
"""

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from core.errors import OnedayError
from core.stage import LOCK
from harness.budget.duration import pretty
from harness.budget.rehearsal_progress import read_rehearsal_progress
from harness.history import History, State, read_history, smoothed
from harness.run import LEDGER
from oneday.display.console import Console
from oneday.display.study_view import watch_study
from oneday.requests.looking import WatchRequest
from studies.running.view import is_study

PER_S = 2
"""Redraws per second."""

BEGINS_S = 20.0
"""Time to wait for a run that was just started: it imports, hashes its rows, and then takes the run's lock."""

SPARK = "▁▂▃▄▅▆▇█"
SPARK_WIDTH, BAR_WIDTH = 40, 40
PLAIN_EVERY_S = 60.0
LOOK_EVERY_S = 1.0

_WORDS = {
    "load": "starting Axolotl", "pack": "packing the rows", "train": "training", "evaluate": "evaluating",
    "save": "saving", "pick": "picking", "export": "writing the final model", "generate": "generating",
    "score": "scoring", "idle": "waiting", "down": "down",
}  # fmt: skip


def sparkline(values: list[float]) -> str:
    """A line of block characters; each shows the mean of an equal share of the values."""
    values = [value for value in values if math.isfinite(value)]
    if not values:
        return ""
    count = min(SPARK_WIDTH, len(values))
    shares = [values[n * len(values) // count : (n + 1) * len(values) // count] for n in range(count)]
    means = [sum(share) / len(share) for share in shares]
    low, high = min(means), max(means)
    scale = (len(SPARK) - 1) / (high - low) if high > low else 0.0
    return "".join(SPARK[round((mean - low) * scale)] for mean in means)


def panel(history: History) -> RenderableType:
    """The whole view."""
    day = history.day
    used = 1 - history.left_s / day.budget_s
    filled = min(BAR_WIDTH, round(used * BAR_WIDTH))
    bar = Text("█" * filled, style="blue").append("░" * (BAR_WIDTH - filled), style="dim")
    what = _WORDS[history.phase] if history.state is State.RUNNING else str(history.state)
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column()
    grid.add_row("budget", bar.append(f"  {pretty(history.left_s)} of {pretty(day.budget_s)} left", style="bold"))
    for name, text in _lines(history):
        grid.add_row(name, text)
    head = Text("oneday  ", style="dim").append(str(history.run), style="bold").append(f"  {what}", style="blue")
    return Group(head, grid)


def _lines(history: History) -> Iterator[tuple[str, Text]]:
    if history.steps:
        yield "step", Text(f"{_step(history)}{_finish(history)}")
        losses = smoothed([step.loss for step in history.steps])
        yield "loss", Text(f"{losses[-1]:.4f}  ").append(sparkline(losses), style="blue")
    if history.evaluations:
        best, last_one = history.best, history.evaluations[-1]
        text = f"{best.loss:.4f} best, at step {best.step:,}" if best else "none that is a number"
        if best and last_one.step != best.step:
            text += f"; last {last_one.loss:.4f}"
        yield "validation", Text(text)
    speed = f"{history.tokens_per_s:,.0f} tokens/s" if history.tokens_per_s else "not known yet"
    memory = [step.memory_gib for step in history.steps if step.memory_gib is not None]
    yield "speed", Text(speed + (f", peak memory {max(memory):.1f} GiB" if memory else ""))
    if history.incidents:
        yield "last event", Text(history.incidents[-1].text)


def _step(history: History) -> str:
    last = history.steps[-1].step
    return f"{last:,}" if history.state is State.FINISHED else f"{last:,} of about {max(last, history.horizon):,}"


def _finish(history: History) -> str:
    if history.state is not State.RUNNING or history.finish_s is None:
        return ""
    at = datetime.now().astimezone() + timedelta(seconds=history.finish_s)
    return f", trained by {at:%H:%M} (in {pretty(history.finish_s)})"


def plain(history: History) -> str:
    """The same information in one line."""
    parts = [str(history.run), _WORDS[history.phase] if history.state is State.RUNNING else str(history.state)]
    if history.steps:
        parts += [f"step {_step(history)}", f"loss {history.steps[-1].loss:.4f}"]
    if history.best:
        parts.append(f"best validation loss {history.best.loss:.4f}")
    if history.tokens_per_s:
        parts.append(f"{history.tokens_per_s:,.0f} tokens/s")
    return " | ".join([*parts, f"budget left {pretty(history.left_s)}"])


@contextlib.contextmanager
def live(console: Console, run: Path) -> Iterator[bool]:
    """Draws the run at the bottom of a terminal until the block ends. In a pipe it draws nothing and yields False."""
    if not console.err.is_terminal:
        yield False
        return
    with (
        Live(get_renderable=_drawn(run), console=console.err, refresh_per_second=PER_S, transient=True),
        console.quiet(),
    ):
        yield True


def _drawn(run: Path) -> Callable[[], RenderableType]:
    """Reads the run again only when reading takes less than a twentieth of the time: a long run has many events."""
    shown: RenderableType = Text(f"oneday  {run}  starting", style="dim")
    again = 0.0

    def draw() -> RenderableType:
        nonlocal shown, again
        started = time.monotonic()
        if started < again:
            return shown
        with contextlib.suppress(
            OnedayError, OSError, ValueError, KeyError, IndexError
        ):  # the folder is just being created
            shown = screen(run)
        again = time.monotonic() + 20 * (time.monotonic() - started)
        return shown

    return draw


def screen(run: Path) -> RenderableType:
    """What is drawn of a run: its rehearsal while that is at work, else its day."""
    progress = read_rehearsal_progress(run)
    if progress is None:
        return panel(read_history(run))
    head = Text("oneday  ", style="dim").append(str(run), style="bold").append("  rehearsing", style="blue")
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column()
    grid.add_row("since", f"{pretty(progress.seconds)}, not charged to the budget")
    grid.add_row("last event", progress.activity)
    return Group(head, grid)


def one_line(run: Path) -> str:
    """The same information in one line."""
    progress = read_rehearsal_progress(run)
    if progress is None:
        return plain(read_history(run))
    return f"{run} | rehearsing | {progress.activity} | for {pretty(progress.seconds)}, not charged"


def run_watch(request: WatchRequest, console: Console) -> None:
    """Shows a run that another process rehearses or trains, until it ends or Ctrl-C; it goes on either way.

    Raises:
        DataError: nothing was ever trained there, and nobody is about to.
    """
    run, once = request.run, request.once
    if is_study(run):
        watch_study(request, console)
        return
    if not once:
        with contextlib.suppress(KeyboardInterrupt), live(console, run) as drawing:
            _follow(run, console, drawing=drawing)
    console.out.print(screen(run)) if console.out.is_terminal else console.line(one_line(run))
    if once:
        rehearses = read_rehearsal_progress(run) is not None
        history = None if rehearses else read_history(run)
        state = "rehearsing" if history is None else str(history.state)
        left_s = None if history is None else round(history.left_s, 1)
        console.result({"run": str(run), "state": state, "left_s": left_s})


def _follow(run: Path, console: Console, *, drawing: bool) -> None:
    """Until the run ends; in a pipe a line a minute, and one when a rehearsal or the day begins."""
    shown, before = -math.inf, ""
    waits_until = 0.0 if (run / LEDGER).is_file() else time.monotonic() + BEGINS_S
    while now := _what_goes_on(run, waits=time.monotonic() < waits_until):
        if now != "waiting":
            waits_until = time.monotonic() + BEGINS_S if now == "rehearsing" else 0.0
        if not drawing and (now != before or time.monotonic() - shown >= PLAIN_EVERY_S):
            console.line(f"{run} | waiting for the run to begin" if now == "waiting" else one_line(run))
            shown, before = time.monotonic(), now
        time.sleep(LOOK_EVERY_S)


def _what_goes_on(run: Path, *, waits: bool) -> str:
    """`rehearsing`, `training`, `waiting` for either; empty: nothing, or it is over."""
    if read_rehearsal_progress(run) is not None:
        return "rehearsing"
    if (run / LEDGER).is_file() and read_history(run).state is State.RUNNING:
        return "training"
    return "waiting" if waits and (run / LOCK).is_file() else ""
