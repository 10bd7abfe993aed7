"""03_scores: a score per prediction, a bucket per task."""

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import orjson

from core.files import JSON_OPTIONS, atomic_writer, read_jsonl
from core.generation.prediction import parse_prediction
from core.generation.request import Kind
from core.generation.signals import Signals, signals_of
from core.run_folder import PREDICTIONS, SCORES
from core.score import RougeL, ScoreParameters, rouge_l_scorer, score
from core.stage import Stage, Summary, Tally
from core.workers import ordered_map
from curation.ni.bucket import TaskBucket, bucket_of
from curation.stages.context import Curation
from curation.stages.predictions import POPULATIONS, read_populations

BLOCKS = "blocks.jsonl"
"""A `ScoreBlock` for each task."""

_CHUNK = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreBlock:
    """Where one task's scores stand in `scores.jsonl`."""

    task: str
    kind: Kind
    offset: int
    num_scores: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoresDetails:
    """What the stage's `summary.json` says besides its tallies."""

    exact_match_tasks_by_bucket: Mapping[str, int]
    generation_instances_by_bucket: tuple[int, ...]


def score_stage(curation: Curation, predicted: Stage) -> Stage:
    """Runs the stage. Scores do not depend on the number of workers, because chunks of predictions stay in order."""
    fingerprint = curation.parameters.fingerprint()
    inputs = {
        "predictions": predicted.output_digest(),
        "scores": fingerprint["scores"],
        "buckets": fingerprint["buckets"],
    }
    stage = curation.stage(SCORES, inputs)
    if stage.is_done:
        return stage
    total = predicted.summary().tallies["instance"].kept
    partly_asked = (p for p in read_populations(predicted.path(POPULATIONS)) if p.asked < p.instances)
    populations = {p.task: p.instances for p in partly_asked}
    buckets: list[TaskBucket] = []
    blocks: list[ScoreBlock] = []
    done = 0
    with atomic_writer(stage.path("scores.jsonl")) as out:
        parts = _parts(curation, predicted, total)
        for (task, kind), group in itertools.groupby(parts, key=lambda part: (part.task, part.kind)):
            offset, values = out.tell(), list[float]()
            for part in group:
                out.write(part.lines)
                values += part.values
                curation.on_progress(SCORES, done + len(values), total)
            done += len(values)
            blocks.append(ScoreBlock(task=task, kind=kind, offset=offset, num_scores=len(values)))
            buckets.append(bucket_of(task, kind, values, curation.parameters.buckets, populations.get(task)))
    buckets.sort(key=lambda b: (b.task, b.kind))
    stage.write_rows("buckets.jsonl", buckets)
    stage.write_rows(BLOCKS, blocks)
    stage.finish(Summary(tallies={"prediction": Tally(read=total, kept=done)}, details=_details(buckets)))
    return stage


def _details(buckets: Sequence[TaskBucket]) -> ScoresDetails:
    exact = Counter(str(b.bucket) for b in buckets if b.kind is Kind.EXACT_MATCH)
    generation = (sum(column) for column in zip(*(b.histogram for b in buckets if b.bucket is None), strict=True))
    return ScoresDetails(
        exact_match_tasks_by_bucket=dict(sorted(exact.items(), key=lambda x: int(x[0]))),
        generation_instances_by_bucket=tuple(generation),
    )


class _Part(NamedTuple):
    """Consecutive scores of one task. They are sent between processes as lines, which is faster than as records."""

    task: str
    kind: Kind
    values: list[float]
    lines: bytes


def _parts(curation: Curation, predicted: Stage, total: int) -> Iterator[_Part]:
    chunks = _chunks(predicted.path("predictions.jsonl"))
    workers = curation.workers if total > 4 * _CHUNK else 1
    parameters = curation.parameters.scores
    for parts in ordered_map(_score_chunk, chunks, build=_Scorer, spec=parameters, workers=workers):
        yield from parts


class _Scorer:
    """A worker's tool: the parameters, and ROUGE-L with its caches."""

    def __init__(self, parameters: ScoreParameters) -> None:
        self.parameters = parameters
        self.rouge_l: RougeL = rouge_l_scorer(parameters)


def _score_chunk(scorer: _Scorer, lines: list[bytes]) -> list[_Part]:
    predictions = (parse_prediction(orjson.loads(line), PREDICTIONS) for line in lines)
    parts = []
    for (task, kind), group in itertools.groupby(predictions, key=lambda p: (p.task, p.kind)):
        scores = [score(prediction, scorer.parameters, scorer.rouge_l) for prediction in group]
        written = b"".join(orjson.dumps(one, option=JSON_OPTIONS) for one in scores)
        parts.append(_Part(task, kind, [one.score for one in scores], written))
    return parts


def _chunks(path: Path) -> Iterator[list[bytes]]:
    with path.open("rb") as file:
        while chunk := list(itertools.islice(file, _CHUNK)):
            yield chunk


def read_blocks(path: Path) -> Iterator[ScoreBlock]:
    """The records of `blocks.jsonl`, in the order of the scores."""
    return (ScoreBlock(**{**row, "kind": Kind(row["kind"])}) for row in read_jsonl(path))


class ScoredRow(NamedTuple):
    """One line of `scores.jsonl`, without what all lines of its task share."""

    id: str
    score: float
    signals: Signals | None


def read_block(path: Path, block: ScoreBlock) -> Iterator[ScoredRow]:
    """One task's scores, in their order.

    Args:
        path: `scores.jsonl`.
    """
    with path.open("rb") as file:
        file.seek(block.offset)
        for _ in range(block.num_scores):
            row = orjson.loads(file.readline())
            yield ScoredRow(row["id"], row["score"], signals_of(row["signals"]) if "signals" in row else None)
