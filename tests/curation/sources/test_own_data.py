import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from core.errors import StageError, TaskError
from core.files import read_jsonl
from core.stage import Stage
from curation.ni.select import OWN_DATA
from curation.ni.task import Example, Task, read_task, task_paths
from curation.sources.own_data import is_own, own_stage, write_tasks
from curation.sources.own_row import OwnRow


def chat(*turns: tuple[str, str]) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": content} for role, content in turns]}


def own(line: int, instruction: str, given: str = "", output: str = "o", **changes: Any) -> OwnRow:
    fields = {"id": f"line-{line}", "licence": "Unknown", "language": "en", **changes}
    return OwnRow(number=line, instruction=instruction, input=given, outputs=(output,), **fields)


def doubles(num: int, first: int = 1, instruction: str = "Double it.") -> list[OwnRow]:
    return [own(line, instruction, str(line), str(2 * line)) for line in range(first, first + num)]


def written(tmp_path: Path, rows: Sequence[OwnRow], seed: int = 1) -> dict[str, Task]:
    """Every task of a file `mine.jsonl`, by name; nothing of it may be refused when it is read."""
    write_tasks("mine", rows, tmp_path, seed=seed)
    files = [read_task(path) for path in task_paths([tmp_path])]
    assert [file.dropped for file in files] == [()] * len(files)
    return {file.task.name: file.task for file in files}


def lines(path: Path, records: Iterable[Any]) -> Path:
    path.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in records))
    return path


# -- tasks


def test_eight_rows_of_one_instruction_are_a_task_with_three_examples(tmp_path: Path) -> None:
    rows = doubles(8)
    (task,) = written(tmp_path, rows).values()
    assert (task.name, task.definition) == ("own_mine_001", "Double it.")
    assert (task.categories, task.languages, task.licences) == ((OWN_DATA, "mine"), ("English",), ("Unknown",))
    assert len(task.positive_examples) == 3
    assert [instance.instruction for instance in task.instances] == [""] * 5
    asked = [Example(input=instance.input, output=instance.outputs[0]) for instance in task.instances]
    told = [Example(input=row.input, output=row.outputs[0]) for row in rows]
    assert Counter([*asked, *task.positive_examples]) == Counter(told)


def test_seven_rows_of_one_instruction_are_asked_one_by_one(tmp_path: Path) -> None:
    (task,) = written(tmp_path, doubles(7)).values()
    assert (task.name, task.positive_examples) == ("own_mine_mixed", ())
    assert [(i.id, i.instruction, i.input, i.outputs) for i in task.instances[:2]] == [
        ("mine-line-1", "Double it.", "1", ("2",)),
        ("mine-line-2", "Double it.", "2", ("4",)),
    ]
    assert len(task.instances) == 7


def test_rows_without_input_are_mixed_however_many_share_an_instruction(tmp_path: Path) -> None:
    (task,) = written(tmp_path, [own(line, "Tell a joke.") for line in range(1, 21)]).values()
    assert (task.name, len(task.instances)) == ("own_mine_mixed", 20)


def test_what_is_no_group_stands_in_one_mixed_task_in_the_order_of_the_file(tmp_path: Path) -> None:
    rows = [*doubles(2, instruction="Z"), own(3, "alone"), *doubles(9, first=4), *doubles(1, first=13, instruction="A")]
    tasks = written(tmp_path, rows)
    assert list(tasks) == ["own_mine_001", "own_mine_mixed"]
    mixed = [instance.id for instance in tasks["own_mine_mixed"].instances]
    assert mixed == ["mine-line-1", "mine-line-2", "mine-line-3", "mine-line-13"]


def test_each_group_is_a_task_of_its_own(tmp_path: Path) -> None:
    tasks = written(tmp_path, [*doubles(8, instruction="B"), *doubles(9, first=9, instruction="A")])
    assert {name: (task.definition, len(task.instances)) for name, task in tasks.items()} == {
        "own_mine_001": ("A", 6),
        "own_mine_002": ("B", 5),
    }


def test_a_blank_input_is_no_input_of_a_group(tmp_path: Path) -> None:
    rows = [*doubles(8), own(9, "Double it.", " ", "nothing to double")]
    tasks = written(tmp_path, rows)
    assert [instance.id for instance in tasks["own_mine_mixed"].instances] == ["mine-line-9"]


def test_a_row_of_another_licence_or_language_does_not_taint_the_others(tmp_path: Path) -> None:
    rows = [
        own(1, "a", licence="MIT", language="fr"),
        own(2, "b", licence="CC BY-NC 4.0", language="it"),
        OwnRow(id="x", number=3, instruction="c", input="", outputs=("1", "2"), licence="MIT", language="en"),
    ]
    tasks = written(tmp_path, rows)
    assert {name: (t.licences, t.languages, [i.outputs for i in t.instances]) for name, t in tasks.items()} == {
        "own_mine_mixed_CC_BY_NC_4_0_it": (("CC BY-NC 4.0",), ("Italian",), [("o",)]),
        "own_mine_mixed_MIT_en": (("MIT",), ("English",), [("1", "2")]),
        "own_mine_mixed_MIT_fr": (("MIT",), ("French",), [("o",)]),
    }


