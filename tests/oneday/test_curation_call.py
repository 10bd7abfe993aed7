"""A curation on record, done again elsewhere."""

import json
import shutil
from pathlib import Path

import pytest

from core.errors import MixError
from core.files import read_json
from curation.curate import curate
from curation.preset import PRESETS, CurationParameters, preset
from harness.reproduce import Verdict, compare_curations
from oneday.cli import main
from oneday.requests.curation_call import curation_again

TASKS = Path(__file__).parents[1] / "data" / "tasks"
OTHERS = "lima,open-platypus,openbookqa,quac,cnn_dailymail,mathinstruct"


@pytest.fixture
def recorded(tmp_path: Path, demo_base: Path) -> Path:
    """A run that `oneday curate` wrote, its task files inside the run's folder."""
    run = tmp_path / "recorded"
    shutil.copytree(TASKS, run / "tasks")
    sizes = ["--scale", "0.001", "--seed", "7", "--instances-per-task", "3", "--without", OTHERS]
    with pytest.raises(SystemExit) as e:
        main(["curate", "--tasks", str(run / "tasks"), "--base", str(demo_base), "--run", str(run), *sizes])
    assert e.value.code == 0
    return run


def section(run: Path) -> dict[str, object]:
    found: dict[str, object] = read_json(run / "manifest.json")["curate"]
    return found


def test_a_moved_run_is_curated_again_to_the_same_bytes(recorded: Path, tmp_path: Path, demo_base: Path) -> None:
    moved = recorded.rename(tmp_path / "moved")
    base = Path(shutil.copytree(demo_base, tmp_path / "base"))
    again = curation_again(moved, section(moved), run=tmp_path / "again", tasks=(), base=base, redo=False)
    mix = curate(again)
    figures = compare_curations(section(moved), read_json(mix / "manifest.json"))
    assert [f.verdict for f in figures] == [Verdict.EQUAL] * 7
    assert (mix / "train.jsonl").read_bytes() == (moved / "05_mix" / "train.jsonl").read_bytes()


def test_the_first_difference_shows_where_two_curations_part(recorded: Path, tmp_path: Path, demo_base: Path) -> None:
    tasks = Path(shutil.copytree(recorded / "tasks", tmp_path / "others"))
    path = tasks / "task1_even_or_odd.json"
    task = json.loads(path.read_text())
    task["Definition"] = ["Say whether the number is even or odd, please."]
    path.write_text(json.dumps(task))
    again = curation_again(
        recorded, section(recorded), run=tmp_path / "again", tasks=(tasks,), base=demo_base, redo=False
    )
    figures = compare_curations(section(recorded), read_json(curate(again) / "manifest.json"))
    assert figures[0].name == "task files"
    assert figures[0].verdict is Verdict.DIFFERENT
    assert figures[-2].verdict is Verdict.DIFFERENT


def test_what_is_gone_or_was_never_said_is_named(recorded: Path, tmp_path: Path, demo_base: Path) -> None:
    shutil.rmtree(recorded / "tasks")
    with pytest.raises(MixError, match=r"tasks: no such file; the recorded curation read it"):
        curation_again(recorded, section(recorded), run=tmp_path / "again", tasks=(), base=demo_base, redo=False)
    with pytest.raises(MixError, match="does not record how the mix was curated"):
        curation_again(recorded, {}, run=tmp_path / "again", tasks=(), base=demo_base, redo=False)
    damaged = {"call": {}, "parameters": {"mix": 3}}
    with pytest.raises(MixError, match="section curate is damaged"):
        curation_again(recorded, damaged, run=tmp_path / "again", tasks=(), base=demo_base, redo=False)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_comes_back_whole_from_its_record(name: str) -> None:
    from pydantic import TypeAdapter

    parameters = preset(name)
    stored = json.loads(json.dumps(parameters.fingerprint()))
    assert TypeAdapter(CurationParameters).validate_python(stored) == parameters
