"""`oneday pick RUN --validation FILE` measures on the file, whatever losses the trainer noted on the run's own rows."""

from pathlib import Path

import pytest

from core.files import read_json
from tests.conftest import copy_run
from tests.oneday.finished_run import LOSSES
from tests.oneday.test_cli import run


@pytest.mark.slow
def test_rows_of_ones_own_are_measured(tmp_path: Path, finished_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = copy_run(finished_run, tmp_path / "run")
    assert run("pick", folder) == 0
    noted = {c["checkpoint"]: c["validation_loss"] for c in read_json(folder / "08_pick/picked.json")["candidates"]}
    assert sorted(noted.values()) == sorted(LOSSES)
    capsys.readouterr()
    assert run("pick", folder, "--uncharged", "--validation", tmp_path / "gone.jsonl") == 2
    assert "gone.jsonl: no such file" in capsys.readouterr().err
    assert run("pick", folder, "--uncharged", "--validation", folder / "05_mix" / "train.jsonl") == 0
    picked = read_json(folder / "08_pick/picked.json")
    measured = {c["checkpoint"]: c["validation_loss"] for c in picked["candidates"]}
    assert measured.keys() == {"base", *noted}
    assert not set(measured.values()) & set(LOSSES)
    assert picked["better_than_base"] == (picked["validation_loss"] < measured["base"])
