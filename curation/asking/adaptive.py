"""Adaptive asking: which instances of which task the base is asked next, until quotas are filled and buckets certain.

    while batch := next_round(tasks, goal):
        ...  # ask `batch`, and record every answer in `tasks`

A round asks, in this order: a first look at each task; the tasks whose quota is furthest from filled; the exact-match
tasks whose risk falls most per prompt. Asking stops once the quotas are filled and the expected share of exact-match
tasks in another bucket than that of all answers is at most `error`. The tasks on an edge between two buckets, which
would need nearly all of their instances, are left uncertain within that share.

Generation tasks have no bucket of their own. All of them are asked the same share of their instances, so that the rows
of a ROUGE-L bucket come from the same tasks as if all were asked.

Where it sits: risk + sample -> **adaptive** -> the asking of 02_predictions.
"""

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from core.errors import PredictionError
from core.generation.request import Kind
from curation.asking.risk import best_gain, bucket_risk
from curation.ni.bucket import BucketParameters, likeliest_right, task_bucket
from curation.sample import Quota, SampleParameters, allocate

FIRST_LOOK = 64
"""Instances that every exact-match task is asked at first."""

STEP_SHARE, LEAST_STEP = 1 / 32, 32
"""Share of a generation task that one step asks, and the least number of its instances."""

