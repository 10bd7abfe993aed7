import json
from pathlib import Path
from typing import Any

import pytest

from core.errors import TaskError
from curation.check import Checked, Problem, check
from curation.ni.task import read_task
from curation.sources.own_data import BadRow, read_own

DATA = Path(__file__).parents[1] / "data" / "tasks"

HEADER = """{
 "Definition": ["Say it."],
 "Categories": ["Text Categorization"],
 "Input_language": ["English"],
 "Instance License": ["MIT"],
 "Positive Examples": [{"input": "1", "output": "one"}],
 "Instances": [
"""
"""The first instance stands in line 8."""
FIRST = 8


def task(folder: Path, *instances: Any, header: str = HEADER, name: str = "task1_x.json") -> Path:
    """A task file with one instance a line."""
    items = ",\n".join(item if isinstance(item, str) else json.dumps(item) for item in instances)
    path = folder / name
    path.write_text(f"{header}{items}\n ]\n}}\n")
    return path


def good(name: str) -> dict[str, Any]:
    return {"id": name, "input": "x", "output": ["y"]}


def lines(path: Path, *records: Any) -> Path:
    path.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in records))
    return path


def only(path: Path) -> Checked:
    (checked,) = check(path)
    assert checked.path == path
    return checked


def found(path: Path) -> list[tuple[int, str]]:
    checked = only(path)
    assert {problem.path for problem in checked.problems} <= {path}
    return [(problem.line, problem.what) for problem in checked.problems]


# -- task files


@pytest.mark.parametrize("name", ["task1_even_or_odd", "task2_shorten"])
def test_a_good_task_has_no_problem(name: str) -> None:
    path = DATA / f"{name}.json"
    assert only(path) == Checked(path=path, num_records=read_task(path).num_read, problems=())


@pytest.mark.parametrize(
    ("item", "what"),
    [
        ({"id": "a", "output": ["y"]}, "instance a is no instance: it needs `input`"),
        ({"id": "a", "input": "x"}, "instance a is no instance"),
        ({"id": "a", "input": "x", "output": [3]}, "instance a is no instance"),
        ({"input": 5, "output": "y"}, "instance task1_x-1 is no instance"),
        ("5", "instance task1_x-1 is no instance"),
        ("null", "instance task1_x-1 is no instance"),
        ({"id": "a", "input": "x", "output": []}, "instance a has no answer"),
        ({"input": "x", "output": [" "]}, "instance task1_x-1 has no answer"),
        ({"id": "a", "input": " ", "output": ["y"]}, "instance a has an empty input"),
        ({"id": "a", "input": "\ud83d", "output": ["y"]}, "instance a holds a lone surrogate"),
        ({"id": "good", "input": "other", "output": ["y"]}, "instance good repeats an id"),
    ],
)
def test_a_bad_instance_is_named_with_its_line(tmp_path: Path, item: Any, what: str) -> None:
    path = task(tmp_path, good("good"), item, good("z"))
    ((line, said),) = found(path)
    assert line == FIRST + 1
    assert said.startswith(what)
    assert only(path).num_records == 3


def test_an_instance_of_several_lines_is_named_by_its_first(tmp_path: Path) -> None:
    long = '  {\n   "id": "a",\n   "input": "x]}",\n   "output": [\n    "y"\n   ]\n  }'
    bad = '\n\n  {\n   "id": "b",\n   "input": "x",\n   "output": []\n  }'
    # 8 to 14: a; 15, 16: blank; 17 to 21: b; 22: c; 23: d
    path = task(tmp_path, long, bad, {"id": "c", "output": "y"}, good("d"))
    assert [(line, what[:10]) for line, what in found(path)] == [(FIRST + 9, "instance b"), (FIRST + 14, "instance c")]


def test_every_bad_instance_is_named_in_the_order_of_the_file(tmp_path: Path) -> None:
    items = [good("a"), good("a"), {"id": "b"}, good("c"), {"id": "d", "input": "x", "output": ""}, good("a"), "7"]
    path = task(tmp_path, *items)
    assert [(line, what.split(":")[0]) for line, what in found(path)] == [
        (FIRST + 1, "instance a repeats an id"),
        (FIRST + 2, "instance b is no instance"),
        (FIRST + 4, "instance d has no answer"),
        (FIRST + 5, "instance a repeats an id"),
        (FIRST + 6, "instance task1_x-6 is no instance"),
    ]


