"""Runs that trained all weights: their losses are measured in one model's memory, and their average is tried."""

import random
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from core.files import write_jsonl
from core.generation.answer_loss import answer_losses
from core.model.folder import WEIGHT_INDEX
from core.model.language_model import LanguageModel
from core.model.token_ids import RowIds
from harness.checkpoint import average
from harness.checkpoint.average import write_average
from harness.checkpoint.averaging import AverageKind, Averaging, Trial
from harness.checkpoint.loss import CheckpointLosses
from harness.checkpoint.seal import Checkpoint
from harness.checkpoint.timed_pick import PickJob, timed_pick
from harness.data.dataset import read_dataset_rows
from harness.errors import CheckpointError
from oneday.demo.tasks import DEMO_TASKS, draw_pairs
from submission.checkpoint import find_served
from tests.conftest import DEMO_BASE

NOISES = {"checkpoint-20": 1.0, "checkpoint-30": -1.0}
"""The base plus and minus the same noise, so that their mean is the base itself."""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("models")
    weights = load_file(DEMO_BASE / "model.safetensors")
    for name, noise in NOISES.items():
        shutil.copytree(DEMO_BASE, folder / name)
        torch.manual_seed(0)
        noisy = {key: value.float() + noise * value.float().std() * torch.randn(value.shape) for key, value in
                 weights.items()}  # fmt: skip
        save_file(noisy, folder / name / "model.safetensors", metadata={"format": "pt"})
    return [folder / name for name in NOISES]


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[RowIds]:
    path = tmp_path_factory.mktemp("rows") / "validation.jsonl"
    task = next(task for task in DEMO_TASKS if task.name.endswith("first_word"))
    pairs = draw_pairs(task, random.Random(1), 48)
    write_jsonl(path, [{"instruction": task.definition, "input": query, "output": answer} for query, answer in pairs])
    return read_dataset_rows(path, DEMO_BASE)


def loss_alone(model: Path, rows: list[RowIds]) -> float:
    found = answer_losses(LanguageModel.load(model), [(row.input_ids, row.labels) for row in rows])
    return sum(loss for loss, _ in found) / sum(num for _, num in found)


def test_each_loss_is_that_of_the_model_loaded_by_itself(models: list[Path], rows: list[RowIds]) -> None:
    losses = CheckpointLosses(DEMO_BASE, precision=None, rows=rows)
    everything = range(len(rows))
    for model in (models[0], models[1], models[0]):
        assert losses.mean(model) == pytest.approx(loss_alone(model, rows), abs=1e-5)
    assert losses.base_mean(everything) == pytest.approx(loss_alone(DEMO_BASE, rows), abs=1e-5)
    assert losses.mean(models[1]) == pytest.approx(loss_alone(models[1], rows), abs=1e-5)


def test_the_average_is_written_in_pieces_and_picked_where_it_is_better(
    models: list[Path], rows: list[RowIds], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(average, "SHARD_BYTES", 300_000)
    checkpoints = [Checkpoint(path=path, step=int(path.name[-2:]), validation_loss=None) for path in models]
    job = PickJob(
        folder=tmp_path,
        checkpoints=checkpoints,
        rejected=(),
        base=DEMO_BASE,
        precision=None,
        rows=rows,
        averaging=Averaging(num=2),
    )
    picked = timed_pick(job)
    assert picked.checkpoint == "average of checkpoint-20, checkpoint-30"
    assert picked.adapter == "model-average-30"
    assert picked.kind == "model"
    served = find_served(tmp_path, base=None)
    assert served.lora_adapter is None
    assert (served.base / WEIGHT_INDEX).is_file()
    assert loss_alone(served.base, rows) == pytest.approx(picked.validation_loss, abs=1e-5)
    assert picked.validation_loss == pytest.approx(loss_alone(DEMO_BASE, rows), abs=1e-3)
    assert not (tmp_path / "08_pick" / "average").exists()


def test_models_of_other_shapes_have_no_average(models: list[Path], tmp_path: Path) -> None:
    other = Path(shutil.copytree(models[0], tmp_path / "other"))
    weights = load_file(other / "model.safetensors")
    weights.pop("model.norm.weight")
    save_file(weights, other / "model.safetensors", metadata={"format": "pt"})
    trial = Trial(kind=AverageKind.LAST, members=("a", "b"), weights=(0.5, 0.5))
    with pytest.raises(CheckpointError, match="other: its weights differ from"):
        write_average(trial, [models[0], other], tmp_path / "out")