MOST_OF_A_ROUND, LEAST_OF_A_ROUND, ROUNDS_OF_ALL = 4_096, 256, 64
"""A round asks a 64th of all instances, but at least 256 and at most 4,096: three minutes at 20 prompts/s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdaptiveParameters:
    """When to stop asking."""

    error: float = 0.02
    """Expected share of exact-match tasks whose bucket may differ from that of all answers."""
    slack: float = 1.1
    """Usable rows to collect per row of the quota, because later policies drop some."""
    least_yield: float = 0.02
    """Usable rows per prompt below which a quota is not asked for any longer: the other quotas give its rows. This
    project's choice: a row costs at most fifty prompts."""
    rounds: int | None = None
    """Number of rounds to ask. None: as many as are needed, or as fit into the time limit. A finished run's manifest
    holds the number that was asked."""

    def __post_init__(self) -> None:
        if not 0 < self.error < 0.5:
            raise PredictionError(f"adaptive.error: {self.error} is not in (0, 0.5). 0.02 is usual.")
        if self.slack < 1:
            raise PredictionError(f"adaptive.slack: {self.slack} is below 1: the quota would not be filled.")
        if not 0 < self.least_yield < 1:
            raise PredictionError(f"adaptive.least_yield: {self.least_yield} is not in (0, 1). 0.02 is usual.")
        if self.rounds is not None and self.rounds < 1:
            raise PredictionError(f"adaptive.rounds: {self.rounds}. Give 1 or more.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """What asking is to reach."""

    exact_match_rows: int
    """Weak rows wanted from exact-match tasks."""
    generation_rows: int
    samples: SampleParameters
    buckets: BucketParameters
    parameters: AdaptiveParameters


@dataclass(slots=True, kw_only=True)
class TaskProgress:
    """How far one task has been asked."""

    task: str
    kind: Kind
    order: list[str]
    """All its instances, shuffled: the population."""
    num_asked: int = 0
    num_answered: int = 0
    """Those of them that have an answer; the others, as prompts that are too long, are scored nowhere."""
    num_right: int = 0
    """Answers that solve the instance."""
    usable: list[int] = field(default_factory=list)
    """Rows that may be trained on, by the bucket of the answer; of an exact-match task, all in one number."""
    risk: float = 1.0
    """See `bucket_risk`; 0 for a generation task."""
    gain: float = 0.0
    """See `best_gain`."""

    @property
    def num_usable(self) -> int:
        """Rows that may be trained on."""
        return sum(self.usable)

    @property
    def num_left(self) -> int:
        """Instances that were not asked."""
        return len(self.order) - self.num_asked

    @property
    def population(self) -> int:
        """Of how many instances the accuracy is estimated: all, or those with an answer once all are asked."""
        return len(self.order) if self.num_left else self.num_answered

    def add(
        self, *, num_asked: int, num_right: int, usable: Sequence[int], buckets: BucketParameters, num_refused: int = 0
    ) -> None:
        """Records the answers of one round.

        Args:
            usable: By bucket, as in `TaskProgress.usable`.
            num_refused: How many of those asked have no answer.
        """
        self.num_asked += num_asked
        self.num_answered += num_asked - num_refused
        self.num_right += num_right
        self.usable = [a + b for a, b in zip(self.usable or [0] * len(usable), usable, strict=True)]
        if self.kind is Kind.EXACT_MATCH:
            counts = (self.num_right, self.num_answered, self.population)
            self.risk = bucket_risk(*counts, buckets)
            self.gain = best_gain(self.risk, *counts, buckets)

    def bucket(self, parameters: BucketParameters) -> int:
        """The most likely bucket of an exact-match task."""
        answered = self.num_answered
        right = likeliest_right(self.num_right, answered, self.population) if answered else 0
        return task_bucket(right, self.population if answered else len(self.order), parameters)

    def rate(self, bucket: int = 0) -> float:
        """Estimated usable rows per prompt, of one bucket."""
        return (self.usable[bucket] + 1) / (self.num_asked + 1 + len(self.usable)) if self.usable else 0.5

    def next_ids(self, num: int) -> list[str]:
        """The instances to ask next."""
        return self.order[self.num_asked : self.num_asked + num]


def shuffled(ids: Sequence[str], *, seed: int, task: str) -> list[str]:
    """The random order in which a task's instances are asked. The risk is right only for a random order."""
    order = list(ids)
    random.Random(f"adaptive-{seed}-{task}").shuffle(order)
    return order


def round_size(num_instances: int) -> int:
    """Number of prompts of a round."""
    return max(LEAST_OF_A_ROUND, min(MOST_OF_A_ROUND, num_instances // ROUNDS_OF_ALL))


def next_round(tasks: Sequence[TaskProgress], goal: Goal) -> dict[str, list[str]]:
    """The instances of the next round, by task; empty if nothing more is needed."""
    size, batch = round_size(sum(len(t.order) for t in tasks)), dict[str, list[str]]()
    for task, num in _wanted([t for t in tasks if t.order], goal):
        ids = task.next_ids(min(num, size))
        if ids and task.task not in batch:
            batch[task.task] = ids
            size -= len(ids)
            if size <= 0:
                break
    return batch


def _wanted(tasks: Sequence[TaskProgress], goal: Goal) -> Iterator[tuple[TaskProgress, int]]:
    """Tasks and how many instances of each, the most urgent first."""
    new = [t for t in tasks if not t.num_asked]
    if new:
        yield from ((t, FIRST_LOOK if t.kind is Kind.EXACT_MATCH else _step(t)) for t in new)
        return
    exact = [t for t in tasks if t.kind is Kind.EXACT_MATCH]
    generation = [t for t in tasks if t.kind is Kind.GENERATION]
    short = sorted([*_short_exact(exact, goal), *_short_generation(generation, goal)], key=lambda need: need[0])
    yield from ((task, num) for _, task, num in short)
    yield from _uncertain(exact, goal)


def _step(task: TaskProgress) -> int:
    return max(LEAST_STEP, math.ceil(len(task.order) * STEP_SHARE))


def exact_quotas(tasks: Sequence[TaskProgress], goal: Goal) -> list[int]:
    """Weak rows that each exact-match task is to give, as the answers so far tell."""
    of_bucket = goal.samples.weights_for(Kind.EXACT_MATCH, goal.exact_match_rows)
    weights = [of_bucket[t.bucket(goal.buckets)] for t in tasks]
    if goal.samples.quota is Quota.PER_BUCKET:
        return [int(weight * goal.samples.quota_factor) for weight in weights]
    could_give = [t.num_usable + (round(t.num_left * t.rate()) if _yields(t, goal) else 0) for t in tasks]
    return allocate(goal.exact_match_rows, weights, could_give)


def _yields(task: TaskProgress, goal: Goal, buckets: Sequence[int] = (0,)) -> bool:
    return sum(task.rate(b) for b in buckets) >= goal.parameters.least_yield


def _short_exact(tasks: Sequence[TaskProgress], goal: Goal) -> Iterator[tuple[float, TaskProgress, int]]:
    """Filled share of the quota, task and number of instances, where a quota is not filled."""
    for task, quota in zip(tasks, exact_quotas(tasks, goal), strict=True):
        missing = quota * goal.parameters.slack - task.num_usable
        if missing > 0 and task.num_left and _yields(task, goal):
            num = max(LEAST_STEP, math.ceil(missing / task.rate()))
            yield task.num_usable / quota, task, min(num, max(FIRST_LOOK, task.num_asked))


def generation_quotas(tasks: Sequence[TaskProgress], goal: Goal) -> tuple[list[int], list[int]]:
    """Rows that each ROUGE-L bucket is to give, and the usable rows that it has."""
    have = [sum(column) for column in zip(*(t.usable for t in tasks if t.usable), strict=True)]
    num_asked, num_left = sum(t.num_asked for t in tasks), sum(t.num_left for t in tasks)
    rates = [(n + 1) / (num_asked + len(have)) for n in have]
    could_give = [
        n + (round(num_left * rate) if rate >= goal.parameters.least_yield else 0)
        for n, rate in zip(have, rates, strict=True)
    ]
    shares = goal.samples.weights_for(Kind.GENERATION, goal.generation_rows)
    return allocate(goal.generation_rows, shares[: len(have)], could_give), have


def _short_generation(tasks: Sequence[TaskProgress], goal: Goal) -> Iterator[tuple[float, TaskProgress, int]]:
    """As `_short_exact`; the tasks of which the smallest share was asked come first."""
    if not tasks:
        return
    quotas, have = generation_quotas(tasks, goal)
    slack = goal.parameters.slack
    missing = [b for b, quota in enumerate(quotas) if have[b] < quota * slack]
    filled = min((have[b] / quotas[b] for b in missing), default=1.0)
    for task in sorted(tasks, key=lambda t: t.num_asked / len(t.order)):
        if missing and task.num_left and _yields(task, goal, missing):
            yield filled, task, _step(task)


def expected_errors(tasks: Sequence[TaskProgress]) -> float:
    """Expected number of exact-match tasks whose bucket differs from that of all answers."""
    return sum(t.risk for t in tasks if t.kind is Kind.EXACT_MATCH)


def _uncertain(tasks: Sequence[TaskProgress], goal: Goal) -> Iterator[tuple[TaskProgress, int]]:
    """The tasks whose risk falls most per prompt, if too many are expected in another bucket."""
    if expected_errors(tasks) <= goal.parameters.error * len(tasks):
        return
    open_tasks = [t for t in tasks if t.num_left and t.risk > 0]
    for task in sorted(open_tasks, key=lambda t: -t.gain):
        yield task, max(LEAST_STEP, min(FIRST_LOOK, task.num_asked // 4))
