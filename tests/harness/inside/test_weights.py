"""Every kind of weights, on the real Axolotl: a killed run ends in the same bytes, and its pick is served."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.files import file_sha256
from core.model.language_model import LanguageModel
from core.run_folder import OUTPUT, PICK, TRAIN
from harness.axolotl_process import Launcher
from harness.budget.rehearse import rehearse
from harness.job import TrainJob
from harness.keys.table import KeyTable
from harness.recipe import recipe_of
from harness.run import train
from harness.supervise import SCHEDULE
from submission.checkpoint import find_served
from tests.harness.inside.test_exact import SLOW, killing, last_of_each_step
from tests.harness.test_run import make_job

pytestmark = pytest.mark.slow

ADAPTER = {"lora_r": 8, "lora_alpha": 16, "lora_dropout": 0.05, "lora_target_linear": True}
WEIGHTS: dict[str, dict[str, Any]] = {
    "lora": {"adapter": "lora", **ADAPTER, "learning_rate": 3e-3, "lr_scheduler": "constant_with_warmup"},
    "lora_8bit": {"adapter": "lora", "load_in_8bit": True, **ADAPTER, "learning_rate": 3e-3, "lr_scheduler": "rex"},
    "full": {"learning_rate": 3e-4, "lr_scheduler": "polynomial", "evals_per_epoch": 1},
}
COMMON = {
    "sequence_len": 512, "sample_packing": True, "micro_batch_size": 2, "optimizer": "adamw_torch", "max_steps": 7,
    "warmup_ratio": 0.2, "eval_steps": 3, "save_total_limit": 4, "seed": 7,
}  # fmt: skip


@pytest.mark.parametrize("weights", WEIGHTS)
def test_killed_and_resumed_a_followed_plan_ends_in_the_same_bytes_and_is_served(
    weights: str, tmp_path: Path, write_mix: Callable[..., Path], demo_base: Path, axolotl: Launcher
) -> None:
    recipe = recipe_of(KeyTable.of({**COMMON, **WEIGHTS[weights]}))
    assert recipe.weights == weights
    whole: TrainJob = replace(make_job(tmp_path / "whole", write_mix(), demo_base, budget_s=900.0), recipe=recipe)
    measured = rehearse(whole, launch=axolotl)
    result = train(whole, replace(SLOW, base_loss=measured.base_loss), launch=axolotl)
    assert (result.stop_reason, result.steps) == ("epochs", 7)
    assert result.verdict.better_than_base

    followed = replace(whole, run=tmp_path / "killed" / "run", follow_plan=whole.run / TRAIN / SCHEDULE)
    launch, observe = killing(axolotl, {5})
    again = train(followed, SLOW, launch=launch, on_event=observe)
    assert (again.stop_reason, again.ledger.resumes) == ("plan", 0)
    assert last_of_each_step(followed) == last_of_each_step(whole)  # batch hash, rate and loss, to the last bit
    name = "model.safetensors" if weights == "full" else "adapter_model.safetensors"
    ends = [file_sha256(job.run / TRAIN / OUTPUT / "checkpoint-7" / name) for job in (whole, followed)]
    assert ends[0] == ends[1]

    served = find_served(whole.run, base=None)
    assert (served.lora_adapter is None) == (weights == "full")
    assert file_sha256((served.lora_adapter or served.base) / name) == file_sha256(
        whole.run / TRAIN / OUTPUT / result.picked.checkpoint / name
    )
    model = LanguageModel.load(served.base, lora_adapter=served.lora_adapter, precision=served.precision)
    assert model.precision == {"lora": "fp32", "lora_8bit": "8bit", "full": "fp32"}[weights]
    assert len(model.generate(["### Response:\n"], max_new_tokens=4)) == 1
    assert not (whole.run / PICK / ("adapter" if weights == "full" else "model")).exists()
