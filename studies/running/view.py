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
from harness.budget.duration import pretty, seconds
from harness.ledger.ledger import Ledger
from studies.running.folder import STATE, STUDY
from studies.running.results import StudyState
from studies.running.spending import ledgers, left_s


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
            return f"{self.phase}: {'; '.join(work.name for work in self.state.running)}"
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
    return (folder / STATE).is_file() and bool(ledgers(folder))


def how_far(folder: Path) -> HowFar:
    """Reads it.

    Raises:
        OnedayError: a file is damaged.
    """
    opened = [Ledger.of_run(path) for path in ledgers(folder)]
    alive = [ledger for ledger in opened if ledger.is_alive]
    budget_s = seconds(read_as(str, folder / STUDY, key="budget"))
    return HowFar(
        folder=folder,
        state=read_as(StudyState, folder / STATE),
        is_running=bool(alive) or (is_locked(folder) and not all(ledger.is_closed for ledger in opened)),
        phase=", ".join(dict.fromkeys(ledger.phase for ledger in alive or opened)),
        left_s=left_s(folder, budget_s=budget_s),
        budget_s=budget_s,
    )
