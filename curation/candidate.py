"""Candidates: the rows that may be drawn, small enough that all of them fit into memory.

    pool = Pool(exact=True)
    dropped = pool.add(candidate)

A candidate holds what the draw looks at (bucket, length, hashes). Its text stands in a scratch file until it is drawn.

Where it sits: bucket + source -> **candidate** -> sample.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from core.errors import MixError
from core.generation.request import Kind
from core.stage import Dropped
from curation.sources.source import NI_SOURCES


class References(StrEnum):
    """How a generation row with several accepted answers is treated."""

    FIRST = "first"
    SINGLE_ONLY = "single_only"
    """The row is left out, as in the winner's script."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateParameters:
    """Which scored instances may be drawn."""

    wrong_only: bool = True
    """Leave out rows that the base answers right, as the winner did. False: draw right and wrong answers alike."""
    solved_rouge_l: float = 0.8
    """ROUGE-L from which a generated answer counts as right. Source: the winner's script does not sample such rows."""
    references: References = References.FIRST
    min_accuracy: float = 0.0
    """Least accuracy of an exact-match task from which rows are taken. Source: the paper removes low-accuracy tasks
    first, without a figure; the scripts take most rows from them."""

    def __post_init__(self) -> None:
        if not 0 < self.solved_rouge_l <= 1:
            raise MixError(f"candidates.solved_rouge_l: {self.solved_rouge_l} is not in (0, 1]. 0.8 is usual.")
        if not 0 <= self.min_accuracy < 1:
            raise MixError(f"candidates.min_accuracy: {self.min_accuracy} is not in [0, 1). 0.1 drops the worst tasks.")


class Candidate(NamedTuple):
    """A row that may be trained on.

    A named tuple: hundreds of thousands of them come from worker processes, and a dataclass takes several times as
    long to pickle.
    """

    source: str
    task: str
    id: str
    kind: Kind | None
    """None for other sources."""
    bucket: int | None
    """Exact match: the task's. Generation: the instance's own. None: the base was not asked."""
    solved: bool
    """Whether the base already answers it well."""
    exact: bytes
    """Hash that is equal for rows that ask the same."""
    num_tokens: int
    """0 until it is counted."""
    near: bytes = b""
    """Hash that is equal for rows that may be near duplicates of each other."""
    offset: int = 0
    """Where its row begins in the scratch file of its task or source."""
    reason: str = ""
    """Why it will be dropped after the draw, if policies are applied after it."""
    detail: str = ""

    @property
    def is_own(self) -> bool:
        """Whether it is an own row."""
        return self.kind is not None and self.source not in NI_SOURCES.values()


def is_solved(kind: Kind, value: float, parameters: CandidateParameters) -> bool:
    """Whether the base answers an instance so well that there is nothing to learn from it."""
    return value >= (1.0 if kind is Kind.EXACT_MATCH else parameters.solved_rouge_l)


class Pool:
    """All candidates of a mix, each text once.

    Args:
        exact: Whether exact duplicates are refused.
    """

    def __init__(self, *, exact: bool) -> None:
        self.candidates: list[Candidate] = []
        self._first: dict[bytes, str] | None = {} if exact else None

    def add(self, candidate: Candidate) -> Dropped | None:
        """Adds a candidate, or returns it as dropped if it is a duplicate of an earlier one."""
        if self._first is not None:
            if candidate.exact in self._first:
                return duplicate(candidate, self._first[candidate.exact])
            self._first[candidate.exact] = candidate.id
        self.candidates.append(candidate)
        return None

    def suspects(self, source: str | None = None) -> list[int]:
        """Numbers of the candidates that may have a near duplicate.

        Args:
            source: Consider only candidates of this source.
        """
        of_source = [(n, c) for n, c in enumerate(self.candidates) if source is None or c.source == source]
        num_alike = Counter(c.near for _, c in of_source)
        return [n for n, c in of_source if num_alike[c.near] > 1]

    def remove_near_duplicates(self, repeats: Mapping[int, int]) -> list[tuple[Candidate, Dropped]]:
        """Removes candidates and returns each with its record for `dropped.jsonl`.

        Args:
            repeats: Number of a candidate -> number of the candidate that it repeats.
        """
        removed = [
            (self.candidates[number], duplicate(self.candidates[number], self.candidates[first].id, near=True))
            for number, first in sorted(repeats.items())
        ]
        self.candidates = [c for number, c in enumerate(self.candidates) if number not in repeats]
        return removed


def duplicate(candidate: Candidate, first: str, *, near: bool = False) -> Dropped:
    """The record of a candidate that repeats another one."""
    reason = "near_duplicate" if near else "duplicate"
    return Dropped(unit="row", id=candidate.id, reason=reason, detail=f"same as {first}", source=candidate.task)
