"""What the benchmark counts. The embeddings themselves are a package that the project does not need."""

from benchmarks.embedding_duplicates import by_task, judged


def test_a_dropped_row_is_judged_by_the_answer_of_the_row_that_stays() -> None:
    rows = [{"task": task, "input": "i", "answer": answer} for task, answer in ("ax", "ax", "ay", "bz", "bz")]
    assert by_task(rows) == {"a": [0, 1, 2], "b": [3, 4]}
    found = judged(rows, {"1": 0, "2": 0, "4": 3}, words={1})
    assert (found["dropped"], found["not_by_words"], found["same_answer"]) == (3, 2, 0.667)
    assert judged(rows, {}, words=set())["dropped"] == 0
