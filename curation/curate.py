"""The pipeline of curation, read from top to bottom: five stages, each resumable, each accounting for every row.

    curate(run=Path("runs/demo"), tasks=Path("tasks"), predictor=..., parameters=CurationParameters())

Where it sits: composes the modules of this package; the command line calls it.
"""

import importlib.metadata
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any

from curation.bucket import bucket_tasks, read_buckets
from curation.errors import MixError, SelectionError, SourceError, TaskError
from curation.licence import Licence, classify
from curation.mix import deduplicate, lima_is_allowed, shortfalls, split, validation_size
from curation.predict import Predictor, Request, build_requests, predict_all, read_predictions
from curation.preset import CurationParameters
from curation.sample import Candidate, candidates_of, draw
from curation.score import read_scores, rouge_l_scorer, score
from curation.select import Kind, SelectedTask, judge, read_selected, select_task
from curation.source import NI_SOURCES, MixRow, find_source, mix_targets, read_lima
from curation.stage import (
    DROPPED,
    Dropped,
    Stage,
    Summary,
    Tally,
    file_sha256,
    locked,
    read_json,
    read_jsonl,
    sha256,
    write_json,
)
from curation.task import Instance, Task, canonical_name, read_task, task_paths

TASKS, PREDICTIONS, SCORES, SAMPLES, MIX = "01_tasks", "02_predictions", "03_scores", "04_samples", "05_mix"

OnProgress = Callable[[str, int, int], None]
"""Called with (stage, done, total)."""


def curate(
    *,
    run: Path,
    tasks: Path,
    predictor: Predictor,
    parameters: CurationParameters,
    sources: Mapping[str, Path] | None = None,
    redo: bool = False,
    on_progress: OnProgress = lambda stage, done, total: None,
) -> Path:
    """Runs what is not done yet; returns the folder of the mix.

    Raises:
        OnedayError: an input cannot be used, or the run folder was made with others. What is done stays.
    """
    targets = mix_targets(parameters.mix, parameters.scale, parameters.without)
    known = sources or {}
    unknown = sorted(set(known) - set(targets))
    if unknown:
        raise SourceError(f"--source {unknown[0]}: not a source of this mix. Use {', '.join(targets)}.")
    if targets.get("lima") and lima_is_allowed(parameters.rules):
        find_source("lima", tasks, known)  # before any inference is spent
    with locked(run):
        return _stages(run, tasks, predictor, parameters, targets, known, redo=redo, on_progress=on_progress)


def _stages(
    run: Path,
    tasks: Path,
    predictor: Predictor,
    parameters: CurationParameters,
    targets: Mapping[str, int],
    sources: Mapping[str, Path],
    *,
    redo: bool,
    on_progress: OnProgress,
) -> Path:
    chosen = select_stage(run, tasks, parameters, redo=redo, on_progress=on_progress)
    asked = predict_stage(run, tasks, chosen, predictor, parameters, redo=redo, on_progress=on_progress)
    scored = score_stage(run, asked, parameters, redo=redo)
    sampled = sample_stage(run, tasks, chosen, scored, targets, parameters, redo=redo, on_progress=on_progress)
    return mix_stage(run, tasks, sampled, targets, parameters, predictor.revision, sources, redo=redo)


