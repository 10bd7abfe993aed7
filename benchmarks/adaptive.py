"""Prompts that adaptive asking needs, and what it leaves wrong, by replay of answers over many seeds.

    python benchmarks/adaptive.py [PREDICTIONS.jsonl ...] [--seeds 200]

The stored answers are those of the given files; by default the benchmark runs the demo's curation with the demo's base
model. The planted answers stand for the 200k mix: 300 exact-match and 162 generation tasks with as many instances as
those that the winner chose, accuracies uniform in [0, 1], and ROUGE-L scores that are normal around a mean of each
task's own. Every seed plants other answers and shuffles the instances of every task; the replay answers as the model
would, round by round, until nothing more is wanted.

Prints one JSON line. `bucket_differs` is the share of exact-match tasks in another bucket than if all were asked, over
all seeds. `quota_filled` is the share of the rows that each quota would have if all were asked, and for which the
answers suffice. `at` has both for runs that a time limit ends after a tenth and a fifth of the prompts.
"""

import argparse
import contextlib
import io
import json
import random
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist

from core.generation.prediction import Prediction, read_predictions
from core.generation.request import Kind
from core.run_folder import PREDICTIONS
from core.score import rouge_l_scorer, score
from curation.asking.adaptive import AdaptiveParameters, Goal, TaskProgress, expected_errors, next_round, shuffled
from curation.candidate import CandidateParameters, is_solved
from curation.ni.bucket import BucketParameters, generation_bucket, task_bucket
from curation.preset import preset
from curation.sample import SampleParameters, allocate
from curation.sources.source import MIXES, NI_EXACT_MATCH, NI_GENERATION
from oneday.demo.demo import SCALE, curate_demo
from oneday.display.console import Console

SIZES = (
    100, 150, 200, 277, 390, 504, 754, 992, 999, 1500, 1883, 2162, 2724, 3022, 3623, 4000, 4984,
    5035, 5995, 6217, 6442, 6493, 6494, 6495, 6498, 6499, 6500, 6500, 6500, 6500, 6500, 6500, 6500,
)  # fmt: skip
"""Instances of a task: quantiles of the winner's 462 tasks."""

EXACT_MATCH_TASKS, GENERATION_TASKS = 300, 162
"""Tasks of the planted mix. Source: the winner's list has 462, of which about 300 are exact match."""

STOPS = (0.1, 0.2)
"""Shares of the prompts after which `at` looks."""

BUCKETS, SAMPLES, PARAMETERS = BucketParameters(), SampleParameters(), AdaptiveParameters()
SOLVED = BUCKETS.num_generation_buckets - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """The answers to one task."""

    kind: Kind
    values: tuple[int, ...]
    """Exact match: 1 if right. Generation: the bucket of the score."""

    @property
    def num_right(self) -> int:
        """Answers that solve the instance."""
        return sum(self.values) if self.kind is Kind.EXACT_MATCH else self.values.count(SOLVED)

    def usable(self, positions: Iterable[int]) -> list[int]:
        """Weak rows, by bucket."""
        values = [self.values[i] for i in positions]
        if self.kind is Kind.EXACT_MATCH:
            return [values.count(0)]
        return [*(values.count(bucket) for bucket in range(SOLVED)), 0]


Tasks = Mapping[str, Answers]


def read_answers(predictions: Iterable[Prediction]) -> Tasks:
    parameters = preset("recommended").scores
    rouge_l = rouge_l_scorer(parameters)
    values: dict[tuple[str, Kind], list[int]] = defaultdict(list)
    for p in predictions:
        value = score(p, parameters, rouge_l).score
        right = is_solved(p.kind, value, CandidateParameters())
        values[p.task, p.kind].append(right if p.kind is Kind.EXACT_MATCH else generation_bucket(value, BUCKETS))
    return {f"{task}-{kind}": Answers(kind=kind, values=tuple(v)) for (task, kind), v in values.items()}


def planted_answers(seed: int) -> Tasks:
    rng, tasks = random.Random(seed), {}
    for number in range(EXACT_MATCH_TASKS):
        accuracy, size = rng.random(), rng.choice(SIZES)
        tasks[f"exact{number}"] = Answers(
            kind=Kind.EXACT_MATCH, values=tuple(rng.random() < accuracy for _ in range(size))
        )
    for number in range(GENERATION_TASKS):
        rouge = NormalDist(rng.gauss(0.325, 0.09), 0.25)
        below = [*map(rouge.cdf, BUCKETS.rouge_edges), 1.0]
        values = rng.choices(range(SOLVED + 1), cum_weights=below, k=rng.choice(SIZES))
        tasks[f"generation{number}"] = Answers(kind=Kind.GENERATION, values=tuple(values))
    return tasks


def demo_answers() -> Tasks:
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        with contextlib.redirect_stdout(io.StringIO()):
            curate_demo(run, retain=0.0, redo=False, console=Console())
        return read_answers(read_predictions(run / PREDICTIONS / "predictions.jsonl"))


