"""Ratings by the six criteria, of a judge or of people, and which of them are averaged.

    for criterion, score in averaged(rating.scores): ...

A criterion other than Language is averaged only over responses whose Language is not 0 by the same rater: what is
written in the wrong language is not a fluent or helpful answer, and it counts once, as a wrong language.

Where it sits: criteria, judge -> **ratings** -> agreement, the suites `judge` and `modifiers`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from core.files import read_jsonl
from evaluation.crosslingual.criteria import Criterion, Scores, find_criterion
from evaluation.errors import EvaluationError

MOST = 2
"""The best score of a criterion; 0 is the worst."""


class UnknownLanguage(StrEnum):
    """What is done with the other criteria of a response whose Language a rater left open."""

    LEFT_OUT = "left-out"
    """Only answers that are known to be in the right language are averaged."""
    AVERAGED = "averaged"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rating:
    """What one rater says about one response."""

    id: str
    language: str
    arm: str
    """The model that gave the response."""
    rater: str
    scores: Scores


def averaged(
    scores: Scores, unknown_language: UnknownLanguage = UnknownLanguage.LEFT_OUT
) -> Iterator[tuple[Criterion, int | None]]:
    """The criteria that enter the averages with their scores; None stands for one that the rater left open.

    >>> dict(averaged({c: 2 for c in Criterion} | {Criterion.LANGUAGE: 0}))
    {<Criterion.LANGUAGE: 'language'>: 0}
    """
    language = scores[Criterion.LANGUAGE]
    is_right = language != 0 and (language is not None or unknown_language is UnknownLanguage.AVERAGED)
    for criterion, score in scores.items():
        if criterion is Criterion.LANGUAGE or score is None or is_right:
            yield criterion, score


def read_ratings(path: Path) -> list[Rating]:
    """Lines of `{id, language, arm, rater, Language, Helpfulness, ...}`, or of one criterion each, as
    `{id, language, arm, rater, criterion: "Helpfulness", score: 2}`. A score is 0 to 2, or null.

    `language` in small letters is the response's; the criterion of that name is written `Language`.

    Raises:
        EvaluationError: a line of another layout, a score beyond 0 to 2, or two of one rater on one response.
    """
    found: dict[tuple[str, str, str, str], dict[Criterion, int | None]] = {}
    for number, row in enumerate(read_jsonl(path), start=1):
        where = f"{path}: record {number}"
        scores = found.setdefault(_key(row, where), {})
        for criterion, score in _scores(row, where):
            if criterion in scores:
                raise EvaluationError(f"{where} is the second that rates {criterion} of this response. Remove one.")
            scores[criterion] = score
    if not found:
        raise EvaluationError(
            f"{path}: no rating in it. Each line holds {{id, language, arm, rater, Helpfulness, ...}}."
        )
    return [
        Rating(id=key[0], language=key[1], arm=key[2], rater=key[3], scores={c: scores.get(c) for c in Criterion})
        for key, scores in found.items()
    ]


def _key(row: Mapping[str, Any], where: str) -> tuple[str, str, str, str]:
    identity = row.get("id")
    language, arm, rater = (row.get(name) for name in ("language", "arm", "rater"))
    if isinstance(identity, bool) or not isinstance(identity, str | int):
        raise EvaluationError(f"{where} lacks its id. Add it.")
    if not (isinstance(language, str) and isinstance(arm, str) and isinstance(rater, str)):
        raise EvaluationError(f"{where} lacks language, arm or rater as text. Add it; the criterion is `Language`.")
    return str(identity), language, arm, rater


def _scores(row: Mapping[str, Any], where: str) -> Iterator[tuple[Criterion, int | None]]:
    rated = {row["criterion"]: row.get("score")} if isinstance(row.get("criterion"), str) else row
    num = 0
    for name, value in rated.items():
        criterion = None if rated is row and name == "language" else find_criterion(name)
        if criterion is not None:
            num += 1
            yield criterion, _score(value, f"{where}: {criterion}")
    if num == 0:
        raise EvaluationError(f"{where} rates no criterion. Name at least one of {', '.join(Criterion)}.")


def _score(value: Any, where: str) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or value not in range(MOST + 1):
        raise EvaluationError(f"{where} is {value!r}. Give 0, 1 or 2, or null for an open one.")
    return int(value)
