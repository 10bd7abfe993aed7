"""A budget is a duration with a unit.

>>> seconds("1h30m"), seconds("45s"), pretty(5400)
(5400.0, 45.0, '1h30m00s')
"""

import re

from harness.errors import BudgetError

LONGEST_S = 366 * 86_400

CLOSING_MARGIN = 1.25
"""Over the largest measured cost of an evaluation and save, wherever time is kept free for the last ones."""

_UNITS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)d)?(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?")


def seconds(text: str) -> float:
    """`24h`, `90m`, `1h30m`, `45s` in seconds. A bare number is refused: 24 of what?

    Raises:
        BudgetError: another form, or nothing at all.
    """
    match = _DURATION.fullmatch(text.strip().lower())
    parts = match.groups() if match else ()
    total = sum(float(part) * unit for part, unit in zip(parts, _UNITS.values(), strict=False) if part)
    if not 0 < total <= LONGEST_S:
        raise BudgetError(f"--budget {text[:40]}: not a duration. Write it with units: 24h, 90m, 1h30m, 45s.")
    return total


def pretty(amount_s: float) -> str:
    """`1h02m03s`, `2m05s`, `7.5s`."""
    if amount_s < 60:
        return f"{amount_s:.1f}s"
    minutes, rest = divmod(round(amount_s), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m{rest:02d}s" if hours else f"{minutes}m{rest:02d}s"
