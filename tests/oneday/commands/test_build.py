"""`oneday build` from the command line: its tables, its last line, and that check takes what it writes."""

import json
from pathlib import Path

import pytest

from curation.builders.registry import BUILDERS
from oneday.cli.app import BUILD
from tests.curation.builders.examples import chats, lines
from tests.oneday.commands.test_check import run


def test_there_is_a_command_for_each_builder(capsys: pytest.CaptureFixture[str]) -> None:
    assert {entry.name for entry in BUILD.commands} == set(BUILDERS)
    assert run("build", "--json") == 0
    assert set(json.loads(capsys.readouterr().out.splitlines()[-1])["builders"]) == set(BUILDERS)


def test_a_mix_is_built_shown_and_accepted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base, added = chats(tmp_path / "en.jsonl", 9, "good day"), chats(tmp_path / "sv.jsonl", 6, "another day")
    command = ["build", "mix", "--base", base, "--added", added, "--run", tmp_path / "run", "--json"]
    assert run(*command, "--percent", "0", "--percent", "50") == 0
    said = capsys.readouterr()
    result = json.loads(said.out.splitlines()[-1])
    (none, half) = result["files"]
    assert (none["rows"], half["rows"]) == (9, 12)
    assert result["tallies"]["row of en-sv-50pct"] == {"read": 15, "kept": 12, "dropped": {"over_percent": 3}}
    assert f"{half['path']}: 12 rows" in said.err
    assert "3 over_percent" in said.out
    assert len(lines(Path(half["path"]))) == 12
    assert run("check", half["path"], "--json") == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["usable"] == 12
