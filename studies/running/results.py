"""What a study found: arms with metrics and the paper's figures, selections, what was cut or dropped.

    results = results_of(survey)
    results.arms["dpo-both"].metrics["ifeval.instruction_strict"]["en"].interval

Nothing in it depends on how long something took, so a study that was killed on the way ends with the same results.

Where it sits: survey -> **results** -> results.json, report.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from pydantic import TypeAdapter

from core.files import read_json
from evaluation.scoring import Figure
from studies.arm import Change
from studies.deviations import deviations
from studies.graph import Generation, Training
from studies.running.folder import StudyFolder, TrainedRecord
from studies.running.survey import Planned, Survey
from studies.selection import Choice, MetricRow
from studies.study import Deviation, Study


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperFigure:
    """A cell of a paper's tables."""

    value: float | int | str
    """As its file writes it."""
    unit: str

    @property
    def printed(self) -> str:
        """As the paper prints it."""
        return f"{self.value}{' %' if self.unit == '%' else ''}"

    @property
    def scaled(self) -> float:
        """A per cent as a share."""
        return float(self.value) / (100 if self.unit == "%" else 1)


Metrics: TypeAlias = Mapping[str, Mapping[str, Figure]]
"""Metric -> language -> figure."""

Parts: TypeAlias = Mapping[str, Mapping[str, Mapping[str, Figure]]]
"""Metric -> dimension -> label -> figure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmResult:
    """What one arm has reached."""

    state: str
    """`done`, `dropped`, `failed: why`, `incomplete: why` (trained, but not scored) or `not done`."""
    checkpoint: str | None
    """Identity of the weights that were trained last."""
    stopped: str
    eval_loss: float | None
    metrics: Metrics
    parts: Parts
    metrics_not_run: Mapping[str, str]
    """Metric -> why."""
    responses: Mapping[str, str]
    """Suite -> folder of the scored responses, relative to the study's."""
    paper: Mapping[str, PaperFigure | None]
    """Metric -> the paper's figure; empty without its file."""
    differs: Sequence[Change]


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedTraining:
    """A training on which several arms rest."""

    identity: str
    stage: str
    arms: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyResults:
    """What `results.json` holds: everything that the report shows, except the time."""

    study: str
    arms: Mapping[str, ArmResult]
    selections: Mapping[str, Choice]
    """By arm."""
    same_prompts: Sequence[str]
    """Suites whose prompts both select and report."""
    not_run: Mapping[str, str]
    """Suite -> why."""
    trainings: Mapping[str, TrainedRecord]
    """By identity, sorted."""
    shared: Sequence[SharedTraining]
    dropped: Sequence[str]
    failed: Mapping[str, str]
    refused: Mapping[str, str]
    """Arm -> why nothing was selected for it."""
    deviations: Sequence[Deviation]

    @property
    def columns(self) -> Sequence[tuple[str, str]]:
        """(metric, language) of every figure that some arm has, in the order of the suites."""
        arms = self.arms.values()
        return list(dict.fromkeys((metric, lang) for arm in arms for metric, by in arm.metrics.items() for lang in by))

    def as_json(self) -> dict[str, object]:
        """Returns plain values, as `results.json` and the last line of the command have them."""
        plain: dict[str, object] = TypeAdapter(StudyResults).dump_python(self, mode="json")
        return plain


def results_of(survey: Survey) -> StudyResults:
    """Collects the results of a study."""
    context = survey.context
    study = context.study
    figures = paper_figures(study)
    return StudyResults(
        study=study.study,
        arms={name: _arm(survey, name, figures) for name in study.arms},
        selections=survey.choices,
        same_prompts=[name for name, suite in study.suites.items() if {"select", "report"} <= set(suite.use)],
        not_run=context.not_run,
        trainings=dict(sorted(survey.trained.items())),
        shared=[
            SharedTraining(identity=training.identity, stage=training.stage.name, arms=training.arms)
            for training in survey.graph.trainings.values()
            if len(training.arms) > 1
        ],
        dropped=survey.fitted.dropped,
        failed=survey.failed,
        refused=survey.refused,
        deviations=deviations(study, context.arms),
    )


def _arm(survey: Survey, name: str, figures: Mapping[tuple[str, str], PaperFigure]) -> ArmResult:
    tip = survey.graph.tips[name]
    record = survey.trained.get(tip or "")
    metrics, parts, not_run, responses = _scored(survey, tip, name)
    return ArmResult(
        state=_state(survey, name),
        checkpoint=record.identity if record else None,
        stopped=record.stopped if record else "",
        eval_loss=record.eval_loss if record else None,
        metrics=metrics,
        parts=parts,
        metrics_not_run=not_run,
        responses=responses,
        paper=_paper(survey.context.study, name, figures),
        differs=survey.context.arms[name].difference,
    )


