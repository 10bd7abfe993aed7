from pathlib import Path

import pytest

from core.errors import StageError
from core.files import atomic_writer, read_json, read_jsonl, write_jsonl
from core.stage import Dropped, Stage, Summary, Tally, locked


def finished(folder: Path, **inputs: object) -> Stage:
    stage = Stage(folder, inputs=inputs)
    stage.write_rows("rows.jsonl", [{"a": 1}])
    stage.finish(Summary(tallies={"row": Tally(read=1, kept=1)}))
    return stage


def test_a_finished_stage_is_done_for_the_same_inputs(tmp_path: Path) -> None:
    finished(tmp_path / "01_x", seed=7)
    assert Stage(tmp_path / "01_x", inputs={"seed": 7}).is_done


def test_other_inputs_are_refused_and_named(tmp_path: Path) -> None:
    finished(tmp_path / "01_x", seed=7, rules={"language": "English", "mmlu": True})
    with pytest.raises(StageError, match=r"rules\.language: English -> French; seed: 7 -> 8") as e:
        Stage(tmp_path / "01_x", inputs={"seed": 8, "rules": {"language": "French", "mmlu": True}})
    assert "mmlu" not in str(e.value)


def test_a_partial_stage_of_other_inputs_is_refused_too(tmp_path: Path) -> None:
    Stage(tmp_path / "01_x", inputs={"seed": 7}).write_rows("rows.jsonl", [{"a": 1}])
    with pytest.raises(StageError, match="seed: 7 -> 8"):
        Stage(tmp_path / "01_x", inputs={"seed": 8})


def test_a_refused_input_leaves_nothing_behind_that_bars_the_mended_one(tmp_path: Path) -> None:
    Stage(tmp_path / "01_x", inputs={"seed": 7})  # nothing was written but the inputs
    assert not Stage(tmp_path / "01_x", inputs={"seed": 8}).is_done
    assert read_json(tmp_path / "01_x" / "inputs.json") == {"seed": 8}


def test_redo_mends_a_changed_output_and_leaves_strange_folders_alone(tmp_path: Path) -> None:
    finished(tmp_path / "01_x", seed=7).path("rows.jsonl").unlink()
    (tmp_path / "2024_results").mkdir()
    assert not Stage(tmp_path / "01_x", inputs={"seed": 7}, redo=True).is_done
    assert (tmp_path / "2024_results").is_dir()
    assert finished(tmp_path / "01_x", seed=7).is_done


def test_two_commands_on_one_run_are_refused(tmp_path: Path) -> None:
    with locked(tmp_path / "run"), pytest.raises(StageError, match="another oneday command"), locked(tmp_path / "run"):
        pass
    with locked(tmp_path / "run"):
        pass


def test_redo_throws_this_stage_and_later_ones_away_but_not_earlier_ones(tmp_path: Path) -> None:
    for name in ("01_x", "02_x", "03_x"):
        finished(tmp_path / name, seed=7)
    assert not Stage(tmp_path / "02_x", inputs={"seed": 8}, redo=True).is_done
    assert (tmp_path / "01_x").is_dir()
    assert not (tmp_path / "03_x").exists()


def test_a_changed_output_is_noticed(tmp_path: Path) -> None:
    stage = finished(tmp_path / "01_x", seed=7)
    stage.path("rows.jsonl").write_text('{"a":2}\n')
    with pytest.raises(StageError, match=r"rows\.jsonl: missing or changed"):
        _ = stage.is_done


def test_a_tally_must_add_up() -> None:
    with pytest.raises(AssertionError, match="went missing"):
        Tally(read=3, kept=1, dropped={"language": 1})


def test_a_stage_accounts_for_one_unit_by_reason(tmp_path: Path) -> None:
    stage = Stage(tmp_path / "01_x", inputs={})
    for unit, reason in (("row", "b"), ("row", "a"), ("task", "a")):
        stage.drop(Dropped(unit=unit, id="1", reason=reason))
    assert stage.tally("row", read=6, kept=4) == Tally(read=6, kept=4, dropped={"a": 1, "b": 1})
    with pytest.raises(AssertionError, match="went missing"):
        stage.tally("row", read=7, kept=4)


def test_drops_are_written_as_they_come_and_published_at_the_end(tmp_path: Path) -> None:
    stage = Stage(tmp_path / "01_x", inputs={})
    for number in range(20_000):
        stage.drop(Dropped(unit="row", id=str(number), reason="a", detail="x" * 60))
    assert not stage.path("dropped.jsonl").exists()
    stage.finish(Summary(tallies={"row": stage.tally("row", read=20_000, kept=0)}))
    assert [row["id"] for row in read_jsonl(stage.path("dropped.jsonl"))] == [str(n) for n in range(20_000)]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    write_jsonl(path, [{"a": 1}])

    def interrupted() -> None:
        with atomic_writer(path) as f:
            f.write(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        interrupted()
    assert list(read_jsonl(path)) == [{"a": 1}]


def test_a_broken_line_is_reported_with_its_number(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text('{"a":1}\n\n{"a":\n')
    with pytest.raises(StageError, match=r"x\.jsonl:3: not JSON"):
        list(read_jsonl(tmp_path / "x.jsonl"))


def test_missing_and_unreadable_files_are_user_errors(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="no such file"):
        read_json(tmp_path / "nothing.json")
    with pytest.raises(StageError, match="cannot be read"):
        list(read_jsonl(tmp_path / "nothing.jsonl"))
