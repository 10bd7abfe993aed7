import json
from pathlib import Path

import pytest

from benchmarks.real.division import HELD_INSTANCES, HELD_TASKS, DivisionParameters, divide, read_tasks, write_division
from benchmarks.real.paired import difference
from benchmarks.real.selection import TOKENS, State, Unit, cut
from core.files import read_jsonl
from evaluation.held_out import held_out_questions

PARAMETERS = DivisionParameters(
    held_tasks=2,
    per_held_task=3,
    per_trained_task=2,
    pool_per_task=4,
    rest_share=0.5,
    validation_rows=2,
    longest_input=30,
)


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    """Six tasks, half of them scored by exact match; two inputs of each occur twice, and one is too long."""
    folder = tmp_path / "tasks"
    folder.mkdir()
    for number in range(6):
        answer = (
            (lambda n: ("yes", "no")[n % 2]) if number % 2 else (lambda n: f"It is a tale of {n} old and grey men.")
        )
        inputs = [f"input {n}" for n in range(20)] + ["input 0", "input 1", "x" * 31]
        document = {
            "Definition": ["Say yes or no."] if number % 2 else ["Write a story."],
            "Input_language": ["English"],
            "Positive Examples": [],
            "Instances": [{"id": f"i{n}", "input": text, "output": [answer(n)]} for n, text in enumerate(inputs)],
        }
        (folder / f"task{number}_a.json").write_text(json.dumps(document))
    return folder


def test_nothing_that_is_held_out_can_be_trained_on(tasks: Path, tmp_path: Path) -> None:
    write_division(divide(read_tasks(tasks), PARAMETERS), tmp_path / "data", tasks)
    questions = held_out_questions(tmp_path / "data" / "questions.jsonl", 1_000)
    trained = {
        name: [
            (path.stem, instance["input"])
            for path in sorted((tmp_path / "data" / name).glob("*.json"))
            for instance in json.loads(path.read_text())["Instances"]
        ]
        for name in ("pool", "rest")
    }
    asked = {(q.task, q.input) for q in questions}
    assert not asked & {*trained["pool"], *trained["rest"]}
    assert set(trained["pool"]) <= set(trained["rest"])
    assert {task for task, _ in trained["rest"]} == set((tmp_path / "data" / "tasks.txt").read_text().split())
    held = {q.task for q in questions if q.group == HELD_TASKS}
    assert len(held) == 2
    assert not held & {task for task, _ in trained["rest"]}
    assert len({q.task for q in questions if q.group == HELD_INSTANCES}) == 4
    assert len(questions) == 2 * 3 + 4 * 2
    validation = {(row["task"], row["input"]) for row in read_jsonl(tmp_path / "data" / "validation.jsonl")}
    assert not validation & {*trained["pool"], *trained["rest"], *asked}
    assert max(len(text) for _, text in trained["rest"]) <= 30


def test_a_difference_is_resampled_by_task() -> None:
    tasks = {f"{task}{n}": task for task in "abcdefgh" for n in range(5)}
    ours = {q: float(task in "abcdefg") for q, task in tasks.items()}  # one task decides, not its five questions
    theirs = dict.fromkeys(tasks, 0.5)
    found = difference([ours], [theirs], tasks)
    assert found is not None
    assert (found.value, found.num_tasks, found.num_questions) == (0.375, 8, 40)
    assert found.interval == (0.125, 0.5)
    assert found.verdict == "above"
    opposite = difference([theirs], [ours], tasks)
    assert opposite is not None
    assert opposite.verdict == "below"


def test_what_is_not_distinguished_says_how_many_tasks_would_distinguish_it() -> None:
    tasks = {f"q{n}": f"t{n}" for n in range(20)}
    ours = {q: float(n < 11) for n, q in enumerate(tasks)}
    found = difference([ours, ours], [dict.fromkeys(tasks, 0.5)] * 2, tasks)
    assert found is not None
    assert found.verdict == "not distinguished"
    assert found.by_seed == pytest.approx((0.05, 0.05))
    assert found.tasks_needed is not None
    assert 500 < found.tasks_needed < 1000  # (2.8 x 0.5 / 0.05)^2 = 784


def test_rows_are_cut_to_the_tokens_of_an_arm() -> None:
    rows = [{"instruction": "a", "input": "", "output": str(n)} for n in range(200)]
    sizes = {"0": 2_000}
    kept = cut(rows, lambda row: sizes.get(row["output"], 1_000))
    assert [row["output"] for row in kept] == [str(n) for n in range(1, 61)]
    assert TOKENS == 60 * 1_000


def test_a_finished_unit_is_not_done_again_and_one_of_other_inputs_is_refused(tmp_path: Path) -> None:
    state, done = State(tmp_path), list[str]()
    for inputs in ({"seed": 1}, {"seed": 1}):
        state.run(Unit(name="unit", inputs=inputs, work=lambda: done.append("done")))
    assert done == ["done"]
    with pytest.raises(SystemExit, match=r"unit\.json: made with other inputs \(seed\)"):
        state.run(Unit(name="unit", inputs={"seed": 2}, work=lambda: done.append("again")))
