"""How far scores could be off because each figure was measured on a sample of questions.

    found = intervals(submissions, rule=Rule.PUBLISHED)
    found["mine"].full             # (0.31, 0.47)

Every figure is drawn anew from a normal distribution with its standard error, the field is scored, and the middle 95 %
of the scores are given. The errors of two submissions are drawn independently; submissions that answered the same items
err alike, so that the interval of their difference is narrower than these suggest. The interval of the best submission
lies mostly below its score: a draw can hardly raise the wins of one that wins almost everywhere.

Where it sits: submissions -> score -> **interval**.
"""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from submission.score.ranks import Submission, lower_is_better
from submission.score.score import Rule, Standing, score

DRAWS = 400

SHARE = 0.95

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreIntervals:
    """The 95 % intervals of one submission's scores. None: no such score."""

    open: Interval | None
    hidden: Interval | None
    full: Interval | None


def with_errors(submissions: Sequence[Submission], *, num_instances: int | None) -> list[Submission]:
    """Submissions whose accuracies have a standard error, computed where the table gives none.

    The error of a mean of n values in [0, 1] is at most sqrt(p (1 - p) / n), and exactly that for accuracies. Bias
    metrics are no such means and get none.

    Args:
        num_instances: Instances behind each figure; None: only the tables' own errors count.
    """
    if num_instances is None:
        return list(submissions)
    return [
        replace(s, standard_errors={**_binomial(s.metrics, num_instances), **s.standard_errors}) for s in submissions
    ]


def _binomial(metrics: Mapping[str, float | None], num: int) -> dict[str, float]:
    return {
        column: math.sqrt(value * (1 - value) / num)
        for column, value in metrics.items()
        if value is not None and not lower_is_better(column)
    }


def intervals(submissions: Sequence[Submission], *, rule: Rule, seed: int = 0) -> dict[str, ScoreIntervals]:
    """The intervals of every submission's scores, by name; empty if no figure has a standard error."""
    if not any(s.standard_errors for s in submissions):
        return {}
    rng = random.Random(seed)
    drawn: dict[str, list[Standing]] = {s.name: [] for s in submissions}
    for _ in range(DRAWS):
        for standing in score([_drawn(s, rng) for s in submissions], rule=rule):
            drawn[standing.name].append(standing)
    return {
        name: ScoreIntervals(
            open=_middle([s.open for s in standings]),
            hidden=_middle([s.hidden for s in standings]),
            full=_middle([s.full for s in standings]),
        )
        for name, standings in drawn.items()
    }


def _drawn(submission: Submission, rng: random.Random) -> Submission:
    errors = submission.standard_errors
    metrics = {
        column: value if value is None or column not in errors else min(1.0, max(0.0, rng.gauss(value, errors[column])))
        for column, value in submission.metrics.items()
    }
    return replace(submission, metrics=metrics)


def _middle(values: Sequence[float | None]) -> Interval | None:
    known = sorted(value for value in values if value is not None)
    if not known:
        return None
    cut = round((1 - SHARE) / 2 * len(known))
    return known[cut], known[-1 - cut]