def select_stage(
    run: Path, tasks: Path, parameters: CurationParameters, *, redo: bool = False, on_progress: OnProgress
) -> Stage:
    """01_tasks: reads every file, keeps and types tasks, draws the instances that are asked."""
    paths = task_paths(tasks)
    inputs = {
        "tasks": sha256("\n".join(f"{p.name} {file_sha256(p)}" for p in paths).encode()),
        "rules": parameters.fingerprint()["rules"] if parameters.task_list is None else None,
        "task_list": parameters.fingerprint()["task_list"],
        "kinds": parameters.fingerprint()["kinds"],
        "instances_per_task": parameters.instances_per_task,
        "seed": parameters.seed,
    }
    stage = Stage(run / TASKS, inputs=inputs, redo=redo)
    if stage.is_done:
        return stage
    selected: list[SelectedTask] = []
    dropped: list[Dropped] = []
    for number, path in enumerate(paths, start=1):
        task_file = read_task(path)
        reason, evidence = _verdict(task_file.task, parameters)
        if reason != "kept":
            dropped.append(Dropped(unit="task", id=path.stem, reason=reason, detail=evidence))
        else:
            record = select_task(
                path.name,
                task_file.task,
                evidence=evidence,
                kinds=parameters.kinds,
                instances_per_task=parameters.instances_per_task,
                seed=parameters.seed,
            )
            selected.append(record)
            dropped += task_file.dropped
            asked = set(record.asked)
            dropped += [
                Dropped(unit="instance", id=i.id, reason="not_asked", detail=path.stem)
                for i in task_file.task.instances
                if i.id not in asked
            ]
        on_progress(TASKS, number, len(paths))
    if not selected:
        reasons = ", ".join(f"{n} by {r}" for r, n in Counter(d.reason for d in dropped).most_common())
        raise SelectionError(f"{tasks}: no task is left ({reasons}). Check --task-list and the selection rules.")
    stage.write_rows("tasks.jsonl", selected)
    kinds = Counter(s.kind.value for s in selected)
    names = {canonical_name(p.stem) for p in paths}
    missing = sorted(set(parameters.task_list or ()) - names)
    tallies = {
        "task": Tally.of(kept=len(selected), dropped=dropped, unit="task"),
        "instance": Tally.of(kept=sum(len(s.asked) for s in selected), dropped=dropped, unit="instance"),
    }
    details = {
        "kinds": dict(sorted(kinds.items())),
        "listed_without_file": missing,
        "overrides_without_file": sorted(set(parameters.kinds) - names),
        "non_commercial": [s.name for s in selected if classify(s.licences) is Licence.NON_COMMERCIAL],
    }
    stage.finish(Summary(tallies=tallies, details=details), dropped=dropped)
    return stage


def _verdict(task: Task, parameters: CurationParameters) -> tuple[str, str]:
    if parameters.task_list is None:
        verdict = judge(task, parameters.rules)
        return verdict.reason, verdict.evidence
    listed = canonical_name(task.name) in parameters.task_list
    return ("kept", "on the task list") if listed else ("not_listed", "")


def predict_stage(
    run: Path,
    tasks: Path,
    chosen: Stage,
    predictor: Predictor,
    parameters: CurationParameters,
    *,
    redo: bool = False,
    on_progress: OnProgress,
) -> Stage:
    """02_predictions: the base model answers every chosen instance, few-shot."""
    inputs = {
        "tasks": chosen.output_digest(),
        "prompts": parameters.fingerprint()["prompts"],
        "model": predictor.revision,
    }
    stage = Stage(run / PREDICTIONS, inputs=inputs, redo=redo)
    if stage.is_done:
        return stage
    total = sum(len(s.asked) for s in read_selected(chosen.path("tasks.jsonl")))
    done, num_shots = 0, Counter[str]()
    dropped: list[Dropped] = []

    def requests() -> Iterator[Request]:
        for selected, task, instances in _reopen(chosen, tasks):
            questions = (instances[i] for i in selected.asked)
            for request in build_requests(task, selected.kind, questions, parameters.prompts, predictor.fits, dropped):
                num_shots[str(request.num_shots)] += 1
                yield request

    def on_shard(num: int) -> None:
        nonlocal done
        done += num
        on_progress(PREDICTIONS, done, total)

    asked = predict_all(requests(), predictor, stage.path("predictions.jsonl"), on_shard=on_shard)
    dropped += asked.dropped
    kept = asked.num_answered
    assert kept + len(dropped) == total, f"{total} instances were to be asked, {kept} answered, {len(dropped)} dropped"
    if kept == 0:
        stage.write_rows(DROPPED, dropped)
        raise MixError(
            f"none of {total} instances has a prediction (reasons in {stage.directory}). Check the predictor."
        )
    tally = Tally.of(kept=kept, dropped=dropped, unit="instance")
    details = {"requests_by_num_shots": dict(sorted(num_shots.items()))}
    stage.finish(Summary(tallies={"instance": tally}, details=details), dropped=dropped)
    return stage


