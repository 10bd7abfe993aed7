"""Buckets: exact-match tasks by accuracy, generated answers by ROUGE-L.

    >>> p = BucketParameters()
    >>> generation_bucket(0.25, p), generation_bucket(0.9, p), task_bucket(7, 20, p)
    (1, 7, 3)

Where it sits: score -> **bucket** -> sample.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from core.errors import MixError
from core.files import read_jsonl
from core.generation.request import Kind
from core.score import Score


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketParameters:
    """The edges of the buckets. n edges make n + 1 buckets."""

    accuracy_edges: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    """Lower edges of the exact-match buckets 1 to 9. Source: floor(accuracy * 10) in the winner's script."""
    rouge_edges: tuple[float, ...] = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
    """Lower edges of generation buckets 1 to 7; bucket 0 is [0, .2), bucket 7 >= .8. Source: the winner's script."""
    edge_below: bool = False
    """Whether a score on an edge belongs to the bucket below, [0, .2], as in the paper. The script tests `< .2`."""

    def __post_init__(self) -> None:
        for name, edges in (("accuracy_edges", self.accuracy_edges), ("rouge_edges", self.rouge_edges)):
            if list(edges) != sorted(set(edges)) or not all(0 < e <= 1 for e in edges):
                raise MixError(f"buckets.{name}: {list(edges)} does not rise inside (0, 1]. Mend the list.")

    @property
    def num_task_buckets(self) -> int:
        """Number of buckets of exact-match tasks."""
        return len(self.accuracy_edges) + 1

    @property
    def num_generation_buckets(self) -> int:
        """Number of buckets of generated answers."""
        return len(self.rouge_edges) + 1


def _bucket(value: float, edges: tuple[float, ...], edge_below: bool) -> int:
    return sum(value > edge if edge_below else value >= edge for edge in edges)


def generation_bucket(score: float, parameters: BucketParameters) -> int:
    """The bucket of one generated answer."""
    return _bucket(score, parameters.rouge_edges, parameters.edge_below)


def task_bucket(num_right: int, num_answers: int, parameters: BucketParameters) -> int:
    """The bucket of an exact-match task.

    A quotient that equals an edge is rounded to the same double as the edge, so that it is never on its wrong side.
    """
    assert 0 <= num_right <= num_answers
    assert num_answers > 0
    return _bucket(num_right / num_answers, parameters.accuracy_edges, parameters.edge_below)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskBucket:
    """One task's result. One line of `buckets.jsonl`."""

    task: str
    kind: Kind
    num_scores: int
    mean_score: float
    """Accuracy, or mean ROUGE-L."""
    bucket: int | None
    """Exact match: the task's bucket. Generation: None, because each instance has its own."""
    histogram: tuple[int, ...]
    """Number of instances by the bucket of their score."""
    score_sd: float = 0.0
    """Standard deviation of the scores."""


def bucket_tasks(
    scores: Iterable[Score], parameters: BucketParameters, populations: Mapping[str, int] | None = None
) -> list[TaskBucket]:
    """One record per task, sorted by name.

    Args:
        scores: The scores of a task and kind must follow each other.
        populations: Task -> number of its instances, if only a random part of them was asked. Its bucket is that of
            the most likely number of right answers among all of them.
    """
    buckets = [
        bucket_of(task, kind, [s.score for s in group], parameters, (populations or {}).get(task))
        for (task, kind), group in groupby(scores, key=lambda s: (s.task, s.kind))
    ]
    return sorted(buckets, key=lambda b: (b.task, b.kind))


def bucket_of(
    task: str, kind: Kind, values: Sequence[float], parameters: BucketParameters, population: int | None = None
) -> TaskBucket:
    """One task's record.

    Args:
        values: All its scores.
        population: As for `bucket_tasks`.
    """
    histogram = [0] * parameters.num_generation_buckets
    for value in values:
        histogram[generation_bucket(value, parameters)] += 1
    bucket = None
    if kind is Kind.EXACT_MATCH:
        right, total = sum(value == 1.0 for value in values), population or len(values)
        bucket = task_bucket(likeliest_right(right, len(values), total), total, parameters)
    mean = sum(values) / len(values)
    return TaskBucket(
        task=task,
        kind=kind,
        num_scores=len(values),
        mean_score=round(mean, 6),
        bucket=bucket,
        histogram=tuple(histogram),
        score_sd=round(math.sqrt(max(0.0, sum(v * v for v in values) / len(values) - mean * mean)), 6),
    )


def likeliest_right(num_right: int, num_asked: int, population: int) -> int:
    """The most likely number of right answers in a population of which `num_asked` were drawn without replacement.

    >>> likeliest_right(3, 10, 10), likeliest_right(3, 10, 100)
    (3, 30)
    """
    if num_asked == population:
        return num_right
    return min((population + 1) * num_right // num_asked, population - (num_asked - num_right))


def read_buckets(path: Path) -> Iterator[TaskBucket]:
    """The records of `buckets.jsonl`."""
    for row in read_jsonl(path):
        yield TaskBucket(**{**row, "kind": Kind(row["kind"]), "histogram": tuple(row["histogram"])})
