"""What a study found, as plain values: arms with metrics and the paper's figures, selections, what was cut or dropped.

    results = results_of(survey)
    results["arms"]["dpo-both"]["metrics"]["ifeval.instruction_strict"]["en"]

Nothing in it depends on how long something took, so a study that was killed on the way ends with the same results.

Where it sits: survey -> **results** -> results.json, report.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from core.files import read_json
from studies.deviations import deviations
from studies.graph import Training
from studies.running.folder import StudyFolder
from studies.running.survey import Survey, Work
from studies.study import Study


def results_of(survey: Survey) -> dict[str, Any]:
    """Everything that the report shows, but for the time."""
    context = survey.context
    study = context.study
    figures = paper_figures(study)
    return {
        "study": study.study,
        "arms": {name: _arm(survey, name, figures) for name in study.arms},
        "selections": {arm: asdict(choice) for arm, choice in survey.choices.items()},
        "same_prompts": [name for name, suite in study.suites.items() if {"select", "report"} <= set(suite.use)],
        "not_run": dict(context.not_run),
        "trainings": {identity: asdict(record) for identity, record in sorted(survey.trained.items())},
        "shared": [
            {"identity": training.identity, "arms": list(training.arms)}
            for training in survey.graph.trainings.values()
            if len(training.arms) > 1
        ],
        "dropped": list(survey.fitted.dropped),
        "failed": dict(survey.failed),
        "refused": dict(survey.refused),
        "deviations": [line.model_dump(mode="json") for line in deviations(study, context.arms)],
    }


def _arm(survey: Survey, name: str, figures: Mapping[tuple[str, str], Any]) -> dict[str, Any]:
    tip = survey.graph.tips[name]
    record = survey.trained.get(tip or "")
    study = survey.context.study
    return {
        "state": _state(survey, name),
        "checkpoint": record.identity if record else None,
        "stopped": record.stopped if record else "",
        "eval_loss": record.eval_loss if record else None,
        "metrics": _metrics(survey, tip, name),
        "paper": _paper(study, name, figures),
        "differs": [asdict(change) for change in survey.context.arms[name].difference],
    }


def _paper(study: Study, arm: str, figures: Mapping[tuple[str, str], Any]) -> dict[str, Any]:
    """Metric -> the paper's value of the arm; empty without the paper's file."""
    if study.paper is None or not figures:
        return {}
    row = study.paper.rows.get(arm, "")
    return {metric: figures.get((row, column)) for metric, column in study.paper.columns.items()}


def _state(survey: Survey, name: str) -> str:
    """`done`, `dropped`, `failed: why`, `incomplete: why` (trained, but not scored) or `not done`."""
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


def _metrics(survey: Survey, tip: str | None, arm: str) -> dict[str, dict[str, float | None]]:
    found: dict[str, dict[str, float | None]] = {}
    for generation in survey.graph.generations.values():
        if generation.training == tip and arm in generation.arms:
            for row in survey.context.folder.scores(generation.identity) or []:
                found.setdefault(row.metric, {})[row.language] = row.value
    return found


def paper_figures(study: Study) -> dict[tuple[str, str], Any]:
    """(row, column) -> value of the paper's tables; empty without a paper, or where its file is not at hand."""
    if study.paper is None or not study.path(study.paper.file).is_file():
        return {}
    values = read_json(study.path(study.paper.file), mend="Restore it, or move it away.")["values"]
    return {(line["row"], line["column"]): line["value"] for line in values}


def state_of(survey: Survey, running: Work | None) -> dict[str, Any]:
    """What is done, runs, waits or failed, for `oneday watch`."""
    works: list[Work] = [*survey.graph.trainings.values(), *survey.graph.generations.values()]
    return {
        "study": survey.context.study.study,
        "running": _work(running) if running else None,
        "work": [{**_work(work), "state": _work_state(survey, work)} for work in works],
        "dropped": list(survey.fitted.dropped),
    }


def _work(work: Work) -> dict[str, Any]:
    if isinstance(work, Training):
        return {"identity": work.identity, "what": work.stage.name, "which": work.swept, "arms": list(work.arms)}
    return {"identity": work.identity, "what": work.suite, "which": ", ".join(work.languages), "arms": list(work.arms)}


def _work_state(survey: Survey, work: Work) -> str:
    if work.identity in survey.failed:
        return "failed"
    if work.identity in survey.settled:
        return "done" if work.identity in survey.trained or _is_scored(survey.context.folder, work) else "not run"
    if work.identity not in survey.fitted.work:
        return "dropped"
    return "paused" if work.identity in survey.paused else "waiting"


def _is_scored(folder: StudyFolder, work: Work) -> bool:
    return folder.scores(work.identity) is not None