def test_kept_and_examples_together_are_the_rows(tmp_path: Path) -> None:
    rows = [*doubles(8), own(9, "alone")]
    kept, examples = write_tasks("mine", rows, tmp_path, seed=1)
    assert (kept, len(examples)) == (6, 3)
    instances = {i.id for path in task_paths([tmp_path]) for i in read_task(path).task.instances}
    assert instances | {f"mine-{row.id}" for row in examples} == {f"mine-{row.id}" for row in rows}
    assert len(instances) == kept


def test_the_seed_draws_the_examples(tmp_path: Path) -> None:
    drawn = [
        [row.number for row in write_tasks("mine", doubles(30), tmp_path / str(n), seed=seed)[1]]
        for n, seed in enumerate((1, 1, 2))
    ]
    assert drawn[0] == drawn[1] != drawn[2]
    first, second = (tmp_path / n / "own_mine_001.json" for n in ("0", "1"))
    assert first.read_bytes() == second.read_bytes()


# -- the stage

EXAMPLES = Path(__file__).parents[2] / "data" / "examples"

ALONE = {"instruction": "Name a colour.", "output": "red"}


def records_of(path: Path) -> list[Any]:
    """Ten of one instruction, two alone, four bad ones."""
    tens = [{"instruction": "Double it.", "input": str(n), "output": str(2 * n)} for n in range(10)]
    bad = ["{", {"instruction": "i"}, {"instruction": "i", "output": " "}, ALONE | {"id": "a"}]
    return [*tens, ALONE | {"id": "a"}, chat(("user", path.stem), ("assistant", "y")), *bad]


def stage_of(tmp_path: Path, *names: str, seed: int = 1, run: str = "run", redo: bool = False) -> Stage:
    paths = [tmp_path / name for name in names]
    return own_stage(tmp_path / run, paths, seed=seed, redo=redo)


def test_every_row_of_every_file_is_kept_or_dropped_with_its_reason(tmp_path: Path) -> None:
    for name in ("b.jsonl", "a.jsonl"):
        lines(tmp_path / name, records_of(tmp_path / name))
    stage = stage_of(tmp_path, "b.jsonl", "a.jsonl")
    tally = stage.summary().tallies["row"]
    assert (tally.read, tally.kept) == (32, 18)
    assert tally.dropped == {"malformed": 4, "empty_output": 2, "duplicate_id": 2, "used_as_example": 6}
    dropped = list(read_jsonl(stage.path("dropped.jsonl")))
    assert len(dropped) == 14
    assert [(d["id"], d["reason"], d["source"]) for d in dropped if d["reason"] == "empty_output"] == [
        (f"{tmp_path / name}:15", "empty_output", str(tmp_path / name)) for name in ("a.jsonl", "b.jsonl")
    ]


def test_what_the_stage_writes_is_read_as_tasks_with_ids_of_their_own(tmp_path: Path) -> None:
    for name in ("a.jsonl", "b.jsonl"):
        lines(tmp_path / name, records_of(tmp_path / name))
    stage = stage_of(tmp_path, "a.jsonl", "b.jsonl")
    paths = list(task_paths([stage.path("tasks")]))
    assert [path.stem for path in paths] == ["own_a_001", "own_a_mixed", "own_b_001", "own_b_mixed"]
    files = [read_task(path) for path in paths]
    ids = [instance.id for file in files for instance in file.task.instances]
    assert len(ids) == len(set(ids)) == stage.summary().tallies["row"].kept
    assert [file.dropped for file in files] == [()] * 4


def test_the_stage_is_a_folder_that_tasks_could_have_named(tmp_path: Path) -> None:
    lines(tmp_path / "a.jsonl", [ALONE])
    stage = stage_of(tmp_path, "a.jsonl")
    assert [read_task(path).task.name for path in task_paths([stage.path("tasks")])] == ["own_a_mixed"]


def bytes_of(stage: Stage) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(stage.directory.rglob("*.json*")) if p.name != "done.json"}


def test_the_order_of_the_files_does_not_matter(tmp_path: Path) -> None:
    for name in ("a.jsonl", "b.jsonl"):
        lines(tmp_path / name, records_of(tmp_path / name))
    there = bytes_of(stage_of(tmp_path, "a.jsonl", "b.jsonl", run="1"))
    back = bytes_of(stage_of(tmp_path, "b.jsonl", "a.jsonl", run="2"))
    assert there == back


