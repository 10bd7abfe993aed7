"""The comparisons of averaging.py, from the losses of every candidate on every row.

    differences([run, other_run])

Where it sits: beside averaging.py, whose text says what is compared.
"""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.real.paired import POWER_FACTOR, Outcome
from evaluation.resampling import percentile_interval, resampled_ratios

BEST, LAST = "best", "last"


@dataclass(frozen=True, kw_only=True)
class RowsOf:
    """The rows of one kind: validation or held out."""

    kind: str
    tasks: Sequence[str]
    """Task of each row."""
    num_answer_tokens: Sequence[int]


@dataclass(frozen=True, kw_only=True)
class MeasuredRun:
    """The losses of a run's candidates."""

    name: str
    schedule: str
    trained_on: tuple[object, ...]
    """Hash of the training rows and of the base, and the seed: runs that differ in none of them can be compared."""
    rows: Sequence[RowsOf]
    losses: Mapping[str, Sequence[Sequence[float]]]
    """Candidate -> for each kind of rows the summed loss of each row."""

    def means(self) -> dict[str, dict[str, float]]:
        """Candidate -> kind of rows -> nats per answer token."""
        return {
            name: {
                rows.kind: round(sum(sums) / sum(rows.num_answer_tokens), 4)
                for rows, sums in zip(self.rows, losses, strict=True)
            }
            for name, losses in self.losses.items()
        }


Pair = tuple[MeasuredRun, str, MeasuredRun, str]
"""A run and its candidate, and those that they are compared with."""


def differences(runs: Sequence[MeasuredRun]) -> list[dict[str, object]]:
    """Each candidate minus the best checkpoint of its own run, over all runs that have the candidate."""
    names = dict.fromkeys(name for run in runs for name in run.losses if name != BEST)
    return [
        {"ours": name, "theirs": BEST, **found}
        for name in names
        for found in _compared([(run, name, run, BEST) for run in runs if name in run.losses])
    ]


def schedule_differences(runs: Sequence[MeasuredRun]) -> list[dict[str, object]]:
    """Each candidate of a run minus the best checkpoint of a run of equal rows and seed with a cosine."""
    return [
        {"ours": f"{ours.schedule}, {name}", "theirs": f"{theirs.schedule}, {BEST}", "run": ours.name, **found}
        for theirs, ours in itertools.permutations(runs, 2)
        if theirs.schedule == "cosine" != ours.schedule and ours.trained_on == theirs.trained_on
        for name in ours.losses
        for found in _compared([(ours, name, theirs, BEST)])
    ]


def _compared(pairs: Sequence[Pair]) -> Iterator[dict[str, object]]:
    for number, rows in enumerate(pairs[0][0].rows):
        outcome = loss_difference(
            [(a.rows[number], a.losses[ours][number], b.losses[theirs][number]) for a, ours, b, theirs in pairs]
        )
        yield {"rows": rows.kind, "runs": len(pairs), **outcome.as_json()}


def loss_difference(pairs: Sequence[tuple[RowsOf, Sequence[float], Sequence[float]]]) -> Outcome:
    """The mean of ours minus theirs, in nats per answer token, with a bootstrap over tasks.

    Args:
        pairs: For each run its rows, and the summed loss of each row under both. A task's rows are one cluster, in
            whichever run they are.
    """
    tasks = sorted({task for rows, _, _ in pairs for task in rows.tasks})
    place = {task: number for number, task in enumerate(tasks)}
    sums, counts = np.zeros((len(tasks), 1)), np.zeros((len(tasks), 1))
    by_run = []
    for rows, ours, theirs in pairs:
        gains = np.array(ours) - np.array(theirs)
        by_run.append(float(gains.sum() / sum(rows.num_answer_tokens)))
        for task, gain, tokens in zip(rows.tasks, gains, rows.num_answer_tokens, strict=True):
            sums[place[task], 0] += gain
            counts[place[task], 0] += tokens
    draws = resampled_ratios(sums, counts)[:, 0]
    value, error = float(sums.sum() / counts.sum()), float(np.nanstd(draws))
    return Outcome(
        value=value,
        interval=percentile_interval(draws),
        by_seed=tuple(by_run),
        num_tasks=len(tasks),
        num_questions=len(pairs[0][0].tasks),
        tasks_needed=math.ceil(len(tasks) * (POWER_FACTOR * error / value) ** 2) if value else None,
    )
