import json
from pathlib import Path
from typing import Any

import pytest

from core.errors import TaskError
from core.generation.prediction import canonical_name
from curation.ni.task import EqualInputs, Instance, ReadingParameters, read_task, task_paths
from tests.conftest import REDUCED

DATA = Path(__file__).parents[2] / "data" / "tasks"


def document(**changes: Any) -> dict[str, Any]:
    base = json.loads((DATA / "task1_even_or_odd.json").read_text())
    return {**base, **changes}


def write(tmp_path: Path, content: Any) -> Path:
    path = tmp_path / "task9_x.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def instances(*items: Any) -> dict[str, Any]:
    return document(Instances=list(items))


def test_reads_a_task_as_it_stands() -> None:
    task = read_task(DATA / "task1_even_or_odd.json").task
    assert task.name == "task1_even_or_odd"
    assert task.definition == "Is the number even or odd? Answer even or odd."
    assert task.languages == ("English",)
    assert task.licences == ("Apache 2.0",)
    assert [e.output for e in task.positive_examples] == ["even", "odd"]
    assert task.instances[1] == Instance(id="task1-1", input="11", outputs=("odd",))


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        ({"id": "a", "input": "x", "output": []}, "empty_output"),
        ({"id": "a", "input": "x", "output": ["  "]}, "empty_output"),
        ({"id": "a", "input": " ", "output": ["y"]}, "empty_input"),
        ({"id": "a", "output": ["y"]}, "malformed"),
        ({"id": "a", "input": "x", "output": [3]}, "malformed"),
        ("text", "malformed"),
        ({"id": "a", "input": "\ud83d", "output": ["y"]}, "invalid_unicode"),
        ({"id": "good", "input": "again", "output": ["y"]}, "duplicate_id"),
    ],
)
def test_a_bad_instance_is_dropped_with_its_reason(tmp_path: Path, item: Any, reason: str) -> None:
    good = {"id": "good", "input": "x", "output": ["y"]}
    result = read_task(write(tmp_path, instances(good, item)))
    assert [i.id for i in result.task.instances] == ["good"]
    assert [d.reason for d in result.dropped] == [reason]
    assert result.num_read == 2


def test_output_as_a_string_and_a_missing_id_are_taken(tmp_path: Path) -> None:
    task = read_task(write(tmp_path, instances({"input": "x", "output": "y"}))).task
    assert task.instances == (Instance(id="task9_x-0", input="x", outputs=("y",)),)


def test_num_read_counts_kept_and_dropped_instances(tmp_path: Path) -> None:
    items = [{"id": name, "input": "x", "output": output} for name, output in (("a", "y"), ("a", "y"), ("b", ""))]
    result = read_task(write(tmp_path, instances(*items, 5)))
    assert (result.num_read, len(result.task.instances), len(result.dropped)) == (4, 1, 3)


def test_an_instance_may_bring_its_own_instruction_and_needs_no_input_then(tmp_path: Path) -> None:
    own = {"id": "a", "input": "", "output": "y", "instruction": "Say y."}
    result = read_task(write(tmp_path, instances(own, {"id": "b", "input": "x", "output": "y"})))
    assert [i.instruction for i in result.task.instances] == ["Say y.", ""]
    assert result.task.instances[0].input == ""


@pytest.mark.parametrize("instruction", [None, 5, ["Say y."], ""])
def test_an_instruction_that_is_no_text_is_none(tmp_path: Path, instruction: Any) -> None:
    item = {"id": "a", "input": "x", "output": "y", "instruction": instruction}
    blank = {**item, "id": "b", "input": ""}
    result = read_task(write(tmp_path, instances(item, blank)))
    assert [i.instruction for i in result.task.instances] == [""]
    assert [(d.id, d.reason) for d in result.dropped] == [("b", "empty_input")]


def test_an_instruction_with_a_lone_surrogate_is_dropped(tmp_path: Path) -> None:
    item = {"id": "a", "input": "x", "output": "y", "instruction": "\ud83d"}
    assert [d.reason for d in read_task(write(tmp_path, instances(item))).dropped] == ["invalid_unicode"]


def test_a_blank_instruction_does_not_make_up_for_a_blank_input(tmp_path: Path) -> None:
    item = {"id": "a", "input": " ", "output": "y", "instruction": " "}
    assert [d.reason for d in read_task(write(tmp_path, instances(item))).dropped] == ["empty_input"]


def test_empty_references_are_kept_where_the_winner_kept_them(tmp_path: Path) -> None:
    path = write(tmp_path, instances({"id": "a", "input": "x", "output": ["", "y"]}, {"input": "z", "output": [""]}))
    kept = read_task(path, ReadingParameters(empty_references=True))
    assert [i.outputs for i in kept.task.instances] == [("", "y"), ("",)]
    assert kept.dropped == ()
    assert [d.reason for d in read_task(path).dropped] == ["empty_output"]


CONTRADICTORY = instances(
    {"id": "a", "input": "caf\u00e9?", "output": ["yes"]},
    {"id": "b", "input": "cafe\u0301?", "output": ["no", "yes"]},
    {"id": "c", "input": "tea?", "output": "yes"},
    {"id": "d", "input": "tea?", "output": "yes"},
    {"id": "e", "input": "caf\u00e9?", "output": "perhaps"},
)


