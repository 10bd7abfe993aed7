import random
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from core.errors import PredictionError
from core.generation.request import Kind
from curation.asking.adaptive import (
    AdaptiveParameters,
    Goal,
    TaskProgress,
    expected_errors,
    generation_quotas,
    next_round,
    round_size,
    shuffled,
)
from curation.ni.bucket import BucketParameters, bucket_of, task_bucket
from curation.sample import Quota, SampleParameters

BUCKETS = BucketParameters()
GOAL = Goal(
    exact_match_rows=200, generation_rows=0, samples=SampleParameters(), buckets=BUCKETS,
    parameters=AdaptiveParameters(),
)  # fmt: skip

Values = Mapping[str, Sequence[int]]
"""Exact match: 1 if right. Generation: the bucket."""


def ask(
    values: Values, goal: Goal, *, kind: Kind = Kind.EXACT_MATCH, seed: int = 0, most: int = 10_000
) -> list[TaskProgress]:
    tasks = {
        name: TaskProgress(task=name, kind=kind, order=shuffled([str(i) for i in range(len(v))], seed=seed, task=name))
        for name, v in values.items()
    }
    seen: set[tuple[str, str]] = set()
    num_rounds = 0
    while num_rounds < most and (batch := next_round(list(tasks.values()), goal)):
        num_rounds += 1
        assert sum(map(len, batch.values())) <= round_size(sum(map(len, values.values())))
        for name, ids in batch.items():
            assert seen.isdisjoint((name, i) for i in ids)
            seen |= {(name, i) for i in ids}
            given = [values[name][int(i)] for i in ids]
            weak = [*(given.count(b) for b in range(7)), 0]
            usable = [given.count(0)] if kind is Kind.EXACT_MATCH else weak
            tasks[name].add(num_asked=len(ids), num_right=len(ids) - sum(usable), usable=usable, buckets=goal.buckets)
    return list(tasks.values())


def planted(accuracies: Sequence[float], num: int, seed: int) -> dict[str, list[int]]:
    rng = random.Random(seed)
    return {f"t{n}": [rng.random() < p for _ in range(num)] for n, p in enumerate(accuracies)}


def test_buckets_differ_in_the_stated_share_of_tasks_and_less_is_asked() -> None:
    wrong, asked, total, goal = 0, 0, 0, replace(GOAL, parameters=AdaptiveParameters(error=0.05))
    for seed in range(12):
        rng = random.Random(seed)
        values = planted([rng.random() for _ in range(20)], 1_000, seed)
        tasks = ask(values, goal, seed=seed)
        assert expected_errors(tasks) <= 0.05 * 20
        wrong += sum(t.bucket(BUCKETS) != task_bucket(sum(values[t.task]), 1_000, BUCKETS) for t in tasks)
        asked += sum(t.num_asked for t in tasks)
        total += 20_000
    assert wrong / 240 <= 0.09  # .05 and three standard errors
    assert asked / total < 0.5


def test_a_task_is_asked_until_its_quota_is_filled() -> None:
    [task] = ask({"hard": [0] * 2_000}, replace(GOAL, exact_match_rows=900))
    assert 990 <= task.num_usable < 1_100  # a tenth more, and at most one step


def test_quotas_per_bucket_are_those_of_the_scripts() -> None:
    goal = replace(GOAL, samples=SampleParameters(quota=Quota.PER_BUCKET, quota_factor=2))
    [task] = ask({"hard": [0] * 2_000}, goal)
    assert 770 <= task.num_asked < 1_000  # 2 * 350 rows, and a tenth more


def test_a_quota_of_rows_that_are_too_rare_is_given_up() -> None:
    [task] = ask({"solved": [1] * 2_000}, GOAL)
    assert task.num_asked < 200


def test_generation_tasks_are_asked_the_same_share_until_each_rouge_l_bucket_has_its_rows() -> None:
    rng = random.Random(1)
    values = {name: rng.choices(range(8), k=size) for name, size in (("short", 900), ("long", 3_600))}
    goal = replace(GOAL, generation_rows=500)
    tasks = ask(values, goal, kind=Kind.GENERATION)
    quotas, have = generation_quotas(tasks, goal)
    assert quotas == [200, 50, 50, 50, 50, 50, 50, 0]
    assert all(n >= 1.1 * quota for n, quota in zip(have, quotas, strict=True))
    shares = [t.num_asked / len(t.order) for t in tasks]
    assert max(shares) < 0.5
    assert max(shares) - min(shares) < 0.08


def test_fewer_rounds_ask_the_first_part_of_the_same_instances() -> None:
    values = planted([0.05, 0.3, 0.62, 0.9], 800, 3)
    part, whole = ask(values, GOAL, most=2), ask(values, GOAL)
    for a, b in zip(part, whole, strict=True):
        assert a.num_asked <= b.num_asked
        assert a.order == b.order


@pytest.mark.parametrize(("field", "value"), [("error", 0.0), ("slack", 0.5), ("least_yield", 0.0), ("rounds", 0)])
def test_a_parameter_outside_its_range_is_an_error(field: str, value: float) -> None:
    with pytest.raises(PredictionError, match=field):
        AdaptiveParameters(**{field: value})  # type: ignore[arg-type]


def test_prompts_without_an_answer_are_no_wrong_answers() -> None:
    """The score stage does not see them: the bucket must be the one that it will find."""
    task = TaskProgress(task="t", kind=Kind.EXACT_MATCH, order=[str(n) for n in range(1_000)])
    task.add(num_asked=64, num_refused=32, num_right=16, usable=[16], buckets=BUCKETS)
    assert task.bucket(BUCKETS) == bucket_of("t", Kind.EXACT_MATCH, [1.0] * 16 + [0.0] * 16, BUCKETS, 1_000).bucket
    task.add(num_asked=936, num_refused=936, num_right=0, usable=[0], buckets=BUCKETS)
    assert (task.bucket(BUCKETS), task.risk, task.num_left) == (5, 0.0, 0)
    silent = TaskProgress(task="t", kind=Kind.EXACT_MATCH, order=["a", "b"])
    for expected in (1.0, 0.0):
        silent.add(num_asked=1, num_refused=1, num_right=0, usable=[0], buckets=BUCKETS)
        assert (silent.bucket(BUCKETS), silent.risk) == (0, expected)
