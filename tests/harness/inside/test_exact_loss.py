"""The trainer's numbers against numbers computed outside of it, on the real Axolotl in fp32 on the CPU."""

import os
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from core.files import read_jsonl
from core.generation.answer_loss import answer_losses
from core.model.language_model import LanguageModel
from core.run_folder import OUTPUT, PLAN, TRAIN
from harness.axolotl_process import Child, Launcher
from harness.budget.rehearse import rehearse
from harness.checkpoint.loss import CheckpointLosses
from harness.data.dataset import read_dataset_rows
from harness.data.pack import PackPlan, rows_of
from harness.errors import TrainError
from harness.inside.events import Event, Isolation, Kernels
from harness.job import TrainJob
from harness.run import train
from harness.supervise import BATCHES, DATA, PACKS
from tests.harness.test_run import MEASURED, make_job

pytestmark = pytest.mark.slow
SLOW = replace(MEASURED, load_s=3.0, step_s=0.2)
WriteMix = Callable[..., Path]


def plain(job: TrainJob, **changes: Any) -> TrainJob:
    """Without anything random, and in full precision."""
    quiet = {
        "load_in_4bit": False, "adapter": "lora", "lora_dropout": 0.0, "neftune_noise_alpha": None, "num_epochs": 2,
    }  # fmt: skip
    return replace(job, recipe=job.recipe.model_copy(update={**quiet, **changes}))


def losses_outside(job: TrainJob) -> list[tuple[float, int]]:
    """(sum, tokens) of each training row's answer, by the untrained base."""
    rows = read_dataset_rows(job.run / TRAIN / DATA / "train.parquet", job.base)
    return answer_losses(LanguageModel.load(job.base), [(row.input_ids, row.labels) for row in rows])


def test_the_validation_loss_is_the_one_computed_row_by_row(
    tmp_path: Path, write_mix: WriteMix, demo_base: Path, axolotl: Launcher
) -> None:
    job = plain(make_job(tmp_path, write_mix(60, 23), demo_base, budget_s=60.0))
    result = train(job, SLOW, launch=axolotl)
    rows = read_dataset_rows(job.run / TRAIN / DATA / "validation.parquet", job.base)
    assert len(rows) == 23  # the bins of the last batch are not full
    losses = CheckpointLosses(job.base, precision=None, rows=rows)
    assert len(result.picked.candidates) >= 2
    for candidate in result.picked.candidates:
        outside = losses.mean(job.run / TRAIN / OUTPUT / candidate.checkpoint)
        assert candidate.validation_loss == pytest.approx(outside, abs=1e-5)


@pytest.mark.parametrize("mode", ["token_weighted", "birbal"])
def test_gradient_accumulation_weighs_tokens_or_micro_batches(
    tmp_path: Path, write_mix: WriteMix, demo_base: Path, axolotl: Launcher, mode: str
) -> None:
    job = plain(
        make_job(tmp_path, write_mix(), demo_base, budget_s=60.0),
        gradient_accumulation_steps=3,
        gradient_accumulation_mode=mode,
        sequence_len=256,
        micro_batch_size=1,
        num_epochs=1,
    )
    train(job, SLOW, launch=axolotl)
    micro_batches = PackPlan.read(job.run / TRAIN / PACKS).micro_batches[:3]
    of_row = losses_outside(job)
    parts = [[of_row[row] for row in rows_of([batch])] for batch in micro_batches]
    sums = [(sum(s for s, _ in part), sum(n for _, n in part)) for part in parts]
    assert len({n for _, n in sums}) > 1  # else both modes would be one
    by_token = sum(s for s, _ in sums) / sum(n for _, n in sums)
    by_batch = sum(s / n for s, n in sums) / 3
    assert abs(by_token - by_batch) > 1e-4
    first = next(read_jsonl(job.run / TRAIN / BATCHES))
    expected, other = (by_token, by_batch) if mode == "token_weighted" else (by_batch, by_token)
    assert first["loss"] == pytest.approx(expected, abs=1e-5)
    assert abs(first["loss"] - other) > 5e-5


