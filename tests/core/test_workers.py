import multiprocessing
import os
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from core.errors import SourceError
from core.workers import default_workers, ordered_map


def build_factor(factor: int) -> int:
    return factor


def scaled_sum(factor: int, number: int) -> int:
    """Takes the longer, the larger the number: with several workers later items are ready before earlier ones."""
    return factor * sum(range(number))


def build_logged(folder: Path) -> str:
    """Leaves a file behind each time a tool is built."""
    name = f"{os.getpid()}-{uuid4().hex}"
    (folder / name).touch()
    return name


def built_by(tool: str, item: int) -> tuple[str, int]:
    return tool, os.getpid()


def refuse_three(factor: int, number: int) -> int:
    if number == 3:
        raise SourceError("item 3: cannot be used. Leave it out.")
    return factor * number


def build_refused(path: str) -> int:
    raise SourceError(f"{path}: no such file. Check the path.")


def counted(taken: list[int], num: int) -> Iterator[int]:
    for number in range(num):
        taken.append(number)
        yield number


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_results_stand_in_the_order_of_the_items_for_any_number_of_workers(workers: int) -> None:
    items = [400_000, 3, 200_000, 0, 1, 100_000, 2, 2, 50_000, 5, 4]
    found = list(ordered_map(scaled_sum, items, build=build_factor, spec=2, workers=workers))
    assert found == [n * (n - 1) for n in items]  # 2 * (0 + 1 + ... + n - 1)


@pytest.mark.parametrize("workers", [1, 2])
def test_no_items_give_no_results(workers: int) -> None:
    assert list(ordered_map(scaled_sum, [], build=build_factor, spec=2, workers=workers)) == []


@pytest.mark.parametrize(("workers", "most_held"), [(1, 1), (2, 4)])
def test_items_are_taken_as_they_are_needed(workers: int, most_held: int) -> None:
    taken: list[int] = []
    results = ordered_map(scaled_sum, counted(taken, 30), build=build_factor, spec=1, workers=workers)
    assert taken == []
    held = []
    for done, _ in enumerate(results):
        held.append(len(taken) - done)
    assert len(taken) == 30
    assert max(held) == most_held


@pytest.mark.parametrize("workers", [1, 2])
def test_each_process_builds_its_tool_once(tmp_path: Path, workers: int) -> None:
    found = list(ordered_map(built_by, range(12), build=build_logged, spec=tmp_path, workers=workers))
    built = {path.name for path in tmp_path.iterdir()}
    assert 1 <= len(built) <= workers
    assert {tool for tool, _ in found} <= built
    assert all(tool.startswith(f"{pid}-") for tool, pid in found)


def test_one_worker_is_this_process_and_two_are_others(tmp_path: Path) -> None:
    for workers, here in ((1, True), (2, False)):
        found = list(ordered_map(built_by, range(4), build=build_logged, spec=tmp_path, workers=workers))
        assert {pid == os.getpid() for _, pid in found} == {here}


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_of_the_work_comes_out_after_the_results_before_it(workers: int) -> None:
    results = ordered_map(refuse_three, range(6), build=build_factor, spec=10, workers=workers)
    assert [next(results) for _ in range(3)] == [0, 10, 20]
    with pytest.raises(SourceError, match="item 3: cannot be used"):
        next(results)
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_while_a_tool_is_built_comes_out_as_it_is(workers: int) -> None:
    with pytest.raises(SourceError, match=r"nowhere: no such file"):
        list(ordered_map(scaled_sum, [1, 2], build=build_refused, spec="nowhere", workers=workers))


def test_results_that_nobody_wants_end_the_workers() -> None:
    taken: list[int] = []
    results = ordered_map(scaled_sum, counted(taken, 1_000), build=build_factor, spec=1, workers=2)
    assert next(results) == 0
    results.close()  # type: ignore[attr-defined]
    assert len(taken) == 4
    assert multiprocessing.active_children() == []


def test_only_cores_that_this_process_may_use_are_counted() -> None:
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert default_workers() == 1
    finally:
        os.sched_setaffinity(0, before)
    assert default_workers() == len(before)
