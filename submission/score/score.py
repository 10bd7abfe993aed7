"""The challenge's score: metrics -> win rates -> mean win rates -> geometric means -> one number.

    standings = score(submissions, rule=Rule.PUBLISHED)
    standings[0].name, standings[0].full

A win rate is the share of the field that a submission beats in one column, so every score depends on the whole field:
another submission changes all of them.

Where it sits: submissions -> **scores**; `oneday score` shows them, submission/score/plot.py draws them.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from submission.errors import TableError
from submission.score.ranks import SCENARIOS, Part, Scenario, Submission, lower_is_better

OPEN_SHARE = 1 / 3
"""The weight of the open stage in the final score. Source: the challenge's published scores."""

SAME = 1e-12
"""Figures that differ by less are equal: they were summed in another order."""


class Rule(StrEnum):
    """How a column becomes win rates."""

    PUBLISHED = "published"
    """Reproduces all 96 figures of the challenge's 4090_full_ranks.json."""
    HELM = "helm"
    """HELM's compute_aggregate_row_win_rates, version 0.5.16."""


DESCRIPTION = {
    Rule.PUBLISHED: "wins / n; t tied share 1 / n; null is worst, and nulls tie",
    Rule.HELM: "wins / (n - 1); a tie is half a win; null is left out",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """The scores of one submission in its field.

    None: no scenario of that kind counts, or HELM's rule could not compare any of its figures.
    """

    name: str
    win_rates: Mapping[str, float | None]
    """Mean win rate over the columns of each scenario that counts."""
    open: float | None
    hidden: float | None
    full: float | None

    @property
    def order(self) -> tuple[float, ...]:
        """Sorts a field: by the final score, and where there is none by its halves."""
        return tuple(-math.inf if value is None else value for value in (self.full, self.open, self.hidden))

    def figures(self) -> dict[str, float | None]:
        """All figures under their published names, `ranks.FIGURES`."""
        scores = {"Score_full": self.full, "Score_open": self.open, "Score_hidden": self.hidden}
        return scores | {f"{s.name} Mean Win Rate": self.win_rates.get(s.name) for s in SCENARIOS}


def counted(submissions: Sequence[Submission]) -> tuple[Scenario, ...]:
    """The scenarios that the score of a field counts, each with the columns that every submission has.

    Raises:
        TableError: the submissions have no column in common.
    """
    found = tuple(
        replace(scenario, columns=columns)
        for scenario in SCENARIOS
        if (columns := tuple(c for c in scenario.columns if all(c in s.metrics for s in submissions)))
    )
    if not found:
        names = " and ".join(repr(s.name) for s in submissions[:2])
        raise TableError(f"{names}: no column that all submissions have. Score tables of the same scenarios.")
    return found


def score(submissions: Sequence[Submission], *, rule: Rule) -> list[Standing]:
    """Scores a field, best first; submissions without a score come last.

    Raises:
        TableError: the field has only one submission, or no column that all have.
    """
    if len(submissions) < 2:
        names = "".join(s.name for s in submissions)
        raise TableError(f"{names!r} is alone: a win rate needs a field. Add the others' table with `against=FILE`.")
    rates = _mean_win_rates(submissions, rule)
    standings = [_standing(s.name, {k: r[i] for k, r in rates.items()}) for i, s in enumerate(submissions)]
    return sorted(standings, key=lambda s: s.order, reverse=True)


def _mean_win_rates(submissions: Sequence[Submission], rule: Rule) -> dict[str, list[float | None]]:
    """The mean win rates of all submissions, by counted scenario."""
    win_rates = published_win_rates if rule is Rule.PUBLISHED else helm_win_rates
    rates = {}
    for scenario in counted(submissions):
        by_column = [
            win_rates([s.metrics[column] for s in submissions], lower_is_better=lower_is_better(column))
            for column in scenario.columns
        ]
        rates[scenario.name] = [_mean(of_one) for of_one in zip(*by_column, strict=True)]
    return rates


def published_win_rates(values: Sequence[float | None], *, lower_is_better: bool) -> list[float]:
    """The share of the whole field, itself included, that each value beats.

    Each of t >= 2 bitwise equal values gets 1/t of a win. None is worse than any number and ties with None. The rule
    fits the published figures; the largest error over all 96 is below 1e-15.
    """
    ranked = _ranked(values, lower_is_better)
    wins = []
    for value in ranked:
        ties = ranked.count(value)
        wins.append((sum(other < value for other in ranked) + (1 / ties if ties > 1 else 0)) / len(ranked))
    return wins


def helm_win_rates(values: Sequence[float | None], *, lower_is_better: bool) -> list[float | None]:
    """The share of the others that each value beats. A tie is half a win; None is left out.

    Source: compute_aggregate_row_win_rates in HELM 0.5.16, which skips a column with fewer than two numbers.
    """
    ranked = _ranked([value for value in values if value is not None], lower_is_better)
    if len(ranked) < 2:
        return [None] * len(values)
    rate = {
        value: (sum(other < value for other in ranked) + (ranked.count(value) - 1) / 2) / (len(ranked) - 1)
        for value in ranked
    }
    return [None if value is None else rate[_goodness(value, lower_is_better)] for value in values]


def _ranked(values: Iterable[float | None], lower_is_better: bool) -> list[float]:
    return [_goodness(value, lower_is_better) for value in values]


def _goodness(value: float | None, lower_is_better: bool) -> float:
    """The value with its sign such that larger is better."""
    if value is None:
        return -math.inf
    return -value if lower_is_better else value


def _standing(name: str, rates: Mapping[str, float | None]) -> Standing:
    parts = {
        part: _geometric_mean([rates[s.name] for s in SCENARIOS if s.part is part and s.name in rates]) for part in Part
    }
    open_, hidden = parts[Part.OPEN], parts[Part.HIDDEN]
    full = None if open_ is None or hidden is None else OPEN_SHARE * open_ + (1 - OPEN_SHARE) * hidden
    return Standing(name=name, win_rates=rates, open=open_, hidden=hidden, full=full)


def _mean(rates: Iterable[float | None]) -> float | None:
    """The mean of the known rates; None if there are none."""
    known = [rate for rate in rates if rate is not None]
    return math.fsum(known) / len(known) if known else None


def _geometric_mean(rates: Sequence[float | None]) -> float | None:
    """The geometric mean; 0 if a rate is 0, None if a rate is unknown or there is none."""
    known = [rate for rate in rates if rate is not None]
    return math.prod(known) ** (1 / len(known)) if known and len(known) == len(rates) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How many of the tables' published figures were reproduced."""

    num_equal: int
    num: int


def agreement(submissions: Sequence[Submission], standings: Sequence[Standing]) -> Agreement:
    """Compares with the published figures, up to `SAME`."""
    found = {standing.name: standing.figures() for standing in standings}
    pairs = [(found[s.name][figure], value) for s in submissions for figure, value in s.published.items()]
    equal = sum(ours is not None and abs(ours - theirs) <= SAME for ours, theirs in pairs)
    return Agreement(num_equal=equal, num=len(pairs))
