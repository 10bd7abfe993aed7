"""The final model of `oneday train --final-model`: with the real trainer, and on a run whose budget has time left."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from core.model.language_model import LanguageModel
from core.model.merge import merge
from harness.axolotl_process import Launcher
from harness.base_model import load_tokenizer
from harness.budget.clock import uptime
from harness.budget.gpu_profile import get_gpu_profile
from harness.budget.rehearse import Rehearsal
from harness.checkpoint.content import RESUME_FILES
from harness.errors import BudgetError, ConfigError
from harness.job import TrainJob
from harness.ledger.ledger import Ledger
from harness.recipe import read_recipe
from oneday.commands.training.final_model import check_place, price, write_in_budget
from oneday.commands.training.train import run_train
from oneday.demo.demo import RECIPE
from oneday.display.console import Console
from oneday.requests.training import TrainRequest
from submission.export.final_model import FinalModel, write_within
from submission.export.picked_model import picked_model
from tests.conftest import DEMO_BASE, write_small_mix
from tests.submission.conftest import NF4


@pytest.fixture
def job(run: Path) -> TrainJob:
    return TrainJob(
        run=run, mix=run, base=DEMO_BASE, recipe=read_recipe(RECIPE), card=get_gpu_profile("cpu"), budget_s=100.0,
        writes_final_model=True,
    )  # fmt: skip


@pytest.mark.slow
def test_it_is_priced_by_writing_it_once_and_then_written_and_charged(job: TrainJob, tmp_path: Path) -> None:
    checkpoint = job.run / "07_train" / "output" / "checkpoint-10"
    assert price(job)(checkpoint) > 0.1
    assert sorted(path.name for path in checkpoint.parent.iterdir()) == ["checkpoint-10"]
    (job.run / "ledger.jsonl").unlink()
    Ledger.start(job.run / "ledger.jsonl", budget_s=3600).stop()
    assert write_in_budget(job, tmp_path / "final_model", Console()) is None
    assert Ledger.of_run(job.run / "ledger.jsonl").report().by_phase["export"] > 0.1
    merge(DEMO_BASE, job.run / "08_pick" / "adapter", tmp_path / "merged", quantisation=NF4, dtype="bf16")
    written, merged = (load_file(tmp_path / name / "model.safetensors") for name in ("final_model", "merged"))
    assert all(torch.equal(written[name], merged[name]) for name in merged)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "final_model", dtype="auto")
    assert model.dtype == torch.bfloat16


@pytest.mark.slow
def test_at_the_deadline_it_is_given_up_and_nothing_is_left(job: TrainJob, tmp_path: Path) -> None:
    out = tmp_path / "final_model"
    final = FinalModel(checkpoint=job.run / "08_pick" / "adapter", base=DEMO_BASE, quantisation=NF4, out=out)
    assert not write_within(final, deadline=uptime() + 0.5, beat=lambda: None)
    (job.run / "ledger.jsonl").unlink()
    Ledger.start(job.run / "ledger.jsonl", budget_s=0.01).stop()
    late = write_in_budget(job, out, Console())
    assert isinstance(late, BudgetError)
    assert "not written before the budget ended; the pick is whole" in str(late)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.slow
def test_a_model_of_a_run_that_trained_all_weights_is_copied_without_what_a_resume_needs(tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint-10"
    LanguageModel.load(DEMO_BASE).model.save_pretrained(checkpoint)
    for name in RESUME_FILES:
        (checkpoint / name).write_text("x")
    final = FinalModel(checkpoint=checkpoint, base=DEMO_BASE, quantisation=NF4, out=tmp_path / "final_model")
    assert write_within(final, deadline=uptime() + 300, beat=lambda: None)
    names = {path.name for path in (tmp_path / "final_model").iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= names
    assert not names & set(RESUME_FILES)


RECIPE_OF_SIX_STEPS = {
    "load_in_4bit": True, "adapter": "qlora", "lora_r": 8, "lora_alpha": 16, "lora_target_linear": True,
    "sequence_len": 256, "sample_packing": True, "micro_batch_size": 2, "optimizer": "adamw_torch",
    "learning_rate": 5e-3, "max_steps": 6, "eval_steps": 3, "seed": 7,
}  # fmt: skip


@pytest.mark.slow
def test_the_real_trainers_pick_is_written_in_the_budget_and_loads_in_plain_transformers(
    axolotl: Launcher, tmp_path: Path
) -> None:
    run, out = tmp_path / "run", tmp_path / "final_model"
    (tmp_path / "recipe.yml").write_text(yaml.safe_dump(RECIPE_OF_SIX_STEPS))
    request = TrainRequest(
        mix=write_small_mix(tmp_path / "mix"), config=tmp_path / "recipe.yml", card="cpu", base=DEMO_BASE, run=run,
        budget="20m", final_model=out,
    )  # fmt: skip
    run_train(request, Console(), launch=axolotl)
    report = Ledger.of_run(run / "ledger.jsonl").report()
    assert report.overshoot_s == 0
    assert report.by_phase["export"] > 0.1
    picked = picked_model(run, base=None, base_changed=False)
    assert picked.picked.step > 0
    merge(DEMO_BASE, picked.folder, tmp_path / "merged", quantisation=NF4, dtype="bf16")
    ids = torch.tensor([load_tokenizer(DEMO_BASE)("### Response:\nThe plate of Fay is hot.")["input_ids"]])
    assert AutoTokenizer.from_pretrained(out)("### Response:\nThe plate of Fay is hot.")["input_ids"] == ids[0].tolist()

    def logits(model: Any) -> torch.Tensor:
        with torch.inference_mode():
            found: torch.Tensor = model(input_ids=ids).logits.float()
        return found

    written, merged, base = (
        logits(AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32))
        for folder in (out, tmp_path / "merged", DEMO_BASE)
    )
    assert torch.equal(written, merged)
    trained = logits(LanguageModel.load(DEMO_BASE, lora_adapter=picked.folder, precision=NF4).model)
    assert (written - trained).abs().max() < 0.1 * (base - trained).abs().max()  # bf16 rounds, and no more


def test_a_run_keeps_time_free_for_it() -> None:
    costs = {"prepare_s": 1.0, "load_s": 1.0, "step_s": 1.0, "eval_s": 1.0, "save_s": 1.0, "verify_s": 0.0}
    plain = Rehearsal(**costs, peak_memory_gib=None, wall_s=1.0)
    priced = replace(plain, final_model_s=40.0)
    assert priced.pick_reserve_s() - plain.pick_reserve_s() == 50.0
    assert priced.minimum_s() - plain.minimum_s() == 50.0
    assert "final model 40.0s" in priced.describe()


def test_a_folder_with_something_in_it_is_refused_before_training(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("x")
    with pytest.raises(ConfigError, match=r"`final_model=.*is there and not empty"):
        check_place(tmp_path)
