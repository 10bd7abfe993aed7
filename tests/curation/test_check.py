import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.errors import OnedayError
from core.example.reading import open_source
from core.files import read_jsonl
from core.generation.none import NoPredictor
from core.model.token_counter import TokenCounter
from core.records.record import Place
from core.run_folder import MIX
from curation.check import CheckParameters, check
from curation.check_task import Problem
from curation.curate import curate
from curation.ni.task import read_task
from curation.preset import CurationParameters
from curation.sources.own_data import OWN_TASKS, own_stage
from curation.sources.own_row import OwnRow, read_own
from curation.stages.context import Curation

DATA = Path(__file__).parents[1] / "data" / "tasks"
EXAMPLES = DATA.parent / "examples"

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


def found(path: Path) -> list[tuple[int, str]]:
    """Line and text of every problem."""
    problems = check([path]).problems
    assert {problem.place.file for problem in problems} <= {str(path)}
    return [(problem.place.line, problem.what) for problem in problems]


def num_records(path: Path) -> int:
    return check([path]).census.num_records


# -- task files


@pytest.mark.parametrize("name", ["task1_even_or_odd", "task2_shorten"])
def test_a_good_task_has_no_problem(name: str) -> None:
    path = DATA / f"{name}.json"
    checked = check([path])
    assert (checked.problems, checked.num_usable, checked.num_files) == ([], read_task(path).num_read, 1)
    assert dict(checked.census.kinds) == {"prompted": checked.num_usable}


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
    assert num_records(path) == 3


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
    (problem,) = check([path]).problems
    assert problem.place.line == FIRST + 1
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
        ('{"Definition": []}', 0, "lacks `Definition`"),
        ('{"Definition": ["x"], "Instances": []}', 0, "lacks `Instances`"),
        ('{"Definition": ' + "[" * 100_000, 0, "not JSON ("),
    ],
)
def test_a_file_that_is_no_task_is_one_problem(tmp_path: Path, text: str, line: int, what: str) -> None:
    path = tmp_path / "task1_x.json"
    path.write_text(text)
    ((where, said),) = found(path)
    assert (where, said[: len(what)]) == (line, what)
    assert num_records(path) == 0


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
    named = [problem for problem in check([path]).problems if problem.what.startswith("instance ")]
    assert len(named) == num
    for problem in named:
        item, _ = json.JSONDecoder().raw_decode("\n".join(text[problem.place.line - 1 :]).strip())
        assert problem.what == f"instance {item['id']} has no answer"
        assert not any(output.strip() for output in item["output"])


# -- own data

FINE = {"id": "a", "instruction": "i", "output": "y"}


def test_every_bad_line_of_own_data_is_named(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "mine.jsonl",
        FINE,
        "{",
        "",
        [1],
        {"output": "y"},
        FINE | {"id": "b", "output": " "},
        FINE,
        {"messages": [{"role": "user", "content": "q"}]},
        FINE | {"id": "c", "instruction": "j"},
    )
    said = found(path)
    assert said[0][0] == 2
    assert said[0][1].startswith("not JSON (")
    assert said[1:] == [
        (4, "not a JSON object"),
        (5, "lacks `instruction` as text (or `messages`, for a chat)"),
        (6, "the answer is empty"),
        (7, "id 'a' was used before"),
        (8, "ends with the user's turn; the last turn must be the assistant's"),
    ]
    checked = check([path])
    assert (checked.census.num_records, checked.num_usable) == (8, 2)
    assert checked.dropped_by_reason == {"duplicate_id": 1, "empty_output": 1, "ends_with_user": 1, "malformed": 3}


@pytest.mark.parametrize("text", ["", "\n\n", "[]"])
def test_a_file_without_rows_is_a_problem(tmp_path: Path, text: str) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text(text)
    assert found(path) == [(0, "holds no row")]


def test_good_own_data_has_no_problem(tmp_path: Path) -> None:
    checked = check([lines(tmp_path / "mine.jsonl", FINE, {"instruction": "j", "output": "y"})])
    assert (checked.problems, checked.left_out, checked.num_usable) == ([], [], 2)
    assert checked.told == [f"{tmp_path / 'mine.jsonl'}: layout alpaca (2)"]


def test_a_data_set_of_one_row_is_a_problem(tmp_path: Path) -> None:
    ((line, what),) = found(lines(tmp_path / "mine.jsonl", FINE))
    assert line == 0
    assert "one row is left" in what or "only 1 row" in what or "no row" in what


