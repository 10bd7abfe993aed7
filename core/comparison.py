"""The stored comparison of base and tuned model: one record per group of questions, in `10_scores/comparison.json`.

    read_as(list[Comparison], run / SCORED / COMPARISON)

Where it sits: evaluation measures it; the run's report, the model card and the demo show it.
"""

from dataclasses import dataclass

ANSWERS, COMPARISON = "answers.jsonl", "comparison.json"
OVERALL = "overall"
"""The group of all questions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One group's means, the difference with its 95 % interval, and the two-sided bootstrap p-value."""

    group: str
    num: int
    base: float
    tuned: float
    low: float
    high: float
    p: float
