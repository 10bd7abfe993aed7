"""Durations with units, and bounds of costs that were measured.

>>> seconds("1h30m"), seconds("45s"), pretty(5400)
(5400.0, 45.0, '1h30m00s')
"""

import math
import re
import statistics
from collections.abc import Sequence

from harness.errors import BudgetError

LONGEST_S = 366 * 86_400

CLOSING_MARGIN = 1.25
"""Largest safety factor on the largest measured cost, where time is kept free for the last evaluation and save."""

STEADY_MARGIN = 1.05
"""Smallest safety factor on the largest measured cost."""


def cost_bound(costs: Sequence[float]) -> float:
    """An upper bound of the next cost in seconds, from measured ones.

    It is the one-sided 95 % prediction bound of a normal distribution, limited to 1.05 to 1.25 times the largest
    measured cost. A single measurement has no spread and takes the factor 1.25.

    >>> cost_bound([10.0]), round(cost_bound([10.0, 10.1, 9.9, 10.0, 10.0, 10.1]), 2)
    (12.5, 10.61)
    """
    if not costs:
        return 0.0
    largest, num = max(costs), len(costs)
    if num == 1:
        return CLOSING_MARGIN * largest
    deviation = statistics.stdev(costs)
    # Student's t quantile, by the first correction term to the normal one.
    quantile = _NORMAL_95 + (_NORMAL_95**3 + _NORMAL_95) / (4 * (num - 1))
    bound = statistics.fmean(costs) + quantile * deviation * math.sqrt(1 + 1 / num)
    return min(CLOSING_MARGIN * largest, max(STEADY_MARGIN * largest, bound))


def usual_cost(costs: Sequence[float]) -> float:
    """The median in seconds, without the first of several costs, because a process's first evaluation warms up.

    >>> usual_cost([9.0, 2.0, 2.1]), usual_cost([9.0]), usual_cost([])
    (2.05, 9.0, 0.0)
    """
    return statistics.median(costs[1:] or costs) if costs else 0.0


_NORMAL_95 = statistics.NormalDist().inv_cdf(0.95)

_UNITS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
_DURATION = re.compile(r"\s*".join(rf"(?:(\d+(?:\.\d+)?)\s*{unit})?" for unit in _UNITS))


def seconds(text: str, *, field: str = "budget") -> float:
    """A duration such as `24h`, `90m`, `1h30m`, `1h 30m` or `45 s` in seconds. A number without a unit is refused.

    Args:
        field: The request's field, for the error.

    Raises:
        BudgetError: The text is not a duration, or not between 0 and 366 days.
    """
    match = _DURATION.fullmatch(text.strip().lower())
    parts = match.groups() if match else ()
    total = sum(float(part) * unit for part, unit in zip(parts, _UNITS.values(), strict=False) if part)
    if not 0 < total <= LONGEST_S:
        raise BudgetError(
            f"`{field}={text[:40]}`: not a duration above 0 and up to 366d. Write it with units: 24h, 90m, 1h30m, 45s."
        )
    return total


def pretty(amount_s: float) -> str:
    """A duration as text: `1h02m03s`, `2m05s`, `7.5s`."""
    if amount_s < 60:
        return f"{amount_s:.1f}s"
    minutes, rest = divmod(round(amount_s), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m{rest:02d}s" if hours else f"{minutes}m{rest:02d}s"
