"""Conversations, texts and prompted examples of one mix, trained by the real Axolotl."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.encoding.rendering import CHATML
from core.files import read_json
from core.run_folder import OUTPUT, TRAIN
from harness.axolotl_process import Launcher
from harness.budget.rehearse import rehearse
from harness.checkpoint.loss import CheckpointLosses
from harness.data.dataset import read_dataset_rows
from harness.data.own_mix import OwnMixParameters, own_mix
from harness.data.share import DataFile
from harness.run import train
from harness.supervise import DATA
from submission.checkpoint import find_served
from tests.harness.test_run import make_job


def talk(number: int) -> dict[str, Any]:
    turns = [("user", f"Colour {number}?"), ("assistant", "red"), ("user", "And now?"), ("assistant", "green")]
    return {"messages": [{"role": role, "content": text} for role, text in turns]}


@pytest.mark.slow
def test_every_kind_is_trained_and_the_trainers_loss_is_that_of_the_rows(
    tmp_path: Path, demo_base: Path, axolotl: Launcher
) -> None:
    rows = [
        *(talk(n) for n in range(12)),
        *({"text": f"Line {n} of a tale about a fox.\n\n" * 20} for n in range(4)),
        *({"instruction": f"Say colour {n}.", "output": "red"} for n in range(8)),
    ]
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    stage = own_mix(tmp_path / "run", [DataFile(str(tmp_path / "mine.jsonl"))], OwnMixParameters())
    job = make_job(tmp_path, stage.directory, demo_base, budget_s=3_600.0)
    recipe = job.recipe.model_copy(update={"num_epochs": 4, "sequence_len": 256, "warmup_steps": 2})
    job = replace(job, recipe=recipe)
    result = train(job, rehearse(job, launch=axolotl), launch=axolotl)
    assert result.stop_reason == "epochs"
    assert result.verdict.better_than_base is True
    described = read_json(job.run / TRAIN / DATA / "dataset.json")
    assert (described["num_dropped"], described["num_split"]) == (0, 4)
    assert described["chat_template"].startswith("chat template: ChatML")
    rows_of_run = read_dataset_rows(job.run / TRAIN / DATA / "validation.parquet", job.base)
    loss = CheckpointLosses(job.base, precision="4bit", rows=rows_of_run).mean(
        job.run / TRAIN / OUTPUT / result.picked.checkpoint
    )
    assert loss == pytest.approx(result.picked.validation_loss, abs=1e-3)
    served = find_served(job.run, base=None)
    assert served.chat_template is not None, "the base has none, and what it learnt is served"
    assert served.chat_template.read_text() == CHATML
