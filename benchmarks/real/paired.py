"""Paired differences between models that answered the same questions, with a bootstrap over tasks.

    outcome = difference(scores["recommended"], scores["random"], tasks)
    outcome.verdict

The questions of a task are resampled together, and the seeds of an arm are averaged before. The interval therefore says
what other tasks would show, not what other seeds would.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.resampling import percentile_interval, resampled_ratios

POWER_FACTOR = 2.8
"""1.96 + 0.84: standard errors of a difference that is distinguished in four of five experiments."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A difference of two means over the same questions."""

    value: float
    interval: tuple[float, float]
    """95 %."""
    by_seed: tuple[float, ...]
    num_tasks: int
    num_questions: int
    tasks_needed: int | None
    """Number of tasks that would distinguish a difference of this size in four of five experiments. None: it is 0."""

    @property
    def verdict(self) -> str:
        """`above`, `below` or `not distinguished`."""
        low, high = self.interval
        return "above" if low > 0 else "below" if high < 0 else "not distinguished"

    def as_json(self) -> dict[str, object]:
        """Rounded to four decimals."""
        return {
            "value": round(self.value, 4),
            "interval": [round(bound, 4) for bound in self.interval],
            "verdict": self.verdict,
            "by_seed": [round(value, 4) for value in self.by_seed],
            "tasks": self.num_tasks,
            "questions": self.num_questions,
            "tasks_needed": None if self.verdict != "not distinguished" else self.tasks_needed,
        }


def difference(
    ours: Sequence[Mapping[str, float]], theirs: Sequence[Mapping[str, float]], tasks: Mapping[str, str]
) -> Outcome | None:
    """The mean of `ours` minus that of `theirs`.

    Args:
        ours: Question -> score, once for each seed.
        tasks: Question -> its task, for the questions that count.
    Returns:
        None if fewer than two tasks have a question.
    """
    names = sorted(set(tasks.values()))
    if len(names) < 2:
        return None
    place = {name: number for number, name in enumerate(names)}
    sums, counts = np.zeros((len(names), 1)), np.zeros((len(names), 1))
    for question, task in tasks.items():
        gain = _mean([scores[question] for scores in ours]) - _mean([scores[question] for scores in theirs])
        sums[place[task], 0] += gain
        counts[place[task], 0] += 1
    draws = resampled_ratios(sums, counts)[:, 0]
    value, error = float(sums.sum() / counts.sum()), float(np.nanstd(draws))
    needed = math.ceil(len(names) * (POWER_FACTOR * error / value) ** 2) if value else None
    return Outcome(
        value=value,
        interval=percentile_interval(draws),
        by_seed=tuple(
            _mean([a[q] for q in tasks]) - _mean([b[q] for q in tasks]) for a, b in zip(ours, theirs, strict=False)
        ),
        num_tasks=len(names),
        num_questions=len(tasks),
        tasks_needed=needed,
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
