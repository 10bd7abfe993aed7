"""The probability that the bucket of an exact-match task would be another one if all of its instances were asked.

    >>> p = BucketParameters()
    >>> round(bucket_risk(0, 64, 3000, p), 4), round(bucket_risk(20, 100, 3000, p), 2), bucket_risk(20, 100, 100, p)
    (0.001, 0.47, 0.0)

Instances are asked in random order, so the number of right ones among n answers is hypergeometric in the unknown total
K. With a uniform prior, K has the probability C(K, k) * C(N - K, n - k) / C(N + 1, n + 1). A Bayesian probability stays
right however often it is looked at before asking stops.

Where it sits: bucket -> **risk** -> adaptive, which decides who is asked next.
"""

import math
from functools import lru_cache
from statistics import NormalDist

from curation.ni.bucket import BucketParameters, likeliest_right, task_bucket

_NEGLIGIBLE = 1e-12
"""A probability below which further terms of a sum are left out."""

_DIGITS = 9
"""Risks are rounded, so that another machine's last bit cannot change who is asked."""

_GROWTH = (0.25, 0.5, 1.0, 2.0)
"""Amounts to ask that are compared, as multiples of what was asked."""

_QUANTILES = tuple(NormalDist().inv_cdf((i + 0.5) / 8) for i in range(8))


@lru_cache(maxsize=4_096)
def bucket_starts(population: int, parameters: BucketParameters) -> tuple[int, ...]:
    """The smallest number of right answers of each bucket, and `population + 1`."""
    starts, right = [0], 0
    for bucket in range(1, parameters.num_task_buckets):
        low, high = right, population + 1
        while low < high:
            middle = (low + high) // 2
            if task_bucket(middle, population, parameters) >= bucket:
                high = middle
            else:
                low = middle + 1
        right = low
        starts.append(right)
    return (*starts, population + 1)


def bucket_risk(num_right: int, num_asked: int, population: int, parameters: BucketParameters) -> float:
    """The probability that the most likely bucket is not that of all answers.

    Args:
        num_right: Of the asked instances.
        population: Number of the task's instances.
    """
    if num_asked >= population:
        return 0.0
    if num_asked == 0:
        return 1.0
    n, k, total = num_asked, num_right, population
    mode = likeliest_right(k, n, total)
    bucket = task_bucket(mode, total, parameters)
    starts = bucket_starts(total, parameters)
    low, high = max(starts[bucket], k), min(starts[bucket + 1] - 1, total - (n - k))
    log_p = _log_choose(mode, k) + _log_choose(total - mode, n - k) - _log_choose(total + 1, n + 1)
    inside = peak = math.exp(log_p)
    p = peak
    for right in range(mode, high):
        p *= (right + 1) / (right + 1 - k) * (total - right - n + k) / (total - right)
        inside += p
        if p < _NEGLIGIBLE:
            break
    p = peak
    for right in range(mode, low, -1):
        p *= (right - k) / right * (total - right + 1) / (total - right + 1 - n + k)
        inside += p
        if p < _NEGLIGIBLE:
            break
    return round(max(0.0, 1 - inside), _DIGITS)


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def best_gain(risk: float, num_right: int, num_asked: int, population: int, parameters: BucketParameters) -> float:
    """The largest expected decrease of the risk per instance that is asked next, over several amounts.

    An estimate by normal distributions; it only decides which tasks are asked first.

    Args:
        risk: The result of `bucket_risk`.
    """
    rest = population - num_asked
    if rest <= 0 or risk == 0:
        return 0.0
    mean = (num_right + 1) / (num_asked + 2)
    center = (num_right + rest * mean) / population

    def variance(asked: int) -> float:
        return mean * (1 - mean) * (population - asked) * (population + 2) / (asked + 3) / population**2

    gain = risk / rest  # asking all of them leaves no risk
    for growth in _GROWTH:
        more = max(16, int(num_asked * growth))
        if more >= rest:
            break
        left = variance(num_asked + more)
        spread, sd = math.sqrt(max(0.0, variance(num_asked) - left)), math.sqrt(left)
        expected = sum(_normal_risk(center + spread * z, sd, parameters) for z in _QUANTILES) / len(_QUANTILES)
        gain = max(gain, (risk - expected) / more)
    return round(gain, 2 * _DIGITS)


def _normal_risk(accuracy: float, sd: float, parameters: BucketParameters) -> float:
    """The probability that a normal variable lies outside of the bucket of its mean."""
    edges = (0.0, *parameters.accuracy_edges, 1.0)
    bucket = sum(accuracy >= edge for edge in parameters.accuracy_edges)
    below = 0.0 if bucket == 0 else _tail((accuracy - edges[bucket]) / sd)
    above = 0.0 if bucket == len(edges) - 2 else _tail((edges[bucket + 1] - accuracy) / sd)
    return below + above


def _tail(z: float) -> float:
    return 0.5 * math.erfc(z / math.sqrt(2))
