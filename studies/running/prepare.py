"""Everything that comes before a study's clock: data, bases, refusals, rehearsals.

    context = prepare(study, folder=Path("runs/small"), runner=runner, evaluator=evaluator)

Where it sits: study -> **prepare** -> the loop.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from core.files import file_sha256
from core.model.folder import model_fingerprint
from core.stage import locked
from harness.base_model import find_model
from harness.budget.duration import seconds
from studies.arm import ResolvedArm, resolve_arms
from studies.budget import fit
from studies.data import Curated
from studies.errors import StudyError
from studies.estimate import Measured, Speeds, estimate, length_of, speed_key
from studies.graph import Graph, build_graph
from studies.identity import Known, data_key, digest, trainer_versions
from studies.running.building import Mix, build_data
from studies.running.choosing import write_questions
from studies.running.folder import StudyFolder
from studies.running.runner import Evaluator, Rehearser
from studies.running.spending import ledgers
from studies.running.survey import Context
from studies.selection import EVAL_LOSS
from studies.study import QUESTIONS, Study


def prepare(
    study: Study,
    *,
    folder: Path,
    runner: Rehearser,
    evaluator: Evaluator,
    on_event: Callable[[str], None] = lambda line: None,
) -> Context:
    """Builds data, finds bases, refuses what cannot be trained, rehearses one training of each kind.

    Raises:
        OnedayError: names what is missing, which training cannot be done here, or the least budget.
    """
    arms = resolve_arms(study)
    graph = build_graph(study, arms, Known(), {})
    _check_trainings(graph, runner, is_raced=study.sweep is not None and study.sweep.halving)
    _check_held_out(study, arms)
    _write_questions(study, folder)
    not_run = {
        name: why
        for name, suite in study.suites.items()
        if (why := evaluator.not_run(suite, study.items(suite, folder)))
    }
    _check_selection(study, not_run)
    bases = {arm.base: find_model(arm.base) for arm in arms.values()}
    home = StudyFolder(path=folder)
    with locked(folder):
        home.claim(study.study, study.model_dump(mode="json"))
        mixes = build_data(study, arms, folder=folder, on_progress=on_event)
        rehearsed = _rehearsed(study, graph, runner, bases, mixes, on_event)
    known = Known(
        bases={name: model_fingerprint(path) for name, path in bases.items()},
        data={key: mix.sha256 for key, mix in mixes.items()},
        libraries=trainer_versions(),
        items=_items_sha256(study, folder),
    )
    context = Context(
        study=study,
        arms=arms,
        known=known,
        folder=home,
        mixes=mixes,
        bases=bases,
        not_run=not_run,
        rehearsed=rehearsed,
    )
    if not ledgers(folder):
        _check_budget(context)
    return context


def _check_held_out(study: Study, arms: Mapping[str, ResolvedArm]) -> None:
    """Refuses an arm that would train on tasks which are asked about.

    Raises:
        StudyError: it holds out others than the stage whose tasks are asked about.
    """
    for name, suite in study.suites.items():
        asked = study.stage(suite.questions_of).data if suite.questions_of else None
        if not isinstance(asked, Curated):
            continue
        trained = [(arm, stage.data) for arm in arms.values() for stage in arm.stages.values()]
        for arm, data in trained:
            if isinstance(data, Curated) and data.holds_out != asked.holds_out:
                raise StudyError(
                    f"arms.{arm.name}: it holds out {data.held_out_tasks} tasks of {data.source}, and suite {name} "
                    f"asks about {asked.held_out_tasks} of {asked.source}. Give it the same source, held_out_tasks and "
                    "questions_per_task."
                )


def _write_questions(study: Study, folder: Path) -> None:
    """Writes the questions of the tasks that a stage's data hold out."""
    for name in dict.fromkeys(suite.questions_of for suite in study.suites.values()):
        data = study.stage(name).data if name else None
        if isinstance(data, Curated):
            path = folder / QUESTIONS / f"{name}.jsonl"
            write_questions(data, tasks=study.path(study.sources[data.source].path), path=path, seed=study.seed)


def _items_sha256(study: Study, folder: Path) -> dict[str, str]:
    """Suite -> hash over the names and contents of the files of its items, where they are here."""
    found = {}
    for name, suite in study.suites.items():
        path = study.items(suite, folder)
        files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
        if path.exists():
            found[name] = digest({file.relative_to(path).as_posix(): file_sha256(file) for file in files})
    return found


def _check_budget(context: Context) -> None:
    """Refuses a budget that does not hold the anchor by what was just measured; a begun study keeps its anchor.

    Raises:
        StudyError: names the least budget.
    """
    study = context.study
    graph = build_graph(study, context.arms, context.known, {})
    costs = estimate(study, graph, Speeds(rehearsed=context.rehearsed), not_run=context.not_run)
    fit(study, graph, {i: cost.seconds for i, cost in costs.items()}, budget_s=seconds(study.budget))


def _check_trainings(graph: Graph, runner: Rehearser, *, is_raced: bool) -> None:
    for training in graph.trainings.values():
        if why := runner.refusal(training):
            raise StudyError(
                f"stage {training.stage.name} of {', '.join(training.arms)} cannot be trained here: {why}. Let these "
                "arms skip the stage, or change it."
            )
        if is_raced and training.swept and (why := runner.race_refusal(training)):
            raise StudyError(f"sweep.halving: {training.swept} of {', '.join(training.arms)}: {why}. Take it away.")


def _check_selection(study: Study, not_run: Mapping[str, str]) -> None:
    """Refuses a sweep whose selection has no metric left."""
    rule = study.selection
    if rule is None:
        return
    here = {score for name, suite in study.suites.items() if name not in not_run for score in suite.scores}
    if not any(metric == EVAL_LOSS or metric.partition(".")[0] in here for metric in rule.metrics):
        why = "; ".join(f"{name}: {reason}" for name, reason in not_run.items())
        raise StudyError(
            f"selection: none of {', '.join(rule.metrics)} can be computed here ({why}). Correct that, or select by "
            "eval_loss: `set=selection.metrics=[eval_loss]`."
        )


def _rehearsed(
    study: Study,
    graph: Graph,
    runner: Rehearser,
    bases: Mapping[str, Path],
    mixes: Mapping[str, Mix],
    on_event: Callable[[str], None],
) -> dict[str, Measured]:
    """One training of each kind."""
    kinds = {speed_key(training): training for training in reversed(list(graph.trainings.values()))}
    found: dict[str, Measured] = {}
    for key, training in reversed(kinds.items()):
        on_event(f"rehearsal of {key} (not charged to the budget)")
        mix = mixes[data_key(training.stage, study, seed=training.seed, template=training.template)]
        tokens = length_of(study, training.stage)[1]
        if measured := runner.prepare(training, base=bases[training.base], mix=mix.path, tokens=tokens):
            found[key] = measured
    return found
