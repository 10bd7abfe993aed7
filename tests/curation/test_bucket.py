import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation.bucket import bucket_tasks, generation_bucket, task_bucket
from curation.score import Score
from curation.select import Kind


@pytest.mark.parametrize(
    ("value", "expected"), [(0.0, 0), (0.1999, 0), (0.2, 1), (0.3, 2), (0.75, 6), (0.7999, 6), (0.8, 7), (1.0, 7)]
)
def test_lower_edges_belong_to_the_bucket(value: float, expected: int) -> None:
    assert generation_bucket(value) == expected


def test_task_buckets_are_exact_in_whole_numbers() -> None:
    assert [task_bucket(n, 10) for n in range(11)] == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9]
    assert task_bucket(29, 100) == 2  # 0.29 * 10 is 2.9000000000000004 in floats


@given(st.integers(1, 500), st.data())
def test_a_task_bucket_holds_its_accuracy(num: int, data: st.DataObject) -> None:
    right = data.draw(st.integers(0, num))
    bucket = task_bucket(right, num)
    assert bucket == 9 or bucket * num <= 10 * right < (bucket + 1) * num


def test_tasks_are_bucketed_by_kind_and_sorted() -> None:
    scores = [Score(task="b", id=str(n), kind=Kind.EXACT_MATCH, score=float(n == 0)) for n in range(4)]
    scores += [Score(task="a", id=str(n), kind=Kind.GENERATION, score=n / 4) for n in range(5)]
    first, second = bucket_tasks(scores)
    assert (first.task, first.bucket, first.mean_score) == ("a", None, 0.5)
    assert first.histogram == (1, 1, 0, 0, 1, 0, 1, 1)
    assert (second.task, second.bucket, second.mean_score) == ("b", 2, 0.25)
