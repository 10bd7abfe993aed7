"""Charges what a command does after training to the run's ledger, if the run has one.

    with charged(run, "generate", console) as charge:
        if charge.is_bounded:
            code = run_within(..., deadline=charge.deadline, beat=charge.beat)

Where it sits: below the commands that ask a run's model something.
"""

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.budget.clock import uptime
from harness.budget.duration import pretty
from harness.ledger.day import PhaseName
from harness.ledger.ledger import Ledger
from harness.run import LEDGER
from oneday.display.console import Console


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """What the time costs."""

    beat: Callable[[], None] = lambda: None
    """To be called every second or so while time is charged."""
    deadline: float = math.inf
    """On the uptime clock."""

    @property
    def is_bounded(self) -> bool:
        """Whether the run's budget is charged, and ends."""
        return self.deadline < math.inf


@contextlib.contextmanager
def charged(run: Path, phase: PhaseName, console: Console, *, uncharged: bool = False) -> Iterator[Charge]:
    """Charges the block to a run whose budget has time left. Otherwise the time is noted in the ledger as not charged.

    Args:
        run: A folder; one without a ledger is charged nothing.
        uncharged: The user wants it outside the budget.
    """
    path = run / LEDGER
    if not path.is_file():
        yield Charge()
        return
    ledger = Ledger.of_run(path)
    if uncharged or (ledger.is_closed and ledger.left_s <= 0):
        if not uncharged:
            console.say(f"{run}: its budget of {pretty(ledger.budget_s)} is used up; this is not charged to it")
        began = uptime()
        try:
            yield Charge()
        finally:
            ledger.note_not_charged(phase, uptime() - began)
        return
    with ledger.working(phase):  # only this tells what a killed run has left: the time it lay may count or not
        left_s = ledger.left_s
        if left_s > 0:
            console.say(f"charged to the budget: {pretty(left_s)} of {pretty(ledger.budget_s)} are left")
        yield Charge(beat=ledger.beat, deadline=ledger.deadline)
