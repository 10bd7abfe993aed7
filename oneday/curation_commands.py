"""`oneday curate` and `oneday curate score`: from options to parameters, from results to tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from curation.bucket import bucket_tasks
from curation.curate import MIX, PREDICTIONS, SAMPLES, SCORES, TASKS, curate
from curation.errors import OnedayError, PredictionError, SourceError, TaskError
from curation.predict import Predictor, PromptParameters, read_predictions
from curation.preset import CurationParameters
from curation.sample import SampleParameters
from curation.score import EmptyRule, Normaliser, Rouge, ScoreParameters, rouge_l_scorer, score
from curation.select import SelectionRules, read_kind_overrides, read_task_list
from curation.source import mix_targets
from curation.stage import read_json
from curation.task import task_paths
from harness.manifest import record
from oneday.console import Console

STAGES = (TASKS, PREDICTIONS, SCORES, SAMPLES, MIX)

Choice = TypeVar("Choice", bound=StrEnum)


@dataclass(frozen=True, slots=True, kw_only=True)
class CurateRequest:
    """The options of `oneday curate`, as given."""

    tasks: Path | None
    base: Path | None
    run: Path
    mix: str
    scale: float
    without: str
    sources: Sequence[str]
    instances_per_task: int | None
    task_list: Path | None
    kinds: Path | None
    allow_non_commercial: bool
    predictor: str
    predictions: Path | None
    normaliser: str
    rouge: str
    empty: str
    retain: float
    shots: int | None
    batch_size: int
    seed: int
    redo: bool


def run_curate(request: CurateRequest, console: Console) -> None:
    """Checks everything that is cheap, then loads the model, then works."""
    if request.tasks is None:
        raise TaskError("--tasks is missing. Give the folder of NI task files.")
    parameters = curation_parameters(request)
    sources = given_sources(request.sources)
    task_paths(request.tasks)
    mix_targets(parameters.mix, parameters.scale, parameters.without)
    predictor = make_predictor(request)
    mix = curate(
        run=request.run,
        tasks=request.tasks,
        predictor=predictor,
        parameters=parameters,
        sources=sources,
        redo=request.redo,
        on_progress=console.progress,
    )
    base = str(request.base.resolve()) if request.base else None
    record(request.run, "curate", {"base_path": base, **read_json(mix / "manifest.json")})
    show_curation(request.run, console)
    summary = read_json(mix / "summary.json")["details"]
    console.result({"run": str(request.run), "mix": str(mix), **summary})


def curation_parameters(request: CurateRequest) -> CurationParameters:
    """Typed parameters.

    Raises:
        OnedayError: a value is none of its choices.
    """
    return CurationParameters(
        mix=request.mix,
        scale=request.scale,
        without=frozenset(name.strip() for name in request.without.split(",") if name.strip()),
        instances_per_task=request.instances_per_task,
        task_list=tuple(read_task_list(request.task_list)) if request.task_list else None,
        kinds=read_kind_overrides(request.kinds) if request.kinds else {},
        rules=SelectionRules(allow_non_commercial=request.allow_non_commercial),
        prompts=PromptParameters(seed=request.seed, max_shots=request.shots),
        scores=score_parameters(request.rouge, request.empty, request.normaliser),
        samples=SampleParameters(seed=request.seed, retain_share=request.retain),
        seed=request.seed,
    )


def score_parameters(rouge: str, empty: str, normaliser: str) -> ScoreParameters:
    """The scoring choices from their names."""
    return ScoreParameters(
        rouge=choice(Rouge, rouge, "--rouge"),
        empty=choice(EmptyRule, empty, "--empty"),
        normaliser=choice(Normaliser, normaliser, "--normaliser"),
    )


def choice(kind: type[Choice], value: str, option: str) -> Choice:
    """A member of a closed set.

    Raises:
        OnedayError: another value.
    """
    if value not in list(kind):
        raise OnedayError(f"{option} {value}: unknown. Use {' or '.join(kind)}.")
    return kind(value)


def given_sources(texts: Sequence[str]) -> Mapping[str, Path]:
    """`--source NAME=FILE` as a mapping."""
    found = {}
    for text in texts:
        name, separator, path = text.partition("=")
        if not separator or not path:
            raise SourceError(f"--source {text}: not NAME=FILE. For example --source lima=lima/train.jsonl.")
        found[name] = Path(path)
    return found


def make_predictor(request: CurateRequest) -> Predictor:
    """The engine that answers.

    Raises:
        PredictionError: unknown, or it lacks the model or file that it needs.
    """
    if request.predictor == "replay":
        if request.predictions is None:
            raise PredictionError("--predictor replay needs --predictions FILE, the stored predictions.")
        from curation.predictors.replay import ReplayPredictor

        return ReplayPredictor(request.predictions)
    if request.predictor != "transformers":
        raise PredictionError(f"--predictor {request.predictor}: unknown. Use transformers or replay.")
    if request.base is None:
        raise PredictionError("--base is missing. Give the folder of the base model that answers the prompts.")
    from curation.predictors.transformers import TransformersPredictor

    return TransformersPredictor(request.base, batch_size=request.batch_size)


def show_curation(run: Path, console: Console) -> None:
    """The closing tables of a curated run."""
    console.stages(run, STAGES)
    tasks = read_json(run / TASKS / "summary.json")["details"]
    scores = read_json(run / SCORES / "summary.json")["details"]
    mix = read_json(run / MIX / "summary.json")["details"]
    kinds = ", ".join(f"{n} {kind}" for kind, n in tasks["kinds"].items())
    console.say(f"tasks: {kinds}; listed without a file: {len(tasks['listed_without_file'])}")
    for name in tasks["overrides_without_file"]:
        console.say(f"note: --kinds names {name}, which is no task here")
    if tasks["non_commercial"]:
        console.say(f"note: {len(tasks['non_commercial'])} tasks taken are non-commercial by their licence")
    console.say(f"exact-match tasks by accuracy bucket (0 = below 10 %): {scores['exact_match_tasks_by_bucket']}")
    console.say(
        f"generation instances by ROUGE-L bucket ([0,.2) [.2,.3) ... >=.8): {scores['generation_instances_by_bucket']}"
    )
    for short in mix["shortfalls"]:
        console.say(f"note: {short['source']} gives {short['rows']} of {short['target']} rows: {short['reason']}")
    console.say(f"mix: {mix['train_rows']} rows to train on, {mix['validation_rows']} to validate, in {run / MIX}")


def run_score(path: Path, *, rouge: str, empty: str, normaliser: str, console: Console) -> None:
    """Scores a file of predictions and shows its buckets."""
    parameters = score_parameters(rouge, empty, normaliser)
    rouge_l = rouge_l_scorer(parameters)
    buckets = bucket_tasks(score(p, parameters, rouge_l) for p in read_predictions(path))
    if not buckets:
        raise PredictionError(f"{path}: no prediction in it. Each line holds task, id, references, prediction.")
    columns = ("task", "n", "mean", "[0,.2)", "[.2,.3)", "[.3,.4)", "[.4,.5)", "[.5,.6)", "[.6,.7)", "[.7,.8)", ">=.8")
    rows = [(b.task, str(b.num_scores), f"{b.mean_score:.3f}", *map(str, b.histogram)) for b in buckets]
    console.table(f"{parameters.rouge}, empty prediction: {parameters.empty}", columns, rows)
    totals: dict[str, list[int]] = {}
    for b in buckets:  # a task may occur with both kinds
        before = totals.get(b.task, [0] * len(b.histogram))
        totals[b.task] = [x + y for x, y in zip(before, b.histogram, strict=True)]
    console.result({"buckets": totals})
