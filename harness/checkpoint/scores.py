"""Scores of a run's checkpoints by any criterion of the caller: generated answers, a benchmark, a judge.

    scores = read_scores(Path("scores.json"))         # {"checkpoint-40": 0.31, "checkpoint-60": 0.35}
    pick(..., scores=scores)

Where it sits: the caller's file -> **scores** -> pick.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from core.files import read_json
from harness.checkpoint.pick import Candidate
from harness.errors import CheckpointError


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """A number of each checkpoint; the highest is the best."""

    source: str
    """Names the criterion in `picked.json`."""
    of: Mapping[str, float]

    @property
    def rule(self) -> str:
        """As `picked.json` records it."""
        return f"highest score of {self.source}; of equal scores the lower validation loss"

    def check(self, names: Iterable[str]) -> None:
        """Checks that the scores are those of these checkpoints.

        Raises:
            CheckpointError: A checkpoint has no score, or a score has no checkpoint.
        """
        for missing in sorted({*names} - self.of.keys()):
            raise CheckpointError(f"{self.source}: no score of {missing}. Give one of every checkpoint.")
        for unknown in sorted(self.of.keys() - {*names}):
            raise CheckpointError(f"{self.source}: {unknown} is no complete checkpoint with a loss. Remove it.")

    def ordered(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """The candidates with their scores, best first; of equal scores the first one stays first."""
        best = max(self.of[c.checkpoint] for c in candidates)
        ordered = sorted(candidates, key=lambda c: -self.of[c.checkpoint])
        return [replace(c, score=self.of[c.checkpoint], verdict=_verdict(self.of[c.checkpoint], best)) for c in ordered]


def read_scores(path: Path) -> Scores:
    """Reads a JSON object of checkpoints and their scores.

    Raises:
        StageError: It cannot be read.
        CheckpointError: It is no such object, or a score is not finite.
    """
    found = read_json(path, mend="Write a JSON object of checkpoints and scores.")
    if not isinstance(found, dict) or not found:
        raise CheckpointError(f'{path}: no scores. Write a JSON object such as {{"checkpoint-40": 0.31}}.')
    for name, score in found.items():
        if isinstance(score, bool) or not isinstance(score, int | float) or not math.isfinite(score):
            raise CheckpointError(f"{path}: the score of {name} is {score!r}. Give a finite number.")
    return Scores(source=path.name, of={name: float(score) for name, score in found.items()})


def _verdict(score: float, best: float) -> str:
    return "the highest score" if score == best else f"{best - score:.4g} below the highest score"
