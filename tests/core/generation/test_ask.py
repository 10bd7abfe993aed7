import json
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from core.errors import PredictionError
from core.generation.answer_store import AnswerStore
from core.generation.ask import ask
from core.generation.prediction import read_predictions
from core.generation.request import SHARD_SIZE, Answer, Kind, Refused, Request
from core.stage import Dropped
from curation.ni.few_shot import PromptParameters, build_requests
from curation.ni.task import read_task

DATA = Path(__file__).parents[2] / "data" / "tasks"


class Echo:
    """Answers with the request's id; counts what it is asked and can die."""

    keeps_answers = True

    def __init__(self, *, dies_after: int | None = None, knows: set[str] | None = None, in_flight: int = 1) -> None:
        self.asked: list[str] = []
        self.dies_after, self.knows, self.in_flight = dies_after, knows, in_flight

    @property
    def revision(self) -> str:
        return "echo"

    def fits(self, prompt: str, max_new_tokens: int) -> bool:
        return True

    def complete(self, requests: Sequence[Request]) -> list[Answer]:
        if self.dies_after is not None and len(self.asked) >= self.dies_after:
            raise KeyboardInterrupt
        self.asked += [r.id for r in requests]
        known = (self.knows is None or r.id in self.knows for r in requests)
        return [r.id if k else Refused(reason="unknown", detail=r.id) for r, k in zip(requests, known, strict=True)]


def requests(num: int) -> list[Request]:
    return [
        Request(
            task="task1",
            id=f"i{n}",
            kind=Kind.EXACT_MATCH,
            prompt=f"prompt {n}",
            num_shared=0,
            num_shots=0,
            references=("x",),
            max_new_tokens=4,
            stop=("\n\n",),
        )
        for n in range(num)
    ]


def answers(many: list[Request], engine: Echo, path: Path) -> list[Answer]:
    with AnswerStore(path) as store:
        found = list(ask(many, engine, store))
    assert [r.id for r, _, _ in found] == [r.id for r in many]
    return [answer for _, _, answer in found]


def test_a_second_run_asks_nothing(tmp_path: Path) -> None:
    path, many = tmp_path / "a.jsonl", requests(SHARD_SIZE + 5)
    first = answers(many, Echo(), path)
    second = Echo()
    assert answers(many, second, path) == first == [r.id for r in many]
    assert second.asked == []


@pytest.mark.parametrize("in_flight", [1, 3])
def test_a_killed_run_resumes_without_asking_twice(tmp_path: Path, in_flight: int) -> None:
    many, path = requests(5 * SHARD_SIZE), tmp_path / "a.jsonl"
    dying = Echo(dies_after=2 * SHARD_SIZE, in_flight=in_flight)
    with pytest.raises(KeyboardInterrupt):
        answers(many, dying, path)
    resumed = Echo(in_flight=in_flight)
    assert answers(many, resumed, path) == [r.id for r in many]
    assert not set(resumed.asked) & set(dying.asked)
    assert len(resumed.asked) + len(dying.asked) == len(many)


class InBatches(Echo):
    """Answers in batches of eight, from the end, as an engine that sorts by length; a kill comes between two."""

    def complete_batches(self, requests: Sequence[Request]) -> Iterator[dict[int, str]]:
        order = list(reversed(range(len(requests))))
        for start in range(0, len(order), 8):
            if self.dies_after is not None and len(self.asked) >= self.dies_after:
                raise KeyboardInterrupt
            batch = order[start : start + 8]
            self.asked += [requests[n].id for n in batch]
            yield {n: requests[n].id for n in batch}


