"""How far a study is, from its folder.

    how_far(Path("runs/finnish")).line     # "runs/finnish | study finnish | sft ... | 3 of 14 trainings | ..."

Nothing is asked of the process at work: state and ledger are on the disk.

Where it sits: `oneday watch` and the page call it.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from core.files import read_as
from core.stage import is_locked
from harness.budget.duration import pretty
from harness.ledger.ledger import Ledger
from studies.running.folder import LEDGER, STATE
from studies.running.results import StudyState


@dataclass(frozen=True, slots=True, kw_only=True)
class HowFar:
    """How far a study is."""

    folder: Path
    state: StudyState
    is_running: bool
    phase: str
    left_s: float
    budget_s: float

    @property
    def counts(self) -> Mapping[str, int]:
        """State -> how many trainings and generations."""
        return Counter(work.state for work in self.state.work)

    @property
    def doing(self) -> str:
        """What runs, with its phase; or how it stands."""
        if self.is_running and self.state.running:
            return f"{self.phase}: {self.state.running.name}"
        return "between two trainings" if self.is_running else "ended" if not self.counts.get("waiting") else "stopped"

    @property
    def lines(self) -> Sequence[tuple[str, str]]:
        """(what, value), for a screen."""
        counts = ", ".join(f"{n} {state}" for state, n in sorted(self.counts.items()))
        return (
            ("budget", f"{pretty(max(0.0, self.left_s))} of {pretty(self.budget_s)} left"),
            ("now", self.doing),
            ("work", counts),
            ("dropped", ", ".join(self.state.dropped) or "nothing"),
        )

    @property
    def line(self) -> str:
        """The same in one line."""
        return " | ".join(
            [str(self.folder), f"study {self.state.study}", *(f"{what} {text}" for what, text in self.lines)]
        )


def is_study(folder: Path) -> bool:
    """Whether a folder is that of a study that has begun."""
    return (folder / STATE).is_file() and (folder / LEDGER).is_file()


def how_far(folder: Path) -> HowFar:
    """Reads it.

    Raises:
        OnedayError: a file is damaged.
    """
    ledger = Ledger.of_run(folder / LEDGER)
    return HowFar(
        folder=folder,
        state=read_as(StudyState, folder / STATE),
        is_running=ledger.is_alive or (is_locked(folder) and not ledger.is_closed),
        phase=ledger.phase,
        left_s=ledger.left_s if ledger.is_alive else ledger.budget_s - ledger.charged_s,
        budget_s=ledger.budget_s,
    )
