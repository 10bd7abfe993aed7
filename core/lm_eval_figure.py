"""A figure of lm-evaluation-harness: one metric of one of its tasks, as it stands in a run's manifest.

    LmEvalFigure(task="gsm8k", metric="exact_match", filter="strict-match", value=0.31, stderr=0.013, num=1319)

Where it sits: evaluation measures it; `oneday evaluate` and the run's report show it.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from core.files import read_as
from core.manifest import MANIFEST, read_manifest, record

SECTION = "lm_eval"
"""Of the manifest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LmEvalFigure:
    """One metric of a task."""

    task: str
    metric: str
    filter: str
    """How lm_eval read the answers: `none`, `strict-match`, ..."""
    value: float
    stderr: float | None
    """As lm_eval computes it. None: it computes none for this metric."""
    num: int | None
    """Documents; None for a group of tasks."""
    num_fewshot: int | None = None
    version: str = ""
    """Of the task."""
    limit: int | None = None
    """Only so many documents were asked."""

    @property
    def name(self) -> str:
        """The metric, with its filter where it has one."""
        return self.metric if self.filter in ("none", "") else f"{self.metric} ({self.filter})"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Section:
    figures: tuple[LmEvalFigure, ...] = ()


def read_figures(run: Path) -> tuple[LmEvalFigure, ...]:
    """Those in a run's manifest; empty if lm_eval never asked its model.

    Raises:
        StageError: the manifest is damaged.
    """
    if SECTION not in read_manifest(run):
        return ()
    return read_as(_Section, run / MANIFEST, key=SECTION, mend="Ask again: `oneday evaluate` writes it anew.").figures


def record_figures(run: Path, version: str, figures: Iterable[LmEvalFigure]) -> None:
    """Adds the figures of a call to a run's manifest; a task that was asked again has its new ones alone.

    Args:
        version: Of lm_eval.
    """
    now = list(figures)
    asked = {figure.task for figure in now}
    kept = [*(figure for figure in read_figures(run) if figure.task not in asked), *now]
    kept.sort(key=lambda figure: (figure.task, figure.metric, figure.filter))
    record(run, SECTION, {"version": version, "figures": [asdict(figure) for figure in kept]})
