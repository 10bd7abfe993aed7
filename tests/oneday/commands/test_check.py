"""`oneday check` from the command line: its lines, its last line, its exit code."""

import json
from pathlib import Path
from typing import Any

import pytest

from core.files import read_jsonl
from oneday.cli import main
from oneday.demo.demo import DEMO_BASE

EXAMPLES = Path(__file__).parents[2] / "data" / "examples"
ROWS = [
    {"instruction": "Say one.", "output": "one", "score": 3},
    {"instruction": "Say two.", "output": "two"},
    {"instruction": "Say two.", "output": "2", "licence": "mit"},
    {"messages": [{"role": "user", "content": "Say three."}, {"role": "assistant", "content": "three"}]},
]


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as e:
        main([str(a) for a in arguments])
    assert isinstance(e.value.code, int)
    return e.value.code


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_the_last_line_has_all_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "mine.jsonl", *ROWS)
    assert run("check", path, "--json") == 0
    said = capsys.readouterr()
    *lines, last = said.out.splitlines()
    assert lines == [f"{path}:3: left out: duplicate (same as {path}:2)"]
    assert json.loads(last) == {
        "records": 4,
        "usable": 3,
        "problems": [],
        "turns": 8,
        "by_kind": {"conversation": 1, "prompted": 3},
        "unused_fields": {"score": 1},
        "dropped_by_reason": {"duplicate": 1},
    }
    assert f"{path}: layout alpaca (3), messages (1)" in said.err


def test_a_problem_ends_in_exit_code_2_behind_the_last_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "mine.jsonl", *ROWS, {"instruction": "Say it.", "output": ""})
    assert run("check", path, "--json") == 2
    said = capsys.readouterr()
    assert f"{path}:5: the answer is empty" in said.out
    assert json.loads(said.out.splitlines()[-1])["dropped_by_reason"] == {"duplicate": 1, "empty_output": 1}
    assert said.err.splitlines()[-1].startswith(f"error: {path}: 1 problems, listed above.")


def test_several_files_of_several_kinds_are_counted_together(capsys: pytest.CaptureFixture[str]) -> None:
    names = ("alpaca.parquet", "sharegpt.jsonl", "text.jsonl", "preference_texts.jsonl")
    assert run("check", *(EXAMPLES / name for name in names), "--json") == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (found["records"], found["usable"], found["turns"]) == (16, 16, 4 * 2 + 4 * 4 + 4 * 3)
    assert found["by_kind"] == {"conversation": 4, "preference": 4, "prompted": 4, "text": 4}


def test_a_rows_length_is_counted_with_the_bases_tokenizer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "mine.jsonl", *ROWS, {"instruction": "Say it.", "output": "a b " * 900})
    assert run("check", path, "--base", DEMO_BASE, "--set", "policies.max_tokens=500", "--json") == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["dropped_by_reason"]["too_long"] == 1 or found["dropped_by_reason"]["degenerate"] == 1


@pytest.mark.parametrize("name", ["alpaca.csv", "folder", "alpaca.zip", "messages_multiturn.jsonl", "union.jsonl"])
def test_what_check_passes_curate_takes_whole(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("check", EXAMPLES / name, "--json") == 0
    usable = json.loads(capsys.readouterr().out.splitlines()[-1])["usable"]
    assert run("curate", "--tasks", EXAMPLES / name, "--base", DEMO_BASE, "--take-all", "--run", "run") == 0
    said = capsys.readouterr().err
    mix = Path("run/05_mix")
    assert usable == 4 == sum(1 for part in ("train", "validation") for _ in read_jsonl(mix / f"{part}.jsonl"))
    assert ("rows are conversations" in said) == (name in ("messages_multiturn.jsonl", "union.jsonl"))


def test_a_layout_that_is_forced_is_read_alike_by_both(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "mine.jsonl", *({"text": f"t{n}", "question": f"q{n}", "answer": "a"} for n in range(3)))
    assert run("check", path, "--json") == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["by_kind"] == {"prompted": 3}
    assert run("check", path, "--layout", "text", "--json") == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["by_kind"] == {"text": 3}
