import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from core.files import write_json
from core.model.folder import model_fingerprint
from core.model.quantisation import Quantisation
from harness.checkpoint.trained_base import TrainedBase, write_trained_base
from harness.errors import ConfigError
from oneday.cli import main
from oneday.demo.demo import DEMO_BASE
from submission.checkpoint import Served, find_served
from submission.errors import ServeError
from tests.conftest import write_small_mix
from tests.harness.checkpoint.adapters import write_adapters
from tests.harness.checkpoint.test_trained_base import other_weights

NF4 = Quantisation(load_in_4bit=True, compute_dtype="bfloat16")

PICKED: dict[str, Any] = {
    "checkpoint": "checkpoint-10", "step": 10, "validation_loss": 1.0, "rule": "the lowest", "precision": "4bit",
    "candidates": [], "rejected": [],
}  # fmt: skip


def picked(run: Path, base: Path, precision: str = "4bit") -> None:
    (run / "08_pick" / "adapter").mkdir(parents=True)
    (run / "08_pick" / "picked.json").write_text(json.dumps({"base_model": str(base), "precision": precision}))


def test_a_run_is_served_as_it_was_trained(tmp_path: Path) -> None:
    picked(tmp_path / "run", tmp_path)
    expected = Served(base=tmp_path, lora_adapter=tmp_path / "run" / "08_pick" / "adapter", precision="4bit")
    assert find_served(tmp_path / "run", base=None) == expected
    assert find_served(tmp_path / "run" / "08_pick", base=None) == expected


def test_an_adapter_names_its_base_but_not_how_it_was_kept_which_is_said(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(tmp_path)}))
    served = find_served(tmp_path, base=None)
    assert (served.base, served.lora_adapter, served.precision) == (tmp_path, tmp_path, None)
    (warning,) = served.warnings
    assert "no quantisation is assumed" in warning
    assert "`precision=4bit`" in warning
    assert find_served(tmp_path, base=None, precision="4bit") == Served(
        base=tmp_path, lora_adapter=tmp_path, precision="4bit"
    )


def test_an_adapter_that_says_how_its_base_was_kept_is_served_so(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    write_trained_base(tmp_path, TrainedBase(quantisation=NF4, fingerprint=model_fingerprint(DEMO_BASE)))
    served = find_served(tmp_path, base=DEMO_BASE)
    assert served == Served(base=DEMO_BASE, lora_adapter=tmp_path, precision=NF4)
    assert find_served(tmp_path, base=DEMO_BASE, precision="fp32").precision == "fp32"


def test_a_name_of_the_hub_is_looked_up_in_its_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub._snapshot_download.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    snapshot = tmp_path / "hub" / "models--org--small" / "snapshots" / ("a" * 40)
    shutil.copytree(DEMO_BASE, snapshot)
    (tmp_path / "hub" / "models--org--small" / "refs").mkdir()
    (tmp_path / "hub" / "models--org--small" / "refs" / "main").write_text("a" * 40)
    (tmp_path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "org/small"}))
    assert find_served(tmp_path, base=None).base == snapshot


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run whose manifest knows its base."""
    adapter = write_adapters(tmp_path / "adapters", DEMO_BASE, {"checkpoint-10": 0.1})[0]
    picked(tmp_path / "run", DEMO_BASE)
    shutil.copytree(adapter, tmp_path / "run" / "08_pick" / "adapter", dirs_exist_ok=True)
    kept = asdict(Quantisation(load_in_4bit=True, compute_dtype="float32"))
    train = {"base": model_fingerprint(DEMO_BASE), "base_path": str(DEMO_BASE), "quantisation": kept}
    write_json(tmp_path / "run" / "manifest.json", {"train": train})
    return tmp_path / "run"


def test_a_run_is_served_on_its_own_base_only(run: Path, tmp_path: Path) -> None:
    other = other_weights(tmp_path)
    for checkpoint in (run, run / "08_pick", run / "08_pick" / "adapter"):
        with pytest.raises(ConfigError, match="not the base that"):
            find_served(checkpoint, base=other)
        assert find_served(checkpoint, base=other, base_changed=True).base == other
        assert find_served(checkpoint, base=DEMO_BASE).base == DEMO_BASE


@pytest.mark.parametrize(
    "command",
    [
        ["serve", "--port", "0", "--checkpoint", "RUN"],
        ["try", "Hello.", "--checkpoint", "RUN"],
        ["compare", "RUN"],
        ["export", "RUN"],
        ["export", "RUN", "--merge", "fp32"],
        ["helm", "--checkpoint", "RUN"],
        ["pick", "RUN/08_pick", "--validation", "ROWS"],
    ],
)
def test_every_command_that_loads_a_base_refuses_another_one(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    mix = write_small_mix(run / "05_mix")
    write_json(run / "08_pick" / "picked.json", PICKED | {"base_model": str(DEMO_BASE)})
    words = [w.replace("RUN", str(run)).replace("ROWS", str(mix / "validation.jsonl")) for w in command]
    with pytest.raises(SystemExit) as e:
        main([*words, "--base", str(other_weights(tmp_path))])
    error = capsys.readouterr().err
    assert e.value.code == 2, error
    assert "other: not the base that" in error
    assert error.splitlines()[-1].endswith("--base-changed-on-purpose.")


def test_try_answers_on_another_base_on_purpose(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["try", "Write the first word.", "--max-new-tokens", "2", "--checkpoint", str(run)]
    with pytest.raises(SystemExit) as e:
        main([*asked, "--base", str(other_weights(tmp_path)), "--base-changed-on-purpose"])
    assert e.value.code == 0, capsys.readouterr().err


def test_a_model_folder_is_served_alone(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert find_served(tmp_path, base=None).lora_adapter is None


def test_a_base_that_moved_can_be_named_and_is_told_when_it_is_not(tmp_path: Path) -> None:
    picked(tmp_path / "run", tmp_path / "gone")
    with pytest.raises(ServeError, match=r"gone is not a local folder. Pass `base="):
        find_served(tmp_path / "run", base=None)
    assert find_served(tmp_path / "run", base=tmp_path).base == tmp_path


@pytest.mark.parametrize("exists", [True, False])
def test_anything_else_says_what_is_expected(tmp_path: Path, exists: bool) -> None:
    folder = tmp_path / "x"
    if exists:
        folder.mkdir()
    with pytest.raises(ServeError, match="oneday pick" if exists else "no such folder"):
        find_served(folder, base=None)
