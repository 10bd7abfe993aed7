"""Requests that show something: `watch`, `ledger`, `report` and `compare` about a run, `doctor` about the machine."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from oneday.requests.request import Option, Redoing, Reporting, WithTrainedBase

PLACED = Option(is_argument=True)


@dataclass(frozen=True, kw_only=True)
class WatchRequest(Reporting):
    """Show a run that another process trains on one screen.

    Budget left, step, losses, speed and expected end. Ctrl-C ends the view; the run continues. In a pipe it prints one
    line a minute.

    Example: oneday watch runs/200k
    """

    run: Annotated[Path, PLACED]
    """Run folder."""
    once: bool = False
    """Show the run once and end."""


@dataclass(frozen=True, kw_only=True)
class LedgerRequest(Reporting):
    """Show how the budget of a run was spent, even while it trains.

    Example: oneday ledger runs/200k
    """

    run: Annotated[Path, PLACED]
    """Run folder."""


@dataclass(frozen=True, kw_only=True)
class ReportRequest(Reporting):
    """Write an offline HTML page about a run, or about two side by side.

    The run may be training, or may have been killed.

    Examples: oneday report runs/200k
              oneday report --compare runs/200k runs/forgets --out compare.html
    """

    runs: Annotated[tuple[Path, ...], PLACED] = ()
    """Run folder."""
    compare: tuple[Path, Path] | None = None
    """Two run folders, side by side."""
    out: Path | None = None
    """HTML file. Default: report.html in the run folder."""


@dataclass(frozen=True, kw_only=True)
class CompareRequest(Redoing, WithTrainedBase):
    """Compare base and tuned model on held-out questions.

    Both models answer the same questions zero-shot with greedy decoding, in the precision of training. Scores are exact
    match or ROUGE-L with a paired bootstrap. All answers are stored in 10_scores.

    Example: oneday compare runs/200k --questions 500
    """

    run: Annotated[Path, PLACED]
    """Run folder with a picked checkpoint."""
    questions: Annotated[int, Option(low=1)] = 200
    """Number of validation rows to answer."""
    mix: Path | None = None
    """The run's mix. Default: the one it was trained on."""
    max_new_tokens: Annotated[int, Option(low=1, high=4096)] = 128
    """Longest answer, in tokens."""


@dataclass(frozen=True, kw_only=True)
class DoctorRequest(Reporting):
    """Check whether this machine is ready, and say how to mend what is wrong.

    One line for each check: OK, note, warning or PROBLEM, with its mend. Without --hub no network is used. Exit code 2
    if there is a problem, but not for warnings and notes.

    Examples: oneday doctor
              oneday doctor --card rtx4090 --base models/Mistral-7B-v0.1 --run runs/200k
    """

    card: Annotated[str | None, Option(suggests="harness.budget.gpu_profile:GPU_PROFILES")] = None
    """Profile to check against. Default: the card of this machine, or cpu."""
    base: str | None = None
    """Base model folder to check: whether it is complete, and its licence."""
    run: Path = Path()
    """Folder whose disk a run would use."""
    hub: bool = False
    """Check whether the model hub can be reached."""
