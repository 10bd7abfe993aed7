"""The console: progress on stderr, result tables on stdout, and one JSON line with `--json`.

    console = Console(json_line=True)
    console.progress("02_predictions", 128, 4480)
    console.result({"run": "runs/demo"})

In a terminal, progress is one line that is redrawn; in a pipe, one plain line every ten seconds.
"""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import orjson
from rich.box import SIMPLE
from rich.console import Console as RichConsole
from rich.table import Table
from rich.text import Text

from core.files import read_json
from core.stage import Stage

PLAIN_EVERY_S = 10.0


class _Printer(RichConsole):
    """rich, without its own end of the process at a broken pipe: the command line judges whose pipe that was."""

    def on_broken_pipe(self) -> None:
        """Called while the error is handled."""
        raise


class Console:
    """Writes results to stdout and everything else to stderr."""

    def __init__(self, *, json_line: bool = False, spelled: Callable[[str], str] = str) -> None:
        """Creates the console.

        Args:
            json_line: Whether `result` prints its line.
            spelled: Replaces the fields that a text names by options, see oneday/cli/spelling.py.
        """
        self.spelled = spelled
        self.err = _Printer(stderr=True, highlight=False)
        # A pipe has no width: tables get 150 columns instead of being folded to 80.
        self.out = _Printer(highlight=False, width=None if sys.stdout.isatty() else 150)
        self._json_line = json_line
        self._last_plain = 0.0
        self._moving = False
        self._quiet = False

    @contextlib.contextmanager
    def quiet(self) -> Iterator[None]:
        """Suppresses the redrawn progress line while a live view uses the terminal."""
        self._end_line()
        self._quiet = True
        try:
            yield
        finally:
            self._quiet = False

    def line(self, text: str) -> None:
        """A plain line on stdout."""
        self._end_line()
        self.out.print(self.spelled(text), markup=False, soft_wrap=True)

    def say(self, text: str) -> None:
        """A line of information on stderr."""
        self._end_line()
        self.err.print(self.spelled(text), markup=False, soft_wrap=True)

    def alarm(self, text: str) -> None:
        """An important line on stderr, red in a terminal."""
        self._end_line()
        self.err.print(self.spelled(text), markup=False, soft_wrap=True, style="bold red")

    def progress(self, what: str, done: int, total: int, note: str = "") -> None:
        """Progress such as `02_predictions 128/4480`."""
        self.status(f"{what:<15} {done}/{total} {note}".rstrip(), last=done >= total)

    def status(self, line: str, *, last: bool = False) -> None:
        """A line that replaces the previous status line."""
        if self._quiet:
            return
        if self.err.is_terminal:
            width = max(20, self.err.width - 1)
            sys.stderr.write("\r" + line[:width].ljust(width))
            sys.stderr.flush()
            self._moving = True
            if last:
                self._end_line()
        elif last or time.monotonic() - self._last_plain >= PLAIN_EVERY_S:
            self._last_plain = time.monotonic()
            print(line, file=sys.stderr, flush=True)  # noqa: T201

    def _end_line(self) -> None:
        if self._moving:
            sys.stderr.write("\n")
            self._moving = False

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """A table on stdout; all columns but the first are aligned to the right."""
        self._end_line()
        self.out.print(title, style="bold", markup=False)
        table = Table(box=SIMPLE, show_edge=False)
        for number, column in enumerate(columns):
            table.add_column(column, justify="left" if number == 0 else "right", overflow="fold", no_wrap=number == 0)
        for row in rows:
            table.add_row(*(Text(self.spelled(cell)) for cell in row))  # text from data must not be read as markup
        self.out.print(table)

    def stages(self, run: Path, names: Sequence[str]) -> None:
        """A table of records in, kept and dropped by reason, and seconds, for every stage."""
        rows = []
        for name in names:
            stage = Stage(run / name, inputs=read_json(run / name / "inputs.json"))
            for unit, tally in stage.summary().tallies.items():
                dropped = ", ".join(f"{n} {reason}" for reason, n in tally.dropped.items()) or "-"
                rows.append((f"{name} {unit}s", str(tally.read), str(tally.kept), dropped, f"{stage.seconds():.1f}"))
        self.table("stages", ("stage", "in", "kept", "dropped", "s"), rows)

    def result(self, values: Mapping[str, object]) -> None:
        """The machine-readable last line, if `--json` was given."""
        self._end_line()
        if self._json_line:
            sys.stdout.write(self.spelled(orjson.dumps(values).decode()) + "\n")
            sys.stdout.flush()
