import json
from pathlib import Path

import pytest

from submission.checkpoint import Served, find_served
from submission.errors import ServeError


def picked(run: Path, base: Path, precision: str = "4bit") -> None:
    (run / "08_pick" / "adapter").mkdir(parents=True)
    (run / "08_pick" / "picked.json").write_text(json.dumps({"base_model": str(base), "precision": precision}))


def test_a_run_is_served_as_it_was_trained(tmp_path: Path) -> None:
    picked(tmp_path / "run", tmp_path)
    expected = Served(base=tmp_path, lora_adapter=tmp_path / "run" / "08_pick" / "adapter", precision="4bit")
    assert find_served(tmp_path / "run", base=None) == expected
    assert find_served(tmp_path / "run" / "08_pick", base=None) == expected


def test_an_adapter_names_its_base(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(tmp_path)}))
    assert find_served(tmp_path, base=None) == Served(base=tmp_path, lora_adapter=tmp_path, precision=None)


def test_a_model_folder_is_served_alone(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert find_served(tmp_path, base=None).lora_adapter is None


def test_a_base_that_moved_can_be_named_and_is_told_when_it_is_not(tmp_path: Path) -> None:
    picked(tmp_path / "run", tmp_path / "gone")
    with pytest.raises(ServeError, match=r"gone is not a local folder. Pass --base"):
        find_served(tmp_path / "run", base=None)
    assert find_served(tmp_path / "run", base=tmp_path).base == tmp_path


@pytest.mark.parametrize("exists", [True, False])
def test_anything_else_says_what_is_expected(tmp_path: Path, exists: bool) -> None:
    folder = tmp_path / "x"
    if exists:
        folder.mkdir()
    with pytest.raises(ServeError, match="oneday pick" if exists else "no such folder"):
        find_served(folder, base=None)
