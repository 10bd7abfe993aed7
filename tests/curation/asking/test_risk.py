import random
from math import comb

import pytest

from curation.asking.risk import best_gain, bucket_risk, bucket_starts
from curation.ni.bucket import BucketParameters, likeliest_right, task_bucket

BUCKETS = BucketParameters()


@pytest.mark.parametrize(("right", "asked", "population"), [(0, 64, 300), (20, 100, 900), (13, 64, 200), (64, 64, 300)])
def test_the_risk_is_the_posterior_outside_of_the_bucket(right: int, asked: int, population: int) -> None:
    bucket = task_bucket(likeliest_right(right, asked, population), population, BUCKETS)
    totals = range(right, population - (asked - right) + 1)
    ways = {k: comb(k, right) * comb(population - k, asked - right) for k in totals}
    outside = sum(n for k, n in ways.items() if task_bucket(k, population, BUCKETS) != bucket)
    assert bucket_risk(right, asked, population, BUCKETS) == pytest.approx(outside / sum(ways.values()), abs=2e-9)


def test_whoever_was_asked_everything_has_no_risk_and_whoever_was_asked_nothing_has_all() -> None:
    assert bucket_risk(20, 100, 100, BUCKETS) == 0
    assert bucket_risk(0, 0, 100, BUCKETS) == 1


def test_tasks_end_in_another_bucket_as_often_as_the_risk_says() -> None:
    rng, expected, differing = random.Random(5), 0.0, 0
    for _ in range(3_000):
        right_of_all = rng.randint(0, 2_000)
        right = sum(i < right_of_all for i in rng.sample(range(2_000), 300))
        expected += bucket_risk(right, 300, 2_000, BUCKETS)
        bucket = task_bucket(likeliest_right(right, 300, 2_000), 2_000, BUCKETS)
        differing += bucket != task_bucket(right_of_all, 2_000, BUCKETS)
    assert differing / 3_000 == pytest.approx(expected / 3_000, abs=0.025)  # three standard errors


def test_buckets_start_where_the_accuracy_reaches_an_edge() -> None:
    assert bucket_starts(10, BUCKETS) == (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11)
    assert bucket_starts(15, BUCKETS)[:4] == (0, 2, 3, 5)


def test_a_prompt_is_worth_less_the_more_was_asked_and_little_where_the_bucket_is_nearly_certain() -> None:
    def gain(right: int, asked: int) -> float:
        return best_gain(bucket_risk(right, asked, 6_000, BUCKETS), right, asked, 6_000, BUCKETS)

    assert gain(80, 400) > 3 * gain(400, 2_000) > 0  # both on an edge
    assert gain(100, 400) < gain(80, 400) / 10  # .25 is in the middle of a bucket
