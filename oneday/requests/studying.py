"""Request about many trainings: `study`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from oneday.requests.request import Option, Reporting, WithDryRun


@dataclass(frozen=True, kw_only=True)
class StudyRequest(Reporting, WithDryRun):
    """Many trainings in one budget: arms, stages, sweeps.

    Trains what is identical once, selects, generates, scores; the same command resumes. With --dry-run it needs
    neither base nor data: every training with its estimated hours, what is shared, what the budget drops, how arms
    differ, and every deviation from the paper.

    Examples: oneday study --list
              oneday study finnish --dry-run
              oneday study mine.yml --run runs/mine
    """

    file: Annotated[Path | None, Option(is_argument=True)] = None
    """A study's YAML, or the name of a shipped one."""
    list: bool = False
    """Show the shipped studies and their presets."""
    preset: str | None = None
    """Where paper and published files disagree. Default: the first."""
    budget: str | None = None
    """For everything together: 24h, 3d."""
    base: str | None = None
    """Base model folder. Default: the study's."""
    card: Annotated[str | None, Option(suggests="harness.budget.gpu_profile:GPU_PROFILES")] = None
    """The profile that hours are estimated for."""
    data_folder: Path | None = None
    """Where the study's data, items and papers are."""
    run: Path | None = None
    """Folder of the study. Default: runs/NAME."""
    on: Annotated[Literal["here", "ray"], Option(is_rare=True)] = "here"
    """ray: on every GPU of a Ray cluster; the budget then counts GPU-hours."""
    ray_address: Annotated[str | None, Option(is_rare=True)] = None
    """With --on ray: auto, or HOST:PORT. Default: this machine."""
    set: tuple[str, ...] = ()
    """Another value of a key: KEY=VALUE, as sft.learning_rate=1e-5."""
