"""The page of a study: one self-contained file, and the same numbers as JSON beside it.

    write_study_report(Path("runs/finnish"), Path("runs/finnish/report.html"))

Everything is on the disk, so it can be written at any moment of the study's life, by another process too. A
paper's figures are those that the results have from its file, and none stands in the place of a measured one.

Where it sits: results, ledgers, compared.py -> **page** -> `oneday study`, `oneday report`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from core.files import read_as, write_json
from core.page import write_page
from evaluation.scoring import Figure
from evaluation.track import Track, shown
from harness.budget.duration import pretty
from harness.ledger.ledger import Ledger
from studies.arm import Change
from studies.running.compared import compared_with_anchor
from studies.running.folder import LEDGER, RESPONSES, RESULTS, SHORT, STUDY, TRAININGS
from studies.running.results import ArmResult, PaperFigure, Parts, StudyResults
from studies.running.spending import spent
from studies.running.view import HowFar, how_far
from studies.selection import ALL, Selection

Column = tuple[str, str]
"""Metric and language."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One arm of a chart; positions are per cent of the track."""

    arm: str
    figure: Figure
    width: float
    whisker: tuple[float, float] | None
    """Where the interval begins, and how long it is."""
    paper: str
    """As printed; empty where the paper has none."""
    paper_at: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """One metric of all arms."""

    column: Column
    bars: tuple[Bar, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What one training or generation took."""

    what: str
    arms: Sequence[str]
    state: str
    seconds: float | None
    phases: Mapping[str, float]
    share: float
    """Per cent of the longest one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Swept:
    stage: str
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Suite:
    languages: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Head:
    """What the page says of the study itself, from `study.json`."""

    about: str
    base: str
    budget: str
    anchor: str
    suites: Mapping[str, _Suite]
    selection: Selection | None = None
    sweep: _Swept | None = None


def write_study_report(folder: Path, path: Path) -> None:
    """Writes the page to `path`, and the numbers to the same name with `.json`.

    Raises:
        OnedayError: a file is damaged, or the page cannot be written.
    """
    results, study = read_as(StudyResults, folder / RESULTS), read_as(_Head, folder / STUDY)
    languages = {name: suite.languages for name, suite in study.suites.items()}
    compared = compared_with_anchor(folder, results, anchor=study.anchor, languages=languages)
    far = how_far(folder)
    spend = _spend(far)
    columns = _columns(results, study)
    papers = _paper_columns(results, columns)
    arms = results.arms.values()
    values = {
        "results": results,
        "study": study,
        "status": f"{pretty(max(0.0, far.left_s))} of {pretty(far.budget_s)} left; {far.doing}.",
        "columns": columns,
        "charts": [_chart(column, results.arms, has_paper=column in papers) for column in columns],
        "parts": _parts(results.arms),
        "compared": compared,
        "compared_columns": [column for column in columns if any(column in found for found in compared.values())],
        "paper_columns": papers,
        "metrics_not_run": {metric: why for arm in arms for metric, why in arm.metrics_not_run.items()},
        "spend": spend,
        "has_loss": any(arm.eval_loss is not None for arm in arms),
    }
    write_page(path, "studies", "report.html.j2", values, filters=FILTERS)
    against = {arm: [asdict(row) for row in found.values()] for arm, found in compared.items()}
    write_json(
        path.with_suffix(".json"),
        {**results.as_json(), "against_anchor": against, "spend": [asdict(one) for one in spend]},
    )


def _paper_metrics(results: StudyResults) -> list[str]:
    return list(dict.fromkeys(metric for arm in results.arms.values() for metric in arm.paper))


def _paper_columns(results: StudyResults, columns: Sequence[Column]) -> list[Column]:
    """Those that the paper's figures stand beside: of all languages together, where a metric has such a column."""
    metrics = {
        metric for metric in _paper_metrics(results) if any(arm.paper.get(metric) for arm in results.arms.values())
    }
    return [
        (metric, lang)
        for metric, lang in columns
        if metric in metrics and ((metric, ALL) not in columns or lang == ALL)
    ]


def _columns(results: StudyResults, study: _Head) -> list[Column]:
    """Those that select or that the paper has, then the others; the order of a suite is kept."""
    rule = study.selection
    first = {*(rule.metrics if rule else ()), *(rule.then if rule else ()), *_paper_metrics(results)}
    return sorted(results.columns, key=lambda column: column[0] not in first)


def _chart(column: Column, arms: Mapping[str, ArmResult], *, has_paper: bool) -> Chart:
    """The bars of the arms that have this metric, on one track."""
    metric, language = column
    measured = {name: arm.metrics.get(metric, {}).get(language) for name, arm in arms.items()}
    found = {name: figure for name, figure in measured.items() if figure is not None and figure.value is not None}
    papers = {name: arms[name].paper.get(metric) if has_paper else None for name in found}
    track = Track.of(
        [
            *(end for figure in found.values() for end in (figure.value or 0.0, *(figure.interval or ()))),
            *(paper.scaled for paper in papers.values() if paper),
        ]
    )
    bars = (_bar(name, figure, papers[name], track) for name, figure in found.items())
    return Chart(column=column, bars=tuple(bars))


def _bar(arm: str, figure: Figure, paper: PaperFigure | None, track: Track) -> Bar:
    return Bar(
        arm=arm,
        figure=figure,
        width=track.at(figure.value or 0.0),
        whisker=track.whisker(figure.interval),
        paper=paper.printed if paper else "",
        paper_at=track.at(paper.scaled) if paper else None,
    )


def _parts(arms: Mapping[str, ArmResult]) -> dict[tuple[str, str], dict[str, dict[str, Figure]]]:
    """(metric, dimension) -> label -> arm -> figure."""
    found: dict[tuple[str, str], dict[str, dict[str, Figure]]] = {}
    for name, arm in arms.items():
        parts: Parts = arm.parts
        for metric, dimensions in parts.items():
            for dimension, labels in dimensions.items():
                for label, figure in labels.items():
                    found.setdefault((metric, dimension), {}).setdefault(label, {})[name] = figure
    return found


def _spend(far: HowFar) -> list[Spent]:
    """By training and generation, each with its phases."""
    by_account = spent(far.folder, budget_s=far.budget_s).by_account or {}
    longest = max(by_account.values(), default=0.0) or 1.0
    found = []
    for work in far.state.work:
        seconds = by_account.get(work.identity[:SHORT])
        found.append(
            Spent(
                what=f"{work.what} {work.which}".strip(),
                arms=work.arms,
                state=work.state,
                seconds=seconds,
                phases=_phases(far.folder, work.identity),
                share=round(100 * (seconds or 0.0) / longest, 2),
            )
        )
    return found


def _phases(folder: Path, identity: str) -> Mapping[str, float]:
    """Seconds by phase, from the account's own ledger, without the time between two calls."""
    for place in (TRAININGS, RESPONSES):
        path = folder / place / identity[:SHORT] / LEDGER
        if path.is_file():
            by_phase = Ledger.of_run(path).report().by_phase
            return {name: spent for name, spent in by_phase.items() if name not in ("down", "closed", "idle")}
    return {}


def _short(value: object) -> str:
    """A setting for a reader: `adam`, `[a, b]`, `-`."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(str, value))}]"
    return "-" if value is None else str(value)


def _change(change: Change) -> str:
    """How an arm differs in a key; the bare name of a stage means the stage itself."""
    if isinstance(change.here, bool) and "." not in change.key:
        return f"{'with' if change.here else 'without'} {change.key}"
    return f"{change.key}: {_short(change.anchor)} → {_short(change.here)}"


FILTERS: Mapping[str, Callable[..., object]] = {"value": shown, "short": _short, "change": _change}
"""Of the template."""
