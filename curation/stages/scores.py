"""03_scores: a score per prediction, a bucket per task."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import orjson

from core.files import JSON_OPTIONS, atomic_writer, read_jsonl
from core.generation.prediction import parse_prediction
from core.generation.request import Kind
from core.run_folder import PREDICTIONS, SCORES
from core.score import RougeL, Score, ScoreParameters, rouge_l_scorer, score
from core.stage import Stage, Summary, Tally
from core.workers import ordered_map
from curation.ni.bucket import bucket_tasks
from curation.stages.context import Curation
from curation.stages.predictions import POPULATIONS

_CHUNK = 2_000


def score_stage(curation: Curation, asked: Stage) -> Stage:
    """Scores do not depend on the number of workers: predictions go out in chunks and come back in order."""
    print_of = curation.parameters.fingerprint()
    inputs = {"predictions": asked.output_digest(), "scores": print_of["scores"], "buckets": print_of["buckets"]}
    stage = curation.stage(SCORES, inputs)
    if stage.is_done:
        return stage
    total = asked.summary().tallies["instance"].kept
    chunks = _chunks(asked.path("predictions.jsonl"))
    workers = curation.workers if total > 4 * _CHUNK else 1
    parameters = curation.parameters.scores
    done = 0
    with atomic_writer(stage.path("scores.jsonl")) as out:

        def scores() -> Iterator[Score]:
            nonlocal done
            for chunk in ordered_map(_score_chunk, chunks, build=_Scorer, spec=parameters, workers=workers):
                for one in chunk:
                    out.write(orjson.dumps(one, option=JSON_OPTIONS))
                    yield one
                done += len(chunk)
                curation.on_progress(SCORES, done, total)

        buckets = bucket_tasks(scores(), curation.parameters.buckets, _populations(asked))
    stage.write_rows("buckets.jsonl", buckets)
    exact = Counter(str(b.bucket) for b in buckets if b.kind is Kind.EXACT_MATCH)
    generation = [sum(column) for column in zip(*(b.histogram for b in buckets if b.bucket is None), strict=True)]
    details = {
        "exact_match_tasks_by_bucket": dict(sorted(exact.items(), key=lambda x: int(x[0]))),
        "generation_instances_by_bucket": generation,
    }
    stage.finish(Summary(tallies={"prediction": Tally(read=total, kept=done)}, details=details))
    return stage


class _Scorer:
    """What a worker holds: the parameters, and ROUGE-L with its caches."""

    def __init__(self, parameters: ScoreParameters) -> None:
        self.parameters = parameters
        self.rouge_l: RougeL = rouge_l_scorer(parameters)


def _score_chunk(scorer: _Scorer, lines: list[bytes]) -> list[Score]:
    predictions = (parse_prediction(orjson.loads(line), PREDICTIONS) for line in lines)
    return [score(p, scorer.parameters, scorer.rouge_l) for p in predictions]


def _chunks(path: Path) -> Iterator[list[bytes]]:
    chunk: list[bytes] = []
    with path.open("rb") as f:
        for line in f:
            chunk.append(line)
            if len(chunk) == _CHUNK:
                yield chunk
                chunk = []
    if chunk:
        yield chunk


def _populations(asked: Stage) -> dict[str, int]:
    path = asked.path(POPULATIONS)
    if not path.is_file():
        return {}
    return {row["task"]: row["instances"] for row in read_jsonl(path) if row["asked"] < row["instances"]}