def test_equal_inputs_accept_each_others_answers_and_are_counted(tmp_path: Path) -> None:
    task = read_task(write(tmp_path, CONTRADICTORY)).task
    assert {i.id: i.references for i in task.instances} == {
        "a": ("yes", "no", "perhaps"),
        "b": ("no", "yes", "perhaps"),
        "c": ("yes",),
        "d": ("yes",),
        "e": ("perhaps", "no", "yes"),
    }
    assert [i.outputs[0] for i in task.instances] == ["yes", "no", "yes", "yes", "perhaps"]  # what is trained on
    assert task.num_contradictory == 1


def test_the_winner_looks_at_one_record_at_a_time(tmp_path: Path) -> None:
    task = read_task(write(tmp_path, CONTRADICTORY), ReadingParameters(equal_inputs=EqualInputs.OWN)).task
    assert [i.references for i in task.instances] == [i.outputs for i in task.instances]
    assert task.num_contradictory == 1


def test_an_instruction_of_its_own_is_part_of_the_question(tmp_path: Path) -> None:
    rows = [{"id": n, "input": "x", "output": n, "instruction": f"Say {n}."} for n in "ab"]
    assert read_task(write(tmp_path, instances(*rows))).task.num_contradictory == 0


def test_empty_references_beside_good_ones_are_left_out(tmp_path: Path) -> None:
    task = read_task(write(tmp_path, instances({"id": "a", "input": " x ", "output": ["", " y "]}))).task
    assert task.instances[0].outputs == (" y ",)
    assert task.instances[0].input == " x "


def test_nan_in_a_header_is_read(tmp_path: Path) -> None:
    text = json.dumps(document(URL=[float("nan")], **{"Instance License": [float("nan")]}))
    assert "NaN" in text
    assert read_task(write(tmp_path, text)).task.licences == ()


def test_odd_headers_are_no_error(tmp_path: Path) -> None:
    raw = document(Categories=["\ud800"], **{"Positive Examples": 5, "Instance License": 3})
    task = read_task(write(tmp_path, raw)).task
    assert (task.positive_examples, task.licences) == ((), ("3",))
    assert task.categories[0].isascii()


def test_missing_contributors_source_and_licence_are_no_error(tmp_path: Path) -> None:
    raw = document()
    for key in ("Contributors", "Source", "Instance License"):
        del raw[key]
    assert read_task(write(tmp_path, raw)).task.licences == ()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "not an NI task"),
        (document(Definition=[]), "lacks `Definition`"),
        (document(Definition=[" "]), "lacks `Definition`"),
        (document(Instances=[]), "lacks `Instances`"),
        (document(Instances={"a": 1}), "lacks `Instances`"),
        (document(Definition=["\ud800"]), "lone surrogate"),
    ],
)
def test_a_file_that_is_no_task_says_what_it_lacks(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(TaskError, match=message) as e:
        read_task(write(tmp_path, content))
    assert "task9_x.json" in str(e.value)
    assert "\n" not in str(e.value)


def test_a_folder_must_exist_and_hold_tasks(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="no such folder"):
        task_paths([tmp_path / "nowhere"])
    with pytest.raises(TaskError, match=r"no \*\.json"):
        task_paths([tmp_path])


def test_one_bad_path_of_several_is_named(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=r"nowhere: no such folder"):
        task_paths([DATA, tmp_path / "nowhere"])


def test_folders_and_files_are_read_together_sorted_by_name(tmp_path: Path) -> None:
    mine, early = write(tmp_path, document()), tmp_path / "other" / "task0.json"
    early.parent.mkdir()
    early.write_text("{}")
    (early.parent / "README.md").write_text("no task")
    (early.parent / "folder.json").mkdir()
    both = task_paths([mine, early.parent])
    assert both == [early, mine]
    assert task_paths([early.parent, mine]) == both
    assert [path.name for path in task_paths([DATA])] == sorted(path.name for path in DATA.glob("*.json"))


def test_a_file_that_is_given_twice_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, document())
    monkeypatch.chdir(tmp_path)
    assert task_paths([path, tmp_path, Path("task9_x.json")]) == [path]


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path, document())
    other = tmp_path / "other" / path.name
    other.parent.mkdir()
    other.write_text(path.read_text())
    with pytest.raises(TaskError, match="has the same name") as e:
        task_paths([tmp_path, other.parent])
    assert str(path) in str(e.value)
    assert str(other) in str(e.value)


def test_no_path_gives_no_task() -> None:
    assert task_paths([]) == []


def test_names_are_compared_without_dashes_and_versions() -> None:
    assert canonical_name("task4_title-v1.2_x") == "task4_title_v1"


def test_all_real_files_are_read_and_every_instance_is_accounted_for(real_data: Path) -> None:
    num_kept = num_dropped = 0
    reasons = set()
    for task_file in map(read_task, task_paths([real_data / "natural-instructions" / "tasks"])):
        assert task_file.num_read == len(task_file.task.instances) + len(task_file.dropped)
        num_kept += len(task_file.task.instances)
        num_dropped += len(task_file.dropped)
        reasons |= {d.reason for d in task_file.dropped}
    # the whole number is from the folder's own README
    assert (num_kept + num_dropped, num_dropped) == ((200, 3) if real_data == REDUCED else (406_801, 11))
    assert reasons == {"empty_output"}