def test_a_done_stage_is_taken_as_it_is_and_a_changed_file_is_refused(tmp_path: Path) -> None:
    file = lines(tmp_path / "a.jsonl", [ALONE])
    stage_of(tmp_path, "a.jsonl")
    assert stage_of(tmp_path, "a.jsonl").is_done
    lines(file, [ALONE, ALONE])
    with pytest.raises(StageError, match=r"files\.a: "):
        stage_of(tmp_path, "a.jsonl")
    assert stage_of(tmp_path, "a.jsonl", redo=True).summary().tallies["row"].kept == 2


def test_another_seed_is_another_stage(tmp_path: Path) -> None:
    lines(tmp_path / "a.jsonl", [ALONE])
    stage_of(tmp_path, "a.jsonl", seed=1)
    with pytest.raises(StageError, match="seed: 1 -> 2"):
        stage_of(tmp_path, "a.jsonl", seed=2)


def test_a_file_without_a_usable_row_is_refused_and_bars_nothing(tmp_path: Path) -> None:
    file = lines(tmp_path / "a.jsonl", ["{"])
    with pytest.raises(TaskError, match=r"a\.jsonl: no usable row \(1 malformed: not JSON .*`oneday check "):
        stage_of(tmp_path, "a.jsonl")
    lines(file, [ALONE])
    assert stage_of(tmp_path, "a.jsonl", redo=True).is_done


def test_two_files_that_would_have_one_name_are_refused(tmp_path: Path) -> None:
    for name in ("x-1.jsonl", "x_1.jsonl"):
        lines(tmp_path / name, [ALONE])
    with pytest.raises(TaskError, match="the same name"):
        stage_of(tmp_path, "x-1.jsonl", "x_1.jsonl")


# -- more than JSON lines


def test_a_folder_is_one_source_whose_files_may_use_an_id_again(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    for name in ("a.jsonl", "b.jsonl"):
        lines(tmp_path / "mine" / name, [{"id": "1", "instruction": f"Say {name}.", "output": "y"}])
    stage = stage_of(tmp_path, "mine")
    (file,) = [read_task(path) for path in task_paths([stage.path("tasks")])]
    assert file.task.categories == (OWN_DATA, "mine")
    assert [instance.id for instance in file.task.instances] == ["mine-a.jsonl:1", "mine-b.jsonl:1"]


def test_a_changed_file_of_a_folder_is_another_input(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    for name in ("a.jsonl", "b.jsonl"):
        lines(tmp_path / "mine" / name, [{"instruction": f"Say {name}.", "output": "y"}])
    stage_of(tmp_path, "mine")
    lines(tmp_path / "mine" / "b.jsonl", [ALONE])
    with pytest.raises(StageError, match=r"files\.mine: "):
        stage_of(tmp_path, "mine")


@pytest.mark.parametrize("name", ["alpaca.parquet", "alpaca.csv", "alpaca.zip", "saved", "alpaca.jsonl.zst"])
def test_every_kind_of_file_gives_the_same_rows(tmp_path: Path, name: str) -> None:
    stage = own_stage(tmp_path, [EXAMPLES / name], seed=1, redo=False)
    (file,) = [read_task(path) for path in task_paths([stage.path("tasks")])]
    first = file.task.instances[0]
    assert (first.instruction, first.input, first.outputs) == ("Name the colour.", "a rose", ("red",))
    assert len(file.task.instances) == 4


def test_what_is_asked_of_conversations_is_said_in_one_line_a_file(tmp_path: Path) -> None:
    paths = [EXAMPLES / "messages_multiturn.jsonl", EXAMPLES / "alpaca.csv"]
    stage = own_stage(tmp_path, paths, seed=1, redo=False)
    assert stage.summary().details["told"] == [
        f"{paths[1]}: layout alpaca (4)",
        f"{paths[0]}: layout messages (4)",
        f"{paths[0]}: 4 of 4 rows are conversations: the last answer of each is asked, with the turns before it, and "
        "all its answers are trained, in the base's chat template",
    ]


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("alpaca.csv", True), ("alpaca_array.json", True), ("folder", True), ("saved", True),
        ("task1_colours.json", False), ("gone.jsonl", True), ("gone.json", False), ("gone", False),
    ],
)  # fmt: skip
def test_own_data_is_told_from_task_files(name: str, is_one: bool) -> None:
    assert is_own(EXAMPLES / name) is is_one


def test_a_folder_of_task_files_is_none_of_own_data() -> None:
    assert not is_own(EXAMPLES.parent / "tasks")
    assert not is_own(EXAMPLES), "it holds a task file"
    assert not is_own(EXAMPLES.parent), "a folder in it holds task files"
    assert is_own(Path("owner/name"))