def score_stage(run: Path, asked: Stage, parameters: CurationParameters, *, redo: bool = False) -> Stage:
    """03_scores: a score per prediction, a bucket per task."""
    inputs = {"predictions": asked.output_digest(), "scores": parameters.fingerprint()["scores"]}
    stage = Stage(run / SCORES, inputs=inputs, redo=redo)
    if stage.is_done:
        return stage
    rouge_l = rouge_l_scorer(parameters.scores)
    predictions = read_predictions(asked.path("predictions.jsonl"))
    scores = [score(p, parameters.scores, rouge_l) for p in predictions]
    buckets = bucket_tasks(scores)
    stage.write_rows("scores.jsonl", scores)
    stage.write_rows("buckets.jsonl", buckets)
    exact = Counter(str(b.bucket) for b in buckets if b.kind is Kind.EXACT_MATCH)
    generation = [sum(column) for column in zip(*(b.histogram for b in buckets if b.bucket is None), strict=True)]
    details = {
        "exact_match_tasks_by_bucket": dict(sorted(exact.items())),
        "generation_instances_by_bucket": generation,
    }
    stage.finish(Summary(tallies={"prediction": Tally(read=len(scores), kept=len(scores))}, details=details))
    return stage


def sample_stage(
    run: Path,
    tasks: Path,
    chosen: Stage,
    scored: Stage,
    targets: Mapping[str, int],
    parameters: CurationParameters,
    *,
    redo: bool = False,
    on_progress: OnProgress,
) -> Stage:
    """04_samples: the rows of NI that are trained on."""
    wanted = {kind: targets[source] for kind, source in NI_SOURCES.items() if source in targets}
    inputs = {
        "tasks": chosen.output_digest(),
        "scores": scored.output_digest(),
        "samples": parameters.fingerprint()["samples"],
        "targets": {k.value: v for k, v in wanted.items()},
    }
    stage = Stage(run / SAMPLES, inputs=inputs, redo=redo)
    if stage.is_done:
        return stage
    buckets = {bucket.task: bucket for bucket in read_buckets(scored.path("buckets.jsonl"))}
    scores = {
        task: list(rows) for task, rows in groupby(read_scores(scored.path("scores.jsonl")), key=lambda s: s.task)
    }
    candidates: list[Candidate] = []
    dropped: list[Dropped] = []
    for number, (selected, task, instances) in enumerate(_reopen(chosen, tasks, only=scores), start=1):
        bucket = buckets[selected.name]
        fit, unfit = candidates_of(task.definition, instances, scores[selected.name], bucket, parameters.samples)
        candidates += fit
        dropped += unfit
        on_progress(SAMPLES, number, len(scores))
    drawn, over = draw(candidates, wanted, parameters.samples)
    dropped += over
    dropped += [
        Dropped(unit="row", id=c.id, reason="source_left_out", detail=c.task)
        for c in candidates
        if c.kind not in wanted
    ]
    stage.write_rows("rows.jsonl", _rows(drawn, chosen, tasks))
    drawn_by = Counter(c.kind.value for c in drawn)
    details = {"targets": {k.value: v for k, v in wanted.items()}, "drawn": dict(sorted(drawn_by.items()))}
    tally = Tally.of(kept=len(drawn), dropped=dropped, unit="row")
    stage.finish(Summary(tallies={"row": tally}, details=details), dropped=dropped)
    return stage