def test_lines_are_counted_alike_with_windows_line_ends(tmp_path: Path) -> None:
    path = task(tmp_path, good("a"), {"id": "b"})
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert [line for line, _ in found(path)] == [FIRST + 1]


def test_a_text_that_looks_like_the_list_of_instances_misleads_nobody(tmp_path: Path) -> None:
    header = HEADER.replace("Say it.", r"Say \"Instances\": [ and stop.")
    assert [line for line, _ in found(task(tmp_path, good("a"), {"id": "b"}, header=header))] == [FIRST + 1]


@pytest.mark.parametrize(
    ("items", "bad"),
    [
        ([{**good("a"), "output": []}, good("a")], [0]),
        ([{**good("a"), "output": []}, good("a"), good("a")], [0, 2]),
        ([{"id": "a"}, good("a"), good("a")], [0, 2]),
    ],
)
def test_an_instance_that_is_kept_is_not_blamed_for_another_of_its_id(
    tmp_path: Path, items: list[Any], bad: list[int]
) -> None:
    path = task(tmp_path, *items)
    assert len(read_task(path).dropped) == len(bad)
    assert [line for line, _ in found(path)] == [FIRST + index for index in bad]


def test_an_id_with_a_lone_surrogate_can_be_printed(tmp_path: Path) -> None:
    path = task(tmp_path, good("a"), {**good("\ud83d")})
    (problem,) = only(path).problems
    assert problem.line == FIRST + 1
    assert str(problem).encode()


@pytest.mark.parametrize(
    ("old", "new", "line", "what"),
    [
        ('"one"', "5", 6, "has no usable example: asked without shots"),
        ('[{"input": "1", "output": "one"}]', "[]", 6, "has no usable example: asked without shots"),
        ('"Positive Examples"', '"Examples"', 0, "has no usable example: asked without shots"),
        ('["English"]', "[]", 0, "names no language: the rules leave it out"),
        ('["Text Categorization"]', "[]", 0, "names no category: the rules leave it out"),
        ('["MIT"]', '["CC BY-NC 4.0"]', 5, "licence CC BY-NC 4.0 is non-commercial"),
        ('["MIT"]', '["MIT", "Unknown"]', 5, "licence MIT, Unknown is unknown"),
        ('"Instance License"', '"License"', 0, "licence none is unknown"),
    ],
)
def test_what_a_header_lacks_is_named_with_its_line(tmp_path: Path, old: str, new: str, line: int, what: str) -> None:
    assert old in HEADER
    path = task(tmp_path, good("a"), header=HEADER.replace(old, new))
    assert found(path) == [(line, what)]


def test_the_problems_of_a_header_come_before_those_of_its_instances(tmp_path: Path) -> None:
    header = HEADER.replace("MIT", "Unknown").replace('"one"', "5")
    assert [line for line, _ in found(task(tmp_path, {"id": "a"}, header=header))] == [6, 5, FIRST]


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ('{\n "Definition": ["x"],\n "Instances": [,]\n}', 3, "not JSON ("),
        ("[]", 0, "a JSON list, not an NI task"),
        ('{"Definition": []}', 0, "lacks `Definition`"),
        ('{"Definition": ["x"], "Instances": []}', 0, "lacks `Instances`"),
        ("[" * 100_000, 0, "not JSON ("),
    ],
)
def test_a_file_that_is_no_task_is_one_problem(tmp_path: Path, text: str, line: int, what: str) -> None:
    path = tmp_path / "task1_x.json"
    path.write_text(text)
    ((where, said),) = found(path)
    assert (where, said[: len(what)]) == (line, what)
    assert only(path).num_records == 0


def test_a_file_of_bytes_that_are_no_text_is_one_problem(tmp_path: Path) -> None:
    path = tmp_path / "task1_x.json"
    path.write_bytes(b'{"Definition": ["\xff\xfe"]}')
    ((line, said),) = found(path)
    assert (line, said[:8]) == (0, "not JSON")


