"""How far a judge agrees with people: a 3 x 3 table, exact agreement and weighted kappa for each criterion.

    for row in agreement(judge_ratings, human_ratings): print(row.criterion, row.group, row.exact, row.kappa)

Where it sits: ratings -> **agreement** -> the suite `judge`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from evaluation.crosslingual.criteria import Criterion
from evaluation.crosslingual.ratings import MOST, Rating

ENGLISH, NON_ENGLISH = "en", "non_en"
LABELS = range(MOST + 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """One criterion in English or in the other languages together."""

    criterion: Criterion
    group: str
    """`en` or `non_en`."""
    num: int
    """Pairs of a judge's and a person's score of one response."""
    num_open: int
    """Pairs in which either is open; they enter nothing."""
    percent: tuple[tuple[float, ...], ...]
    """[judge's score][person's score]: per cent of pairs; the nine sum to 100."""
    exact: float | None
    """Share of pairs with equal scores; None without a pair."""
    kappa: float | None
    """Quadratic weights. None: undefined, because either gave one score only; libraries then say nan or 0."""


def agreement(judge: Iterable[Rating], people: Iterable[Rating]) -> list[Agreement]:
    """Every criterion and group that has a pair. Ratings are paired by id, language and arm; each person counts."""
    judged = {(rating.id, rating.language, rating.arm): rating for rating in judge}
    pairs = [(judged[key], person) for person in people if (key := (person.id, person.language, person.arm)) in judged]
    found = []
    for group in (ENGLISH, NON_ENGLISH):
        of_group = [pair for pair in pairs if (pair[0].language == "en") is (group == ENGLISH)]
        if of_group:
            found += [_agreement(criterion, group, of_group) for criterion in Criterion]
    return found


def _agreement(criterion: Criterion, group: str, pairs: Sequence[tuple[Rating, Rating]]) -> Agreement:
    counts = [[0 for _ in LABELS] for _ in LABELS]
    num_open = 0
    for judge, person in pairs:
        given, right = judge.scores[criterion], person.scores[criterion]
        if given is None or right is None:
            num_open += 1
        else:
            counts[given][right] += 1
    num = sum(map(sum, counts))
    return Agreement(
        criterion=criterion,
        group=group,
        num=num,
        num_open=num_open,
        percent=tuple(tuple(100 * count / max(num, 1) for count in row) for row in counts),
        exact=sum(counts[label][label] for label in LABELS) / num if num else None,
        kappa=quadratic_kappa(counts),
    )


def quadratic_kappa(counts: Sequence[Sequence[int]]) -> float | None:
    """Cohen's kappa with quadratic weights of a square table; None where either rater used one label only.

    >>> quadratic_kappa([[0, 0, 0], [1, 1, 1], [0, 1, 4]])
    0.5
    >>> quadratic_kappa([[0, 0, 0], [0, 0, 0], [0, 1, 7]]) is None
    True
    """
    labels = range(len(counts))
    given = [sum(counts[i]) for i in labels]
    right = [sum(counts[i][j] for i in labels) for j in labels]
    if sum(map(bool, given)) < 2 or sum(map(bool, right)) < 2:
        return None
    observed = sum((i - j) ** 2 * counts[i][j] for i in labels for j in labels)
    expected = sum((i - j) ** 2 * given[i] * right[j] for i in labels for j in labels)
    return 1 - observed * sum(given) / expected
