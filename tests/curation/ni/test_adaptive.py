import math
import random
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import PredictionError
from curation.ni.adaptive import AdaptiveParameters, Progress, ask_adaptively, is_certain, likely_totals, shuffled
from curation.ni.bucket import BucketParameters, task_bucket
from curation.sample import Quota, SampleParameters

BUCKETS = BucketParameters()


@given(st.integers(1, 80), st.data())
def test_totals_that_are_not_ruled_out_are_those_above_the_bar(population: int, data: st.DataObject) -> None:
    asked = data.draw(st.integers(1, population))
    right = data.draw(st.integers(0, asked))

    def probability(total: int) -> float:
        ways = math.comb(total, right) * math.comb(population - total, asked - right)
        return ways / math.comb(population, asked)

    bar = 0.05 / (asked + 1)
    stays = [total for total in range(population + 1) if probability(total) > bar * (1 + 1e-9)]
    low, high = likely_totals(right, asked, population, 0.05)
    assert low <= stays[0]
    assert high >= stays[-1]
    assert all(probability(total) >= bar * (1 - 1e-9) for total in range(low, high + 1))


def test_whoever_was_asked_everything_is_known_exactly() -> None:
    assert likely_totals(3, 10, 10, 0.05) == (3, 3)
    assert likely_totals(0, 0, 10, 0.05) == (0, 10)


def test_the_true_total_is_ruled_out_at_any_look_in_at_most_the_stated_share_of_runs() -> None:
    rng, error, ruled_out, runs = random.Random(1), 0.2, 0, 400
    for _ in range(runs):
        population, total = 200, rng.randrange(201)
        answers = [True] * total + [False] * (population - total)
        rng.shuffle(answers)
        right = 0
        for asked, answer in enumerate(answers, start=1):  # a look after each single answer
            right += answer
            low, high = likely_totals(right, asked, population, error)
            if not low <= total <= high:
                ruled_out += 1
                break
    assert ruled_out / runs <= error


def test_a_task_that_is_always_wrong_is_certain_early_and_one_on_an_edge_is_not() -> None:
    def certain(right: int, asked: int) -> bool:
        return is_certain(num_right=right, num_asked=asked, population=3_000, parameters=BUCKETS, error=0.05)

    assert certain(0, 128)
    assert not certain(0, 40)
    assert not certain(200, 1_000)  # .2 to the letter


def replayed(answers: Mapping[str, Mapping[str, bool]], asked: list[str]) -> object:
    def look(chunks: Mapping[str, Sequence[str]]) -> dict[str, list[tuple[bool, bool]]]:
        asked.extend(i for ids in chunks.values() for i in ids)
        return {task: [(answers[task][i], True) for i in ids] for task, ids in chunks.items()}

    return look


def planted(accuracies: Mapping[str, float], num: int, seed: int) -> dict[str, dict[str, bool]]:
    rng = random.Random(seed)
    return {task: {f"{task}-{n}": rng.random() < p for n in range(num)} for task, p in accuracies.items()}


def test_buckets_equal_the_full_runs_within_the_bound_and_less_is_asked() -> None:
    parameters, wrong, pairs, saved, total = AdaptiveParameters(error=0.1), 0, 0, 0, 0
    for seed in range(40):
        accuracies = {f"t{n}": p for n, p in enumerate((0.0, 0.04, 0.15, 0.55, 0.93))}
        answers = planted(accuracies, 1_200, seed)
        tasks = [Progress(task=t, order=shuffled(list(ids), seed=seed, task=t)) for t, ids in answers.items()]
        asked: list[str] = []
        look = replayed(answers, asked)
        list(
            ask_adaptively(
                tasks, look, target=200, samples=SampleParameters(), buckets=BUCKETS, parameters=parameters  # type: ignore[arg-type]
            )
        )  # fmt: skip
        assert len(asked) == len(set(asked)) == sum(t.num_asked for t in tasks)
        for t in tasks:
            full = task_bucket(sum(answers[t.task].values()), 1_200, BUCKETS)
            wrong += t.bucket(BUCKETS) != full
            pairs += 1
        saved += 6_000 - len(asked)
        total += 6_000
    assert wrong / pairs <= parameters.error
    assert saved / total > 0.2


def test_a_task_is_asked_until_its_quota_is_filled_too() -> None:
    answers = planted({"hard": 0.0}, 2_000, seed=1)
    for target, least in ((10, 0), (900, 990)):
        tasks = [Progress(task="hard", order=list(answers["hard"]))]
        look = replayed(answers, [])
        samples = SampleParameters()
        list(
            ask_adaptively(
                tasks, look, target=target, samples=samples, buckets=BUCKETS, parameters=AdaptiveParameters()  # type: ignore[arg-type]
            )
        )  # fmt: skip
        assert tasks[0].num_usable >= least
        assert tasks[0].num_asked < 2_000


def test_quotas_per_bucket_are_those_of_the_scripts() -> None:
    answers = planted({"hard": 0.0}, 2_000, seed=1)
    tasks = [Progress(task="hard", order=list(answers["hard"]))]
    samples = SampleParameters(quota=Quota.PER_BUCKET, quota_factor=2)
    look = replayed(answers, [])
    list(
        ask_adaptively(
            tasks, look, target=0, samples=samples, buckets=BUCKETS, parameters=AdaptiveParameters()  # type: ignore[arg-type]
        )
    )  # fmt: skip
    assert 770 <= tasks[0].num_asked < 1_000  # 2 * 350 rows, and a tenth more


def test_a_bound_outside_its_range_is_an_error() -> None:
    with pytest.raises(PredictionError, match="error"):
        AdaptiveParameters(error=0.0)
    with pytest.raises(PredictionError, match="slack"):
        AdaptiveParameters(slack=0.5)
