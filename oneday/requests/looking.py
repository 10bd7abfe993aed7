"""Requests about a run, `watch`, `ledger`, `report`, `compare`, and about the machine, `doctor`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from oneday.requests.request import Option, Redoing, Reporting, WithTrainedBase

PLACED = Option(is_argument=True)


@dataclass(frozen=True, kw_only=True)
class WatchRequest(Reporting):
    """One calm screen of a run that another process trains.

    Budget left, step, losses, speed, finish. Ctrl-C leaves; the run goes on. In a pipe it prints a line a minute.

    Example: oneday watch runs/200k
    """

    run: Annotated[Path, PLACED]
    """Run folder."""
    once: bool = False
    """Show it once and end."""


@dataclass(frozen=True, kw_only=True)
class LedgerRequest(Reporting):
    """Where the day of a run went, also while it trains.

    Example: oneday ledger runs/200k
    """

    run: Annotated[Path, PLACED]
    """Run folder."""


@dataclass(frozen=True, kw_only=True)
class ReportRequest(Reporting):
    """A run as one offline page, or two side by side.

    Writes report.html; also of a run that trains, or that was killed.

    Examples: oneday report runs/200k
              oneday report --compare runs/200k runs/forgets --out compare.html
    """

    runs: Annotated[tuple[Path, ...], PLACED] = ()
    """Run folder."""
    compare: tuple[Path, Path] | None = None
    """Two run folders, side by side."""
    out: Path | None = None
    """File. Default: report.html in the run folder."""


@dataclass(frozen=True, kw_only=True)
class CompareRequest(Redoing, WithTrainedBase):
    """Base against tuned on held-out questions.

    Both models are asked the same; all answers go to 10_scores. Greedy, without shots, in the precision of training;
    scored by exact match or ROUGE-L; paired bootstrap.

    Example: oneday compare runs/200k --questions 500
    """

    run: Annotated[Path, PLACED]
    """Run folder with a picked checkpoint."""
    questions: Annotated[int, Option(low=1)] = 200
    """How many validation rows are asked."""
    mix: Path | None = None
    """Its mix. Default: the one it was trained on."""
    max_new_tokens: Annotated[int, Option(low=1, high=4096)] = 128
    """Longest answer."""


@dataclass(frozen=True, kw_only=True)
class DoctorRequest(Reporting):
    """Is this machine ready? What is wrong, and what mends it.

    One line for each check: OK, note, warning or PROBLEM, with its mend. Without --hub no network is used. Exit code 2
    if there is a problem; warnings and notes are none.

    Examples: oneday doctor
              oneday doctor --card rtx4090 --base models/Mistral-7B-v0.1 --run runs/200k
    """

    card: Annotated[str | None, Option(suggests="harness.budget.gpu_profile:GPU_PROFILES")] = None
    """Profile to check against. Default: the card found, or cpu."""
    base: str | None = None
    """Base model folder: is it here, whole, under which licence."""
    run: Path = Path()
    """Folder whose disk a run would use."""
    hub: bool = False
    """Ask the model hub whether it can be reached."""
