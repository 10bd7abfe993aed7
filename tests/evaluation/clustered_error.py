"""The standard error by formula, which the bootstrap must agree with."""

import math
from collections.abc import Sequence


def clustered_se(sums: Sequence[float], counts: Sequence[int]) -> float:
    """Standard error of sum(sums) / sum(counts), where observations share clusters.

    Args:
        sums: Per cluster, the sum of its observations.
        counts: Per cluster, how many observations it has.

    Returns:
        sqrt(sum over clusters of (sum - count x mean)^2) / n x sqrt(J / (J - 1)); nan for fewer than two clusters.
    """
    num, total = len(counts), sum(counts)
    if num < 2 or total == 0:
        return math.nan
    mean = sum(sums) / total
    squares = sum((s - c * mean) ** 2 for s, c in zip(sums, counts, strict=True))
    return math.sqrt(squares) / total * math.sqrt(num / (num - 1))