def mix_stage(
    run: Path,
    tasks: Path,
    sampled: Stage,
    targets: Mapping[str, int],
    parameters: CurationParameters,
    model_revision: str,
    sources: Mapping[str, Path],
    *,
    redo: bool = False,
) -> Path:
    """05_mix: all sources together, deduplicated, split; with the manifest of how it came to be."""
    lima_wanted = targets.get("lima", 0) if lima_is_allowed(parameters.rules) else 0
    lima = find_source("lima", tasks, sources) if lima_wanted else None
    inputs = {
        "samples": sampled.output_digest(),
        "lima": file_sha256(lima) if lima else None,
        "targets": dict(targets),
        "scale": parameters.scale,
        "seed": parameters.seed,
    }
    stage = Stage(run / MIX, inputs=inputs, redo=redo)
    if stage.is_done:
        return stage.directory
    rows = [MixRow(**row) for row in read_jsonl(sampled.path("rows.jsonl"))]
    dropped: list[Dropped] = []
    if lima:
        order = list(read_lima(lima))
        random.Random(f"lima-{parameters.seed}").shuffle(order)
        rows += order[:lima_wanted]
        dropped += [Dropped(unit="row", id=r.id, reason="over_quota", detail="lima") for r in order[lima_wanted:]]
    kept, duplicates = deduplicate(rows)
    dropped += duplicates
    train, validation = split(kept, validation_size=validation_size(len(kept), parameters.scale), seed=parameters.seed)
    stage.write_rows("train.jsonl", train)
    stage.write_rows("validation.jsonl", validation)
    details = {
        "train_rows": len(train),
        "validation_rows": len(validation),
        "rows_by_source": dict(sorted(Counter(r.source for r in kept).items())),
        "shortfalls": [asdict(s) for s in shortfalls(targets, kept, parameters.rules)],
    }
    write_json(stage.path("manifest.json"), _manifest(stage, run, parameters, model_revision, details))
    tally = Tally.of(kept=len(kept), dropped=dropped, unit="row")
    stage.finish(Summary(tallies={"row": tally}, details=details), dropped=dropped)
    return stage.directory


def _manifest(
    stage: Stage, run: Path, parameters: CurationParameters, model_revision: str, details: Mapping[str, Any]
) -> dict[str, Any]:
    """What a reader needs to make the same mix again."""
    packages = ("datasets", "orjson", "rapidfuzz", "rouge-score", "scikit-learn", "nltk")
    return {
        "oneday": importlib.metadata.version("oneday-llm"),
        "parameters": parameters.fingerprint(),
        "model": model_revision,
        "inputs": {name: read_json(run / name / "inputs.json") for name in (TASKS, PREDICTIONS, SCORES, SAMPLES, MIX)},
        "outputs": {name: file_sha256(stage.path(name)) for name in ("train.jsonl", "validation.jsonl")},
        "counts": dict(details),
        "packages": {name: importlib.metadata.version(name) for name in packages},
    }


def _reopen(
    chosen: Stage, tasks: Path, only: Mapping[str, Any] | None = None
) -> Iterator[tuple[SelectedTask, Task, dict[str, Instance]]]:
    """Each selected task again, one in memory at a time.

    Raises:
        TaskError: a file changed since it was selected.
    """
    for selected in read_selected(chosen.path("tasks.jsonl")):
        if only is not None and selected.name not in only:
            continue
        task = read_task(tasks / selected.file).task
        if task.sha256 != selected.sha256:
            raise TaskError(f"{tasks / selected.file}: changed since it was selected. Restore it, or pass --redo.")
        yield selected, task, {i.id: i for i in task.instances}


def _rows(drawn: Iterable[Candidate], chosen: Stage, tasks: Path) -> Iterator[MixRow]:
    """The drawn candidates as rows; the answer is the first reference, stripped."""
    by_task = {
        task: list(group) for task, group in groupby(sorted(drawn, key=lambda c: (c.task, c.id)), lambda c: c.task)
    }
    for selected, task, instances in _reopen(chosen, tasks, only=by_task):
        for candidate in by_task[selected.name]:
            instance = instances[candidate.id]
            yield MixRow(
                id=candidate.id,
                source=NI_SOURCES[candidate.kind],
                task=selected.name,
                licence=", ".join(selected.licences) or "none given",
                instruction=task.definition,
                input=instance.input,
                output=instance.outputs[0].strip(),
            )
