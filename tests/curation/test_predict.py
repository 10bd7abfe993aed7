import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from curation.errors import PredictionError
from curation.predict import (
    SHARD_SIZE,
    PromptParameters,
    Request,
    build_requests,
    predict_all,
    read_predictions,
)
from curation.select import Kind
from curation.stage import Dropped
from curation.task import read_task

DATA = Path(__file__).parents[1] / "data" / "tasks"


class Echo:
    """Answers with the request's id; counts what it is asked and can die."""

    def __init__(self, *, dies_after: int | None = None, knows: set[str] | None = None) -> None:
        self.asked: list[str] = []
        self.dies_after, self.knows = dies_after, knows

    @property
    def revision(self) -> str:
        return "echo"

    def fits(self, prompt: str, max_new_tokens: int) -> bool:
        return True

    def complete(self, requests: Sequence[Request]) -> list[str | None]:
        if self.dies_after is not None and len(self.asked) >= self.dies_after:
            raise KeyboardInterrupt
        self.asked += [r.id for r in requests]
        return [r.id if self.knows is None or r.id in self.knows else None for r in requests]


def requests(num: int) -> list[Request]:
    return [
        Request(
            task="task1",
            id=f"i{n}",
            kind=Kind.EXACT_MATCH,
            prompt=f"prompt {n}",
            num_shots=0,
            references=("x",),
            max_new_tokens=4,
            stop=("\n\n",),
        )
        for n in range(num)
    ]


def test_a_second_run_asks_nothing(tmp_path: Path) -> None:
    path, many = tmp_path / "p.jsonl", requests(SHARD_SIZE + 5)
    predict_all(many, Echo(), path)
    second = Echo()
    predict_all(many, second, path)
    assert second.asked == []
    assert [p.prediction for p in read_predictions(path)] == [r.id for r in many]


def test_a_killed_run_resumes_without_asking_twice_and_ends_in_the_same_bytes(tmp_path: Path) -> None:
    many = requests(3 * SHARD_SIZE)
    predict_all(many, Echo(), tmp_path / "whole.jsonl")
    dying = Echo(dies_after=2 * SHARD_SIZE)
    with pytest.raises(KeyboardInterrupt):
        predict_all(many, dying, tmp_path / "killed.jsonl")
    resumed = Echo()
    predict_all(many, resumed, tmp_path / "killed.jsonl")
    assert resumed.asked == [r.id for r in many[2 * SHARD_SIZE :]]
    assert (tmp_path / "killed.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


@pytest.mark.parametrize("cut", [1, 40, 5_000])
def test_a_torn_tail_is_cut_off_and_its_shard_asked_again(tmp_path: Path, cut: int) -> None:
    many = requests(2 * SHARD_SIZE)
    path = tmp_path / "p.jsonl"
    predict_all(many, Echo(), path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    resumed = Echo()
    predict_all(many, resumed, path)
    assert path.read_bytes() == whole
    assert resumed.asked == [r.id for r in many[SHARD_SIZE:]]


def test_an_instance_without_an_answer_is_dropped_with_its_reason(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    for _ in range(2):  # the second time from what is stored
        asked = predict_all(requests(3), Echo(knows={"i0", "i2"}), path)
        assert [(d.id, d.reason) for d in asked.dropped] == [("i1", "no_stored_prediction")]
        assert asked.num_answered == len(list(read_predictions(path))) == 2


def test_an_unanswered_request_in_an_early_shard_costs_later_shards_nothing(tmp_path: Path) -> None:
    many, path = requests(3 * SHARD_SIZE), tmp_path / "p.jsonl"
    knows = {r.id for r in many} - {"i5"}
    predict_all(many, Echo(knows=knows), path)
    whole, second = path.read_bytes(), Echo(knows=knows)
    asked = predict_all(many, second, path)
    assert second.asked == []
    assert path.read_bytes() == whole
    assert asked.num_answered == len(list(read_predictions(path))) == 3 * SHARD_SIZE - 1


def test_the_same_question_of_two_tasks_is_asked_for_each(tmp_path: Path) -> None:
    many = requests(SHARD_SIZE)
    twins = [*many, *(replace(r, task="task2") for r in many)]
    path = tmp_path / "p.jsonl"
    predict_all(twins, Echo(), path)
    assert predict_all(twins, Echo(), path).num_answered == len(list(read_predictions(path))) == 2 * SHARD_SIZE


def test_a_key_changes_with_everything_that_decides_the_answer() -> None:
    one = requests(1)[0]
    others = [one.key("another"), requests(2)[1].key("echo")]
    assert one.key("echo") not in others
    assert one.key("echo") == requests(1)[0].key("echo")


def test_shots_are_given_up_one_by_one_until_the_prompt_fits() -> None:
    task = read_task(DATA / "task1_even_or_odd.json").task
    dropped: list[Dropped] = []

    def built(limit: int) -> list[int]:
        found = build_requests(
            task, Kind.EXACT_MATCH, task.instances[:1], PromptParameters(), lambda p, n: len(p) <= limit, dropped
        )
        return [r.num_shots for r in found]

    assert built(10_000) == [2]
    assert built(310) == [1]
    assert built(280) == [0]
    assert built(10) == []
    assert [d.reason for d in dropped] == ["prompt_too_long"]


def test_the_kind_decides_how_long_an_answer_may_be() -> None:
    task = read_task(DATA / "task2_shorten.json").task
    for kind, expected in ((Kind.EXACT_MATCH, 32), (Kind.GENERATION, 128)):
        found = list(build_requests(task, kind, task.instances[:1], PromptParameters(), lambda p, n: True, []))
        assert found[0].max_new_tokens == expected
        assert found[0].references == ("a small cat number 0", "small cat 0")


@pytest.mark.parametrize(
    "row",
    [
        {"id": "a", "references": ["x"], "prediction": "x"},
        {"task": "t", "references": ["x"], "prediction": "x"},
        {"task": "t", "id": "a", "references": [], "prediction": "x"},
        {"task": "t", "id": "a", "references": "x", "prediction": "x"},
        {"task": "t", "id": "a", "references": ["x"], "prediction": None},
        {"task": "t", "id": "a", "references": ["x"], "prediction": "x", "kind": "poetry"},
        {"task": "t", "id": "a", "references": ["x"], "prediction": "x", "shots": None},
        {"task": "t", "id": "a", "references": ["x"], "prediction": "x", "num_shots": "many"},
    ],
)
def test_a_record_that_lacks_something_is_told_with_its_number(tmp_path: Path, row: dict[str, object]) -> None:
    (tmp_path / "p.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(PredictionError, match="record 1"):
        list(read_predictions(tmp_path / "p.jsonl"))
