import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import MixError
from core.generation.request import Kind
from core.score import Score
from curation.ni.bucket import BucketParameters, bucket_tasks, generation_bucket, likeliest_right, task_bucket

USUAL = BucketParameters()


@pytest.mark.parametrize(
    ("value", "expected"), [(0.0, 0), (0.1999, 0), (0.2, 1), (0.3, 2), (0.75, 6), (0.7999, 6), (0.8, 7), (1.0, 7)]
)
def test_lower_edges_belong_to_the_bucket(value: float, expected: int) -> None:
    assert generation_bucket(value, USUAL) == expected


def test_task_buckets_are_exact_in_whole_numbers() -> None:
    assert [task_bucket(n, 10, USUAL) for n in range(11)] == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9]
    assert task_bucket(29, 100, USUAL) == 2  # 0.29 * 10 is 2.9000000000000004 in floats


@given(st.integers(1, 500), st.data())
def test_a_task_bucket_holds_its_accuracy(num: int, data: st.DataObject) -> None:
    right = data.draw(st.integers(0, num))
    bucket = task_bucket(right, num, USUAL)
    assert bucket == 9 or bucket * num <= 10 * right < (bucket + 1) * num


def test_tasks_are_bucketed_by_kind_and_sorted() -> None:
    scores = [Score(task="b", id=str(n), kind=Kind.EXACT_MATCH, score=float(n == 0)) for n in range(4)]
    scores += [Score(task="a", id=str(n), kind=Kind.GENERATION, score=n / 4) for n in range(5)]
    first, second = bucket_tasks(scores, USUAL)
    assert (first.task, first.bucket, first.mean_score) == ("a", None, 0.5)
    assert first.histogram == (1, 1, 0, 0, 1, 0, 1, 1)
    assert (second.task, second.bucket, second.mean_score) == ("b", 2, 0.25)


def test_the_paper_puts_an_edge_into_the_bucket_below() -> None:
    paper = BucketParameters(edge_below=True)
    assert [generation_bucket(v, paper) for v in (0.0, 0.2, 0.201, 0.8, 0.81)] == [0, 0, 1, 6, 7]


@pytest.mark.parametrize("edges", [(0.2, 0.2), (0.3, 0.2), (0.0, 0.5), (0.5, 1.5)])
def test_edges_that_do_not_rise_inside_the_range_are_an_error(edges: tuple[float, ...]) -> None:
    with pytest.raises(MixError, match="rouge_edges"):
        BucketParameters(rouge_edges=edges)


@given(st.integers(1, 60), st.data())
def test_the_likeliest_total_is_the_mode_of_the_hypergeometric(population: int, data: st.DataObject) -> None:
    asked = data.draw(st.integers(1, population))
    right = data.draw(st.integers(0, asked))

    def ways(total: int) -> int:
        return math.comb(total, right) * math.comb(population - total, asked - right)

    found = likeliest_right(right, asked, population)
    assert ways(found) == max(map(ways, range(population + 1)))


def test_a_task_asked_in_part_has_the_bucket_of_its_likeliest_total() -> None:
    scores = [Score(task="a", id=str(n), kind=Kind.EXACT_MATCH, score=float(n < 3)) for n in range(10)]
    assert bucket_tasks(scores, USUAL)[0].bucket == 3
    assert bucket_tasks(scores, USUAL, {"a": 99})[0].bucket == task_bucket(30, 99, USUAL)