def rounds(tasks: Tasks, seed: int, goal: Goal) -> Iterator[list[TaskProgress]]:
    """Replays one run; yields after every round."""
    progress = [
        TaskProgress(
            task=name, kind=a.kind, order=shuffled([str(i) for i in range(len(a.values))], seed=seed, task=name)
        )
        for name, a in tasks.items()
    ]
    by_name = {p.task: p for p in progress}
    while batch := next_round(progress, goal):
        for name, ids in batch.items():
            answers, positions = tasks[name], [int(i) for i in ids]
            usable = answers.usable(positions)
            by_name[name].add(num_asked=len(ids), num_right=len(ids) - sum(usable), usable=usable, buckets=goal.buckets)
        yield progress


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How far a run came."""

    asked: float
    bucket_differs: float
    bucket_expected: float
    quota_filled: float


class Whole:
    """The buckets and quotas if every instance were asked."""

    def __init__(self, tasks: Tasks, goal: Goal) -> None:
        self._num = sum(len(a.values) for a in tasks.values())
        exact = {n: a for n, a in tasks.items() if a.kind is Kind.EXACT_MATCH}
        self._buckets = {n: task_bucket(a.num_right, len(a.values), BUCKETS) for n, a in exact.items()}
        weights = [SAMPLES.task_weights[bucket] for bucket in self._buckets.values()]
        wrong = [len(a.values) - a.num_right for a in exact.values()]
        self._quotas = dict(zip(exact, allocate(goal.exact_match_rows, weights, wrong), strict=True))
        weak = [a.usable(range(len(a.values))) for a in tasks.values() if a.kind is Kind.GENERATION]
        columns = [sum(column) for column in zip(*weak, strict=True)]
        self._generation = allocate(goal.generation_rows, SAMPLES.generation_shares[: len(columns)], columns)

    def compare(self, progress: list[TaskProgress]) -> Outcome:
        """The buckets and quotas of a run beside these."""
        exact = [p for p in progress if p.kind is Kind.EXACT_MATCH]
        weak = zip(*(p.usable for p in progress if p.kind is Kind.GENERATION and p.usable), strict=True)
        filled = sum(min(self._quotas[p.task], p.num_usable) for p in exact)
        filled += sum(min(quota, sum(column)) for quota, column in zip(self._generation, weak, strict=False))
        differ = sum(p.bucket(BUCKETS) != self._buckets[p.task] for p in exact)
        return Outcome(
            asked=sum(p.num_asked for p in progress) / self._num,
            bucket_differs=differ / len(exact),
            bucket_expected=expected_errors(exact) / len(exact),
            quota_filled=filled / (sum(self._quotas.values()) + sum(self._generation)),
        )


def replay(tasks: Tasks, seed: int | None, goal: Goal) -> tuple[list[Outcome], int, float]:
    """The outcomes at the stops and at the end, the number of rounds, and the seconds that planning took."""
    whole, num = Whole(tasks, goal), sum(len(a.values) for a in tasks.values())
    found: list[Outcome] = []
    num_rounds, progress, start = 0, list[TaskProgress](), time.perf_counter()
    for progress in rounds(tasks, seed, goal):
        num_rounds += 1
        if len(found) < len(STOPS) and sum(p.num_asked for p in progress) >= STOPS[len(found)] * num:
            found.append(whole.compare(progress))
    seconds = time.perf_counter() - start
    end = whole.compare(progress)
    return [*found, *[end] * (len(STOPS) + 1 - len(found))], num_rounds, seconds


def summary(runs: list[tuple[list[Outcome], int, float]]) -> dict[str, object]:
    def mean(position: int, name: str) -> float:
        return round(statistics.fmean(getattr(found[position], name) for found, _, _ in runs), 4)

    return {
        "prompts_asked": mean(-1, "asked"),
        "prompts_asked_most": round(max(found[-1].asked for found, _, _ in runs), 4),
        "bucket_differs": mean(-1, "bucket_differs"),
        "bucket_differs_most": round(max(found[-1].bucket_differs for found, _, _ in runs), 4),
        "bucket_expected": mean(-1, "bucket_expected"),
        "quota_filled": mean(-1, "quota_filled"),
        "rounds": statistics.median(num for _, num, _ in runs),
        "overhead_s_per_run": round(statistics.median(s for _, _, s in runs), 2),
        "at": {
            str(stop): {name: mean(n, name) for name in ("bucket_differs", "quota_filled")}
            for n, stop in enumerate(STOPS)
        },
    }


def goal_of(scale: float) -> Goal:
    rows = MIXES["200k"]
    return Goal(
        exact_match_rows=round(rows[NI_EXACT_MATCH] * scale), generation_rows=round(rows[NI_GENERATION] * scale),
        samples=SAMPLES, buckets=BUCKETS, parameters=PARAMETERS,
    )  # fmt: skip


def stored(tasks: Tasks, num_seeds: int, scale: float) -> dict[str, object]:
    sizes = {"tasks": len(tasks), "instances": sum(len(a.values) for a in tasks.values())}
    return sizes | summary([replay(tasks, seed, goal_of(scale)) for seed in range(num_seeds)])


def planted(num_seeds: int) -> dict[str, object]:
    runs = [replay(planted_answers(seed), None, goal_of(1.0)) for seed in range(num_seeds)]
    return {"tasks": EXACT_MATCH_TASKS + GENERATION_TASKS} | summary(runs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("predictions", type=Path, nargs="*")
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--planted-only", action="store_true")
    arguments = parser.parse_args()
    result: dict[str, object] = {"seeds": arguments.seeds, "error": PARAMETERS.error}
    if arguments.predictions:
        tasks = read_answers(p for path in arguments.predictions for p in read_predictions(path))
        result["given"] = stored(tasks, arguments.seeds, len(tasks) / (EXACT_MATCH_TASKS + GENERATION_TASKS))
    elif not arguments.planted_only:
        result["demo"] = stored(demo_answers(), arguments.seeds, SCALE)
    result["planted"] = planted(arguments.seeds)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