@pytest.mark.parametrize(
    "name",
    [
        "alpaca.parquet", "folder", "messages_tools.jsonl", "preference_messages.jsonl", "sharegpt.jsonl",
        "system_history.jsonl", "task1_colours.json", "text.jsonl", "union.jsonl",
    ],
)  # fmt: skip
def test_every_kind_of_example_passes_and_all_of_it_is_usable(name: str) -> None:
    checked = check([EXAMPLES / name])
    assert (checked.problems, checked.left_out) == ([], [])
    assert (checked.census.num_records, checked.num_usable) == (4, 4)


def test_every_case_of_the_data_folder_passes_and_all_of_it_is_usable(shared_data: Path) -> None:
    for path in sorted((shared_data / "cases" / "formats").iterdir()):
        checked = check([path])
        assert (checked.problems, checked.left_out) == ([], []), path
        assert checked.num_usable == checked.census.num_records >= 10


def test_what_would_be_left_out_has_its_place_and_its_reason(tmp_path: Path) -> None:
    rows = [
        {"instruction": "Say one.", "output": "one"},
        {"instruction": "Say one.", "output": "another"},
        {"instruction": "Say two.", "output": "two", "licence": "CC BY-NC 4.0"},
        {"instruction": "Say three.", "output": "three", "language": "fi"},
        {"instruction": "Say four.", "output": "lorem ipsum dolor"},
        {"instruction": "Say five.", "output": "five " * 3000 + "and an end"},
        {"instruction": "Say six.", "output": "six"},
    ]
    path = lines(tmp_path / "mine.jsonl", *rows)
    checked = check([path], CheckParameters(tokenizer=TokenCounter.mistral_7b().path))
    assert [(left.place.line, left.reason) for left in checked.left_out] == [
        (2, "duplicate"), (3, "non_commercial"), (4, "language"), (5, "degenerate"), (6, "too_long")
    ]  # fmt: skip
    assert str(checked.left_out[0]) == f"{path}:2: left out: duplicate (same as {path}:1)"
    assert (checked.num_usable, checked.problems) == (2, [])


def test_rows_that_are_all_too_long_are_a_problem(tmp_path: Path) -> None:
    rows = [{"instruction": f"Say {n}.", "output": f"word{n} " * 3000} for n in range(3)]
    path = lines(tmp_path / "mine.jsonl", *rows)
    checked = check([path], CheckParameters(tokenizer=TokenCounter.mistral_7b().path))
    assert checked.num_usable == 0
    (problem,) = checked.problems
    assert "too_long" in problem.what


def test_examples_of_prompts_are_told_where_not_all_rows_are_taken(tmp_path: Path) -> None:
    rows = [{"instruction": "Double it.", "input": str(n), "output": str(2 * n)} for n in range(10)]
    path = lines(tmp_path / "mine.jsonl", *rows)
    assert check([path]).left_out == []
    left = check([path], CheckParameters(take_all=False)).left_out
    assert [item.reason for item in left] == ["used_as_example"] * 3


def test_dialogues_texts_and_preferences_are_told_of(tmp_path: Path) -> None:
    names = ("messages_multiturn.jsonl", "preference_texts.jsonl", "text.jsonl")
    told = [line.removeprefix(f"{EXAMPLES}/") for line in check([EXAMPLES / name for name in names]).told]
    unasked = "curate does not use them, for the base cannot be asked about them"
    assert sorted(line for line in told if "layout" not in line) == [
        "messages_multiturn.jsonl: 4 of 4 rows are conversations: the last answer of each is asked, with the turns "
        "before it, and all its answers are trained, in the base's chat template",
        f"preference_texts.jsonl: 4 of kind preference: {unasked}",
        f"text.jsonl: 4 of kind text: {unasked}",
    ]


def test_texts_that_repeat_are_duplicates(tmp_path: Path) -> None:
    path = lines(tmp_path / "mine.jsonl", {"text": "a", "id": 1}, {"text": "b"}, {"text": "a", "id": 2})
    (left,) = check([path]).left_out
    assert str(left) == f"{path}:3: left out: duplicate (same as {path}:1)"


