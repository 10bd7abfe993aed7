from collections import Counter

import pytest

from curation.errors import MixError
from curation.mix import deduplicate, split, validation_size
from curation.source import MixRow


def row(number: int, task: str = "t", instruction: str = "Do it.", text: str | None = None) -> MixRow:
    return MixRow(
        id=f"{task}-{number}",
        source="ni_generation",
        task=task,
        licence="MIT",
        instruction=instruction,
        input=text if text is not None else f"input {task} {number}",
        output="x",
    )


def test_only_rows_with_instruction_and_input_alike_are_duplicates() -> None:
    rows = [row(1, text="same"), row(2, text="same"), row(3, text="same", instruction="Other.")]
    kept, dropped = deduplicate(rows)
    assert [r.id for r in kept] == ["t-1", "t-3"]
    assert [(d.id, d.reason, d.detail) for d in dropped] == [("t-2", "duplicate", "same as t-1")]


def test_validation_holds_every_task_in_proportion() -> None:
    rows = [row(n, f"t{n % 4}") for n in range(400)]
    train, validation = split(rows, validation_size=40, seed=1)
    assert Counter(r.task for r in validation) == {"t0": 10, "t1": 10, "t2": 10, "t3": 10}
    assert sorted(r.id for r in [*train, *validation]) == sorted(r.id for r in rows)


def test_a_split_depends_on_the_seed_and_not_on_the_order() -> None:
    rows = [row(n, f"t{n % 4}") for n in range(100)]
    assert split(rows, validation_size=10, seed=1) == split(rows[::-1], validation_size=10, seed=1)
    assert split(rows, validation_size=10, seed=1) != split(rows, validation_size=10, seed=2)


def test_more_tasks_than_validation_rows_are_stratified_by_source() -> None:
    train, validation = split([row(n, f"t{n}") for n in range(30)], validation_size=3, seed=1)
    assert (len(train), len(validation)) == (27, 3)


def test_a_mix_of_one_row_is_an_error() -> None:
    with pytest.raises(MixError, match="nothing to train on"):
        split([row(1)], validation_size=1, seed=1)


@pytest.mark.parametrize(
    ("num", "scale", "expected"), [(206_000, 1.0, 2_000), (2_000, 0.02, 64), (100, 0.01, 10), (2, 0.01, 1)]
)
def test_the_validation_part_scales(num: int, scale: float, expected: int) -> None:
    assert validation_size(num, scale) == expected