def test_nan_in_a_header_is_no_problem_of_its_instances(tmp_path: Path) -> None:
    header = HEADER.replace('"Definition"', '"URL": [NaN],\n "Definition"')
    assert [line for line, _ in found(task(tmp_path, good("a"), {"id": "b"}, header=header))] == [FIRST + 2]


@pytest.mark.parametrize(
    ("name", "num"),
    [
        ("task388_torque_token_classification", 3),
        ("task511_reddit_tifu_long_text_summarization", 6),
        ("task924_event2mind_word_generation", 2),
    ],
)
def test_the_bad_instances_of_the_real_files_stand_where_they_are_said_to(real_data: Path, name: str, num: int) -> None:
    path = real_data / "natural-instructions" / "tasks" / f"{name}.json"
    if not path.is_file():
        pytest.skip(f"{name} is not among the reduced files")
    text = path.read_text(encoding="utf-8").split("\n")
    named = [problem for problem in only(path).problems if problem.what.startswith("instance ")]
    assert len(named) == num
    for problem in named:
        item, _ = json.JSONDecoder().raw_decode("\n".join(text[problem.line - 1 :]).strip())
        assert problem.what == f"instance {item['id']} has no answer"
        assert not any(output.strip() for output in item["output"])


# -- own data


def test_every_bad_line_of_own_data_is_named(tmp_path: Path) -> None:
    fine = {"id": "a", "instruction": "i", "output": "y"}
    path = lines(
        tmp_path / "mine.jsonl",
        fine,
        "{",
        "",
        [1],
        {"output": "y"},
        fine | {"id": "b", "output": " "},
        fine,
        {"messages": [{"role": "user", "content": "q"}]},
        fine | {"id": "c"},
    )
    said = found(path)
    assert said[0][0] == 2
    assert said[0][1].startswith("not JSON (")
    assert said[1:] == [
        (4, "not a JSON object"),
        (5, "lacks `instruction` as text (or `messages`, for a chat)"),
        (6, "the answer is empty"),
        (7, "id 'a' was used before"),
        (8, "does not begin with a user's turn and the assistant's answer"),
    ]
    assert only(path).num_records == 8
    assert [line for line, _ in said] == [row.line for row in read_own(path) if isinstance(row, BadRow)]


@pytest.mark.parametrize("text", ["", "\n\n"])
def test_a_file_without_rows_is_a_problem(tmp_path: Path, text: str) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text(text)
    assert found(path) == [(0, "holds no row")]


def test_good_own_data_has_no_problem(tmp_path: Path) -> None:
    path = lines(tmp_path / "mine.jsonl", {"instruction": "i", "output": "y"})
    assert only(path) == Checked(path=path, num_records=1, problems=())


# -- which files


def test_a_folder_of_both_kinds_is_checked_whole(tmp_path: Path) -> None:
    own = [lines(tmp_path / name, {"instruction": "i", "output": "y"}) for name in ("b.jsonl", "a.jsonl")]
    tasks = [task(tmp_path, good("a"), name=name) for name in ("task2.json", "task1.json")]
    (tmp_path / "README.md").write_text("neither")
    assert [checked.path for checked in check(tmp_path)] == [own[1], own[0], tasks[1], tasks[0]]


def test_a_folder_of_own_data_alone_is_fine(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", {"instruction": "i", "output": "y"})
    assert [checked.path for checked in check(tmp_path)] == [path]


@pytest.mark.parametrize(
    ("name", "message"),
    [("", r"no \*\.json in it"), ("nowhere", "nowhere: no such folder"), ("x.jsonl", r"x\.jsonl: cannot be read")],
)
def test_nothing_to_check_is_an_error(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(TaskError, match=message):
        list(check(tmp_path / name))


def test_a_problem_reads_as_an_editor_expects(tmp_path: Path) -> None:
    path = Path("tasks") / "task1.json"
    assert str(Problem(path=path, line=7, what="x")) == "tasks/task1.json:7: x"
    assert str(Problem(path=path, line=0, what="x")) == "tasks/task1.json: x"
