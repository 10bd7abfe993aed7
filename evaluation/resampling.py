"""Intervals: Wilson for a share of independent items, a bootstrap over clusters for everything else.

    wilson(488, 510)                    # (0.936, 0.971)

A cluster is what was drawn together: a prompt with its instructions, or an instruction in its languages. Whole clusters
are resampled, so observations within one are never taken as independent.

Where it sits: join -> **resampling** -> scoring, difference.
"""

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

DRAWS = 10_000
"""Of every bootstrap. Over 8 seeds the bounds of GPT-4's instruction-level accuracy move by about 0.001."""

SEED = 0

Z_95 = 1.959963984540054

_CHUNK = 250
"""Draws that are held at once: 250 x 5,000 items are 10 MB."""

Interval = tuple[float, float]


def wilson(k: float, n: int) -> Interval:
    """95 % interval of a share of `n` independent items. Source: Wilson 1927; no continuity correction."""
    assert n > 0
    share, z2 = k / n, Z_95 * Z_95
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z_95 / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def resampled_ratios(sums: "Array", counts: "Array", *, seed: int = SEED, draws: int = DRAWS) -> "Array":
    """Ratios of column sums over resampled clusters, the same draw for all columns.

    Args:
        sums: [clusters, columns].
        counts: [clusters, columns].

    Returns:
        [draws, columns]; nan where a draw holds no observation of a column.
    """
    import numpy as np

    rng = np.random.default_rng(seed)
    num = len(sums)
    both = np.concatenate([sums, counts], axis=1).astype(np.float64)
    found = np.empty((draws, both.shape[1]))
    for start in range(0, draws, _CHUNK):
        size = min(_CHUNK, draws - start)
        drawn = rng.integers(num, size=(size, num)) + np.arange(size)[:, None] * num
        times = np.bincount(drawn.ravel(), minlength=size * num).reshape(size, num)
        found[start : start + size] = times @ both
    columns = sums.shape[1]
    with np.errstate(invalid="ignore", divide="ignore"):
        return found[:, :columns] / found[:, columns:]


def percentile_interval(draws: "Array") -> Interval:
    """The middle 95 % of the draws that are defined."""
    import numpy as np

    low, high = np.nanpercentile(draws, [2.5, 97.5])
    return float(low), float(high)


def two_sided_p(draws: "Array") -> float:
    """Twice the smaller share of the draws on one side of zero, never below what that many draws can tell."""
    one_sided = min(float((draws <= 0).mean()), float((draws >= 0).mean()))
    return min(1.0, 2 * max(one_sided, 1 / (len(draws) + 1)))