def test_a_loss_that_is_no_number_stops_the_run_at_once(
    tmp_path: Path, write_mix: WriteMix, demo_base: Path, axolotl: Launcher
) -> None:
    """Here before anything could be kept; with checkpoints the best is: `loss is not a number` of test_faults.py."""
    job = plain(
        make_job(tmp_path, write_mix(), demo_base, budget_s=60.0), learning_rate=1e30, max_grad_norm=1e30, num_epochs=9
    )
    with pytest.raises(TrainError, match=r"not finite before a checkpoint was complete. Lower learning_rate"):
        train(job, SLOW, launch=axolotl)
    steps = [record["step"] for record in read_jsonl(job.run / TRAIN / BATCHES)]
    assert steps == [1]


# --- packed samples


@pytest.mark.parametrize("attention", ["sdpa", "eager", "flex_attention"])
def test_packed_samples_do_not_see_each_other(
    tmp_path: Path, write_mix: WriteMix, demo_base: Path, axolotl: Launcher, attention: str
) -> None:
    job = make_job(tmp_path, write_mix(), demo_base, budget_s=60.0)
    job = replace(job, recipe=job.recipe.model_copy(update={"attn_implementation": attention}))
    seen: list[Event] = []
    # torch has no backward pass for flex attention on a CPU; the proof comes before it
    with pytest.raises(TrainError, match="FlexAttention") if attention == "flex_attention" else nullcontext():
        rehearse(job, launch=axolotl, on_event=seen.append)
    (found,) = (e for e in seen if isinstance(e, Isolation))
    assert found.moved == 0.0
    assert found.spread > 0.1
    if attention != "flex_attention":
        (ran,) = (e.paths["attention"] for e in seen if isinstance(e, Kernels))
        assert ran == {"sdpa": ["aten::_scaled_dot_product_flash_attention_for_cpu"], "eager": []}[attention]


def test_attention_that_leaks_is_refused(
    tmp_path: Path, write_mix: WriteMix, demo_base: Path, axolotl: Launcher
) -> None:
    """Axolotl's default, without an explicit implementation. A recipe cannot leave it out; a launcher can."""

    def launch(config: Path, log: Path, environment: Mapping[str, str]) -> Child:
        document = yaml.safe_load(config.read_text())
        del document["attn_implementation"]
        config.write_text(yaml.safe_dump(document))
        return axolotl(config, log, environment)

    job = make_job(tmp_path, write_mix(), demo_base, budget_s=60.0)
    with pytest.raises(TrainError, match=r"lets packed samples attend to each other .*Use sdpa"):
        rehearse(job, launch=launch)
    assert not (job.run / PLAN / "rehearsal.json").exists()


def test_the_number_of_threads_is_fixed_unless_the_user_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    """What makes two runs equal to the bit: the same number of threads."""
    from harness.axolotl_process import axolotl_environment
    from harness.budget.gpu_profile import get_gpu_profile

    names = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    for name in names:
        monkeypatch.delenv(name, raising=False)
    environment = axolotl_environment(get_gpu_profile("cpu"))
    assert environment["OMP_NUM_THREADS"] == str(os.cpu_count())
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    environment = axolotl_environment(get_gpu_profile("cpu"))
    assert [environment.get(name) for name in names] == ["1", "active", None]


def test_another_architecture_trains(tmp_path: Path, write_mix: WriteMix, demo_base: Path, axolotl: Launcher) -> None:
    """Qwen3, as in qwen3_8b_qlora_4090.yml, with random tiny weights."""
    import shutil

    from transformers import Qwen3Config, Qwen3ForCausalLM

    base = tmp_path / "qwen3"
    torch.manual_seed(1)
    config = Qwen3Config(
        vocab_size=768, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=16, max_position_embeddings=1024, bos_token_id=1, eos_token_id=2,
        pad_token_id=0,
    )  # fmt: skip
    Qwen3ForCausalLM(config).save_pretrained(base)
    for path in demo_base.glob("token*"):
        shutil.copy(path, base)
    job = replace(make_job(tmp_path, write_mix(), base, budget_s=60.0), base=base)
    job = replace(job, recipe=job.recipe.model_copy(update={"num_epochs": 8}))
    result = train(job, SLOW, launch=axolotl)
    assert (result.stop_reason, result.steps) == ("epochs", 16)
    losses = [c.validation_loss for c in result.picked.candidates]
    assert losses[-1] < losses[0]