def test_batches_are_stored_and_counted_before_their_shard_is_whole(tmp_path: Path) -> None:
    counted: list[int] = []
    with AnswerStore(tmp_path / "answers.jsonl") as store, pytest.raises(KeyboardInterrupt):
        list(ask(requests(60), InBatches(dies_after=24), store, on_answered=counted.append))
    assert counted == [8, 8, 8]
    echo = InBatches()
    with AnswerStore(tmp_path / "answers.jsonl") as store:
        assert len(store) == 24
        answers = [answer for _, _, answer in ask(requests(60), echo, store)]
    assert answers == [f"i{n}" for n in range(60)]
    assert sorted(echo.asked) == sorted(f"i{n}" for n in range(36)), "the 24 that were answered last are known"


@pytest.mark.parametrize("cut", [1, 40, 5_000])
def test_a_torn_tail_is_cut_off_and_its_shard_asked_again_whole(tmp_path: Path, cut: int) -> None:
    many, path = requests(2 * SHARD_SIZE), tmp_path / "a.jsonl"
    answers(many, Echo(), path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    resumed = Echo()
    answers(many, resumed, path)
    assert path.read_bytes() == whole
    assert resumed.asked == [r.id for r in many[SHARD_SIZE:]]


def test_several_shards_in_flight_come_back_in_order(tmp_path: Path) -> None:
    class Slow(Echo):
        def complete(self, given: Sequence[Request]) -> list[Answer]:
            time.sleep(random.Random(given[0].id).random() / 20)
            return super().complete(given)

    many = requests(9 * SHARD_SIZE + 3)
    assert answers(many, Slow(in_flight=4), tmp_path / "a.jsonl") == [r.id for r in many]


def test_when_one_of_several_shards_fails_the_others_are_kept(tmp_path: Path) -> None:
    class OneFails(Echo):
        def complete(self, given: Sequence[Request]) -> list[Answer]:
            if given[0].id == "i0":
                time.sleep(0.2)
                raise PredictionError("gone")
            return super().complete(given)

    many, path = requests(4 * SHARD_SIZE), tmp_path / "a.jsonl"
    failing = OneFails(in_flight=4)
    with pytest.raises(PredictionError, match="gone"):
        answers(many, failing, path)
    with AnswerStore(path) as store:
        assert len(store) == len(failing.asked) == 3 * SHARD_SIZE


def test_a_refusal_is_told_but_not_stored_so_that_it_is_asked_again(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    found = answers(requests(3), Echo(knows={"i0", "i2"}), path)
    assert found == ["i0", Refused(reason="unknown", detail="i1"), "i2"]
    mended = Echo()
    assert answers(requests(3), mended, path) == ["i0", "i1", "i2"]
    assert mended.asked == ["i1"]


def test_a_damaged_line_costs_its_own_shard_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    answers(requests(3 * SHARD_SIZE), Echo(), path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"?" + lines[0][1:] + b"".join(lines[1:]) + b'{"keys": ["torn')
    with AnswerStore(path) as store:
        assert (len(store), store.num_damaged) == (2 * SHARD_SIZE, 1)
    again = Echo()
    assert len(answers(requests(3 * SHARD_SIZE), again, path)) == 3 * SHARD_SIZE
    assert len(again.asked) == SHARD_SIZE


def test_equal_questions_are_asked_once_within_and_across_shards(tmp_path: Path) -> None:
    many = requests(SHARD_SIZE)
    twins = [*many, *(replace(r, task="task2") for r in many), many[0]]
    engine = Echo(in_flight=2)
    assert answers(twins, engine, tmp_path / "a.jsonl") == [r.id for r in twins]
    assert sorted(engine.asked) == sorted(r.id for r in many)


def test_without_a_store_every_instance_is_looked_up_by_itself() -> None:
    twins = [replace(requests(1)[0], id=name) for name in ("a", "b")]
    assert [answer for _, _, answer in ask(twins, Echo(), None)] == ["a", "b"]


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
            task, Kind.EXACT_MATCH, task.instances[:1], PromptParameters(), lambda p, n: len(p) <= limit, dropped.append
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
        found = list(build_requests(task, kind, task.instances[:1], PromptParameters(), lambda p, n: True, print))
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