def _paper(study: Study, arm: str, figures: Mapping[tuple[str, str], PaperFigure]) -> Mapping[str, PaperFigure | None]:
    if study.paper is None or not figures:
        return {}
    row = study.paper.rows.get(arm, "")
    return {metric: figures.get((row, column)) for metric, column in study.paper.columns.items()}


def _state(survey: Survey, name: str) -> str:
    if name in survey.fitted.dropped:
        return "dropped"
    needs = survey.graph.needs[name]
    own = [i for i in needs if i in survey.failed and i in survey.graph.trainings]
    tip = survey.graph.tips[name]
    if name in survey.refused:
        return f"failed: {survey.refused[name]}"
    if tip in survey.failed or (own and (tip is None or tip not in survey.trained)):
        return f"failed: {survey.failed[tip if tip and tip in survey.failed else sorted(own)[0]]}"
    if unscored := [i for i in sorted(needs) if i in survey.failed and i in survey.graph.generations]:
        return f"incomplete: {survey.failed[unscored[0]]}"
    return "done" if needs <= survey.settled else "not done"


def _scored(
    survey: Survey, tip: str | None, arm: str
) -> tuple[dict[str, dict[str, Figure]], dict[str, dict[str, dict[str, Figure]]], dict[str, str], dict[str, str]]:
    """Metrics, their parts, what was not run, and where the responses are."""
    metrics: dict[str, dict[str, Figure]] = {}
    parts: dict[str, dict[str, dict[str, Figure]]] = {}
    not_run: dict[str, str] = {}
    responses: dict[str, str] = {}
    folder = survey.context.folder
    for generation in survey.graph.generations.values():
        if generation.training != tip or arm not in generation.arms:
            continue
        rows = folder.scores(generation)
        if rows is not None:
            responses[generation.suite] = str(folder.responses(generation.identity).relative_to(folder.path))
        for row in rows or []:
            if row.note:
                not_run[row.metric] = row.note
            elif row.dimension:
                parts.setdefault(row.metric, {}).setdefault(row.dimension, {})[row.label] = _figure(row)
            else:
                metrics.setdefault(row.metric, {})[row.language] = _figure(row)
    return metrics, parts, not_run, responses


def _figure(row: MetricRow) -> Figure:
    return Figure(k=row.k, n=row.n, value=row.value, interval=row.interval)


def paper_figures(study: Study) -> dict[tuple[str, str], PaperFigure]:
    """(row, column) -> figure of the paper's tables; empty without a paper, or where its file is not at hand."""
    if study.paper is None or not study.path(study.paper.file).is_file():
        return {}
    values = read_json(study.path(study.paper.file), mend="Restore it, or move it away.")["values"]
    return {
        (line["row"], line["column"]): PaperFigure(value=line["value"], unit=line.get("unit", ""))
        for line in values
        if line["value"] is not None
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkName:
    """One training or generation, as a person calls it."""

    identity: str
    what: str
    which: str
    arms: Sequence[str]

    @property
    def name(self) -> str:
        """In one line."""
        return f"{self.what} {self.which} ({', '.join(self.arms)})".replace("  ", " ")


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkState(WorkName):
    """How far one training or generation is."""

    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyState:
    """What `state.json` holds for `oneday watch`: what is done, runs, waits or failed."""

    study: str
    running: Sequence[WorkName]
    work: Sequence[WorkState]
    dropped: Sequence[str]


def state_of(survey: Survey, running: Sequence[Planned]) -> StudyState:
    """Collects the state of a study."""
    works: list[Planned] = [*survey.graph.trainings.values(), *survey.graph.generations.values()]
    return StudyState(
        study=survey.context.study.study,
        running=[_name(work) for work in running],
        work=[_with_state(_name(work), _work_state(survey, work)) for work in works],
        dropped=survey.fitted.dropped,
    )


def _name(work: Planned) -> WorkName:
    if isinstance(work, Training):
        return WorkName(identity=work.identity, what=work.stage.name, which=work.swept, arms=work.arms)
    return WorkName(identity=work.identity, what=work.suite, which=", ".join(work.languages), arms=work.arms)


def _with_state(work: WorkName, state: str) -> WorkState:
    return WorkState(identity=work.identity, what=work.what, which=work.which, arms=work.arms, state=state)


def _work_state(survey: Survey, work: Planned) -> str:
    if work.identity in survey.failed:
        return "failed"
    if work.identity in survey.settled:
        return "done" if work.identity in survey.trained or _is_scored(survey.context.folder, work) else "not run"
    if work.identity not in survey.fitted.work:
        return "dropped"
    return "paused" if work.identity in survey.paused else "waiting"


def _is_scored(folder: StudyFolder, work: Planned) -> bool:
    return isinstance(work, Generation) and folder.scores(work) is not None
