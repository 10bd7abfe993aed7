"""A run that starts from another one has that one's picked weights as its base."""

import re
import shutil
from pathlib import Path

import pytest
import torch

from core.errors import StageError
from core.files import read_json, write_json
from core.model.folder import model_fingerprint
from core.model.language_model import LanguageModel
from core.model.merge import TOKENIZER_FILES
from harness.checkpoint.pick import read_picked
from harness.errors import CheckpointError
from harness.parent import Parent
from oneday.cli.main import exit_code
from oneday.demo.demo import DEMO_BASE
from tests.oneday.finished_run import write_finished_run

PROMPT = "### Instruction:\nName a fruit.\n\n### Response:\n"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_finished_run(tmp_path_factory.mktemp("parent") / "sft")


def logits(model: LanguageModel) -> torch.Tensor:
    with torch.inference_mode():
        ids = torch.tensor([model.tokenizer(PROMPT)["input_ids"]])
        found: torch.Tensor = model.model(input_ids=ids).logits
    return found


@pytest.mark.slow
def test_the_base_of_the_new_run_computes_what_the_pick_computes(finished: Path, tmp_path: Path) -> None:
    parent = Parent.of(finished)
    base = parent.write_base(tmp_path / "dpo")
    assert base == tmp_path / "dpo" / "00_base" / "model"
    picked = finished / "08_pick" / read_picked(finished).adapter
    quantised = LanguageModel.load(DEMO_BASE, lora_adapter=picked, precision="4bit")
    assert torch.allclose(logits(quantised), logits(LanguageModel.load(base)), atol=1e-4)
    assert not torch.allclose(logits(LanguageModel.load(DEMO_BASE)), logits(LanguageModel.load(base)), atol=1e-2)
    written = (base / "model.safetensors").stat().st_mtime_ns
    assert parent.write_base(tmp_path / "dpo") == base
    assert (base / "model.safetensors").stat().st_mtime_ns == written


@pytest.mark.slow
def test_another_parent_or_changed_weights_are_refused(finished: Path, tmp_path: Path) -> None:
    base = Parent.of(finished).write_base(tmp_path / "run")
    record = tmp_path / "run" / "00_base" / "parent.json"
    told = read_json(record)
    assert (told["fingerprint"], told["run"]) == (model_fingerprint(base), "sft")
    write_json(record, {**told, "checkpoint": "checkpoint-7"})
    with pytest.raises(StageError, match=r"starts from other weights \(checkpoint-7\)\. Use another `run=` folder"):
        Parent.of(finished).write_base(tmp_path / "run")
    write_json(record, told)
    config = read_json(base / "config.json")
    write_json(base / "config.json", {**config, "rope_theta": 5})
    with pytest.raises(StageError, match=r"changed since it was written\. Remove .*00_base to make it again"):
        Parent.of(finished).write_base(tmp_path / "run")


def test_a_parent_that_trained_all_weights_is_linked(finished: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(finished, tmp_path / "sft", symlinks=True))
    model = run / "08_pick" / "model-20"
    shutil.copytree(DEMO_BASE, model)
    for name in TOKENIZER_FILES:
        (model / name).unlink(missing_ok=True)  # a checkpoint may have none
    told = read_json(run / "08_pick" / "picked.json")
    write_json(run / "08_pick" / "picked.json", {**told, "adapter": "model-20"})
    parent = Parent.of(run)
    assert not parent.is_merged
    base = parent.write_base(tmp_path / "dpo")
    assert (base / "model.safetensors").samefile(model / "model.safetensors")
    assert torch.equal(logits(LanguageModel.load(base)), logits(LanguageModel.load(DEMO_BASE)))


def test_a_run_without_a_pick_is_no_parent(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"nothing is picked in it\. Finish its training first"):
        Parent.of(tmp_path)


def test_a_parent_on_another_base_is_refused(finished: Path, tmp_path: Path) -> None:
    path = finished / "08_pick" / "picked.json"
    told = read_json(path)
    try:
        write_json(path, {**told, "base_model": str(tmp_path / "gone")})
        with pytest.raises(CheckpointError, match=re.escape("its base") + ".* is not here"):
            Parent.of(finished)
    finally:
        write_json(path, told)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--base", str(DEMO_BASE)], "--base and --init-from: the parent's picked weights are the base"),
        (["--run", "{parent}"], "is the run itself. Give --run another folder"),
    ],
)
def test_what_contradicts_a_parent_is_one_line(
    finished: Path, capsys: pytest.CaptureFixture[str], more: list[str], message: str
) -> None:
    from oneday.cli.app import app

    given = [
        "train",
        "--mix",
        str(finished / "05_mix"),
        "--card",
        "cpu",
        "--init-from",
        str(finished),
        "--run",
        "other",
    ]
    given += [text.format(parent=finished) for text in more]
    assert exit_code(lambda: app(given, prog_name="oneday", standalone_mode=False), given) == 2
    assert message in capsys.readouterr().err
