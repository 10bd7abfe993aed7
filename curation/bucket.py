"""Buckets: exact-match tasks by accuracy, generated answers by ROUGE-L.

    >>> generation_bucket(0.25), generation_bucket(0.9), task_bucket(7, 20)
    (1, 7, 3)

Where it sits: score -> **bucket** -> sample.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from curation.score import Score
from curation.select import Kind
from curation.stage import read_jsonl

GENERATION_EDGES = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
"""Lower edges of buckets 1 to 7; bucket 0 is [0, .2), bucket 7 is >= .8. Source: the winner's script."""

NUM_GENERATION_BUCKETS = len(GENERATION_EDGES) + 1
NUM_TASK_BUCKETS = 10


def generation_bucket(score: float) -> int:
    """0 for [0, .2), 1 for [.2, .3), ... 7 for .8 and above."""
    return sum(score >= edge for edge in GENERATION_EDGES)


def task_bucket(num_right: int, num_answers: int) -> int:
    """floor(accuracy * 10) in whole numbers, 100 % in the last bucket: 0 (nothing right) to 9."""
    assert 0 <= num_right <= num_answers
    assert num_answers > 0
    return min(num_right * 10 // num_answers, NUM_TASK_BUCKETS - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskBucket:
    """One task's result. One line of `buckets.jsonl`."""

    task: str
    kind: Kind
    num_scores: int
    mean_score: float
    """Accuracy, or mean ROUGE-L."""
    bucket: int | None
    """Exact match: the task's bucket. Generation: None, instances have their own."""
    histogram: tuple[int, ...]
    """Instances by bucket of their own score, eight counts."""


def bucket_tasks(scores: Iterable[Score]) -> list[TaskBucket]:
    """One record per task, sorted by name."""
    by_task: dict[tuple[str, Kind], list[float]] = defaultdict(list)
    for s in scores:
        by_task[s.task, s.kind].append(s.score)
    buckets = []
    for (task, kind), values in sorted(by_task.items()):
        histogram = [0] * NUM_GENERATION_BUCKETS
        for value in values:
            histogram[generation_bucket(value)] += 1
        right = sum(value == 1.0 for value in values)
        buckets.append(
            TaskBucket(
                task=task,
                kind=kind,
                num_scores=len(values),
                mean_score=round(sum(values) / len(values), 6),
                bucket=task_bucket(right, len(values)) if kind is Kind.EXACT_MATCH else None,
                histogram=tuple(histogram),
            )
        )
    return buckets


def read_buckets(path: Path) -> list[TaskBucket]:
    """The records of `buckets.jsonl`."""
    return [
        TaskBucket(**{**row, "kind": Kind(row["kind"]), "histogram": tuple(row["histogram"])})
        for row in read_jsonl(path)
    ]
