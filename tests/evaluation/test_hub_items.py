from functools import partial
from pathlib import Path

import pytest

from core.errors import DataError
from evaluation.hub_items import FOLDER
from evaluation.suites import load_suite
from tests.evaluation.capitals import write
from tests.evaluation.test_suites import ITEM


def test_items_of_the_hub_are_fetched_once_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder laid out as a repository stands for the hub, at another place than where the names are looked up."""
    pytest.importorskip("datasets", reason="datasets (extra `hub`) is not installed")
    import datasets

    hub = tmp_path / "hub"
    (hub / "owner" / "name").mkdir(parents=True)
    write(hub / "owner" / "name" / "train.jsonl", [ITEM, {**ITEM, "key": 2}])
    load = partial(datasets.load_dataset, str(hub / "owner" / "name"))
    monkeypatch.setattr(datasets, "load_dataset", lambda name, *more, **options: load(*more, **options))
    monkeypatch.chdir(tmp_path)
    suite = load_suite("ifeval", Path("owner/name"), {})
    assert [item.id for item in suite.items()] == ["1", "2"]
    assert suite.items()[0].instructions[0].arguments == {}
    (hub / "owner" / "name" / "train.jsonl").unlink()
    assert load_suite("ifeval", Path("owner/name"), {}).fingerprint() == suite.fingerprint()
    assert [path.name for path in (tmp_path / FOLDER).iterdir()] == ["owner--name.jsonl"]
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(DataError, match="owner/gone: no such file or folder, and it cannot be had"):
        load_suite("ifeval", Path("owner/gone"), {})
