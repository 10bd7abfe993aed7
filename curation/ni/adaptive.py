"""Adaptive asking: stops asking an exact-match task once its bucket is certain and its quota is filled.

    is_certain(num_right=2, num_asked=120, population=2000, parameters=BucketParameters(), error=0.05)

The test is valid at every look, however many there are. Instances are asked in random order, so after n of N answers
the number of right ones is hypergeometric in the unknown total K. With a uniform prior on K the ratio of prior to
posterior, 1 / ((n + 1) * P(k | K)), is a martingale under the true K, and by Ville's inequality it ever reaches
1/error with a probability of at most `error`. The totals that are not ruled out form an interval. Once it lies inside
one bucket, that is the bucket of all N answers, wrongly in at most a share `error` of tasks.
Source: Waudby-Smith and Ramdas 2020, "Confidence sequences for sampling without replacement".

Where it sits: used by 02_predictions to decide which instances are asked.
"""

import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from core.errors import PredictionError
from curation.ni.bucket import BucketParameters, likeliest_right, task_bucket
from curation.sample import Quota, SampleParameters, allocate

FIRST_LOOK, GROWTH = 64, 0.25
"""A task is asked 64 instances, then a quarter more at each look."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdaptiveParameters:
    """When to stop asking."""

    error: float = 0.05
    """Largest share of tasks whose bucket may differ from that of a full run."""
    slack: float = 1.1
    """Usable rows to collect per row of the quota, because later policies drop some."""

    def __post_init__(self) -> None:
        if not 0 < self.error < 0.5:
            raise PredictionError(f"adaptive.error: {self.error} is not in (0, 0.5). 0.05 is usual.")
        if self.slack < 1:
            raise PredictionError(f"adaptive.slack: {self.slack} is below 1: the quota would not be filled.")


def likely_totals(num_right: int, num_asked: int, population: int, error: float) -> tuple[int, int]:
    """The smallest and the largest total of right answers that is not ruled out."""
    low, high = num_right, population - (num_asked - num_right)
    if num_asked in (0, population):
        return low, high
    bar = math.log(error) - math.log(num_asked + 1)

    def stays(total: int) -> bool:
        return _log_likelihood(num_right, num_asked, population, total) > bar

    top = likeliest_right(num_right, num_asked, population)
    return _border(low, top, stays), _border(high, top, stays)


def _border(outside: int, inside: int, stays: Callable[[int], bool]) -> int:
    """The last value, from `inside` towards `outside`, for which `stays` holds. The likelihood is unimodal."""
    if stays(outside):
        return outside
    while abs(outside - inside) > 1:
        middle = (outside + inside) // 2
        if stays(middle):
            inside = middle
        else:
            outside = middle
    return inside


def _log_likelihood(num_right: int, num_asked: int, population: int, total: int) -> float:
    return (
        _log_choose(total, num_right)
        + _log_choose(population - total, num_asked - num_right)
        - _log_choose(population, num_asked)
    )


def _log_choose(n: int, k: int) -> float:
    if not 0 <= k <= n:
        return -math.inf
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def is_certain(*, num_right: int, num_asked: int, population: int, parameters: BucketParameters, error: float) -> bool:
    """Whether all totals that are not ruled out are in one bucket."""
    low, high = likely_totals(num_right, num_asked, population, error)
    return task_bucket(low, population, parameters) == task_bucket(high, population, parameters)


@dataclass(slots=True, kw_only=True)
class Progress:
    """How far one task has been asked."""

    task: str
    order: list[str]
    """All its instances, shuffled: the population."""
    num_asked: int = 0
    num_right: int = 0
    num_usable: int = 0
    """Wrong answers that may be trained on."""
    errors: list[str] = field(default_factory=list)

    @property
    def is_exhausted(self) -> bool:
        """Every instance was asked."""
        return self.num_asked >= len(self.order)

    def bucket(self, parameters: BucketParameters) -> int:
        """The most likely bucket."""
        right = likeliest_right(self.num_right, self.num_asked, len(self.order)) if self.num_asked else 0
        return task_bucket(right, len(self.order), parameters)

    def next_ids(self) -> list[str]:
        """The instances of the next look."""
        size = max(FIRST_LOOK, int(self.num_asked * GROWTH))
        return self.order[self.num_asked : self.num_asked + size]


Look = Callable[[Mapping[str, Sequence[str]]], Mapping[str, Sequence[tuple[bool, bool]]]]
"""Asks instances by task. Returns for each whether it was right, and whether it may be trained on if it was wrong."""


def ask_adaptively(
    tasks: Sequence[Progress],
    look: Look,
    *,
    target: int,
    samples: SampleParameters,
    buckets: BucketParameters,
    parameters: AdaptiveParameters,
) -> Iterator[int]:
    """Asks in rounds until every task is certain and filled, or exhausted.

    Args:
        tasks: Updated in place.
        look: Asks one round.
        target: Rows wanted from all these tasks together.
    Yields:
        The number of instances that each round asked.
    """
    while wanting := _wanting(tasks, target, samples, buckets, parameters):
        chunks = {progress.task: progress.next_ids() for progress in wanting}
        answers = look(chunks)
        for progress in wanting:
            for right, usable in answers[progress.task]:
                progress.num_asked += 1
                progress.num_right += right
                progress.num_usable += usable and not right
        yield sum(map(len, chunks.values()))


def _wanting(
    tasks: Sequence[Progress],
    target: int,
    samples: SampleParameters,
    buckets: BucketParameters,
    parameters: AdaptiveParameters,
) -> list[Progress]:
    """The tasks that need more answers."""
    weights = [samples.task_weights[p.bucket(buckets)] for p in tasks]
    if samples.quota is Quota.PER_BUCKET:
        quotas = [int(weight * samples.quota_factor) for weight in weights]
    else:
        could_give = [p.num_usable + len(p.order) - p.num_asked for p in tasks]
        quotas = allocate(target, weights, could_give)
    return [
        p
        for p, quota in zip(tasks, quotas, strict=True)
        if not p.is_exhausted and not (_certain(p, buckets, parameters) and p.num_usable >= quota * parameters.slack)
    ]


def _certain(p: Progress, buckets: BucketParameters, parameters: AdaptiveParameters) -> bool:
    return p.num_asked > 0 and is_certain(
        num_right=p.num_right,
        num_asked=p.num_asked,
        population=len(p.order),
        parameters=buckets,
        error=parameters.error,
    )


def shuffled(ids: Sequence[str], *, seed: int, task: str) -> list[str]:
    """The random order in which a task's instances are asked. The test is valid only for a random order."""
    order = list(ids)
    random.Random(f"adaptive-{seed}-{task}").shuffle(order)
    return order