def test_a_file_that_cannot_be_read_does_not_hide_the_others(tmp_path: Path) -> None:
    bad, fine = tmp_path / "bad.jsonl.gz", lines(tmp_path / "mine.jsonl", FINE, {"instruction": "j", "output": "y"})
    bad.write_bytes(b"\x1f\x8bnothing")
    checked = check([bad, fine])
    assert [problem.place.file for problem in checked.problems] == [str(bad)]
    assert checked.num_usable == 2


# -- nothing is dropped that check did not announce

WORDS = st.sampled_from(["red", "blue", "a", "Zürich", "yes yes yes", "nan", "ja", "6 * 7 = 42"])
TEXTS = st.lists(WORDS, max_size=4).map(" ".join)
DESCRIBED = st.fixed_dictionaries(
    {},
    optional={
        "id": st.integers(0, 5),
        "licence": st.sampled_from(["MIT", "cc-by-nc-4.0", "Unknown", "none"]),
        "language": st.sampled_from(["EN", "English", "fi"]),
    },
)
QUESTION_ANSWER = st.builds(lambda i, x, o: {"instruction": i, "input": x, "output": o}, TEXTS, TEXTS, TEXTS)
TURNS = st.lists(TEXTS, min_size=1, max_size=5).map(
    lambda texts: {"messages": [{"role": ("user", "assistant")[n % 2], "content": t} for n, t in enumerate(texts)]}
)
OTHERS = st.one_of(st.builds(lambda t: {"text": t}, TEXTS), st.just({"nothing": 1}))
RECORDS = st.lists(st.builds(lambda a, b: a | b, st.one_of(QUESTION_ANSWER, TURNS, OTHERS), DESCRIBED), min_size=1)


def rows_of_mix(folder: Path, path: Path, parameters: CurationParameters) -> set[str]:
    """Ids of the rows that a curation of one file keeps, all of them taken."""
    p = replace(parameters, samples=replace(parameters.samples, take_all=True))
    own = own_stage(folder, [path], seed=p.seed, redo=False, take_all=True)
    tasks = (own.path(OWN_TASKS),)
    curate(Curation(run=folder, tasks=tasks, predictor=NoPredictor(), parameters=p))
    return {row["id"] for part in ("train", "validation") for row in read_jsonl(folder / MIX / f"{part}.jsonl")}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(records=RECORDS)
def test_curate_keeps_exactly_the_rows_that_check_calls_usable(tmp_path: Path, records: list[dict[str, Any]]) -> None:
    shutil.rmtree(tmp_path)
    tmp_path.mkdir()
    path = lines(tmp_path / "mine.jsonl", *records)
    checked = check([path])
    left = {str(left.place) for left in checked.left_out}
    announced = {
        f"mine-{row.id}"
        for _, row in read_own(open_source(path))
        if isinstance(row, OwnRow) and str(row.place) not in left
    }
    try:
        kept = rows_of_mix(tmp_path / "run", path, CurationParameters())
    except OnedayError:
        assert len(announced) < 2, "curate refuses what check passes"
        return
    assert kept == announced


# -- which files


def test_a_folder_of_both_kinds_is_checked_whole(tmp_path: Path) -> None:
    for name in ("b.jsonl", "a.jsonl"):
        lines(tmp_path / name, {"instruction": f"i {name}", "output": "y"})
    for name in ("task2.json", "task1.json"):
        task(tmp_path, good("a"), name=name)
    (tmp_path / "README.md").write_text("neither")
    checked = check([tmp_path])
    assert (checked.num_files, checked.census.num_records, checked.problems) == (4, 4, [])
    assert f"{tmp_path}: curate takes its task files alone; give a.jsonl by itself" in checked.told


def test_a_folder_of_own_data_alone_is_fine(tmp_path: Path) -> None:
    lines(tmp_path / "a.jsonl", FINE, {"instruction": "j", "output": "y"})
    assert check([tmp_path]).num_usable == 2


@pytest.mark.parametrize(
    ("name", "message"),
    [("", r"no \*\.json in it"), ("nowhere", "nowhere: no such folder"), ("x.jsonl", r"x\.jsonl: cannot be read")],
)
def test_nothing_to_check_is_an_error(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(OnedayError, match=message):
        check([tmp_path / name])


def test_a_problem_reads_as_an_editor_expects() -> None:
    assert str(Problem(place=Place(file="tasks/task1.json", line=7), what="x")) == "tasks/task1.json:7: x"
    assert str(Problem(place=Place(file="tasks/task1.json"), what="x")) == "tasks/task1.json: x"
