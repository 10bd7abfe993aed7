"""Exact resume, on the real Axolotl: a killed run ends in the same bytes as one that was left alone."""

import os
import random
import signal
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from core.files import file_sha256, read_jsonl
from core.run_folder import OUTPUT, TRAIN
from harness.axolotl_process import Child, Launcher
from harness.base_model import load_tokenizer
from harness.checkpoint.content import EMA_WEIGHTS
from harness.inside.events import Event, Step
from harness.job import TrainJob
from harness.run import train
from harness.supervise import BATCHES, METRICS, SCHEDULE
from tests.harness.test_run import MEASURED, make_job

pytestmark = pytest.mark.slow
SLOW = replace(MEASURED, load_s=3.0, step_s=0.2)


def last_of_each_step(job: TrainJob) -> dict[int, dict[str, Any]]:
    return {record["step"]: record for record in read_jsonl(job.run / TRAIN / BATCHES)}


def killing(axolotl: Launcher, steps: set[int]) -> tuple[Launcher, Callable[[Event, float], None]]:
    """A launcher and an observer that kills its child -9 once at each of the steps."""
    children: list[Child] = []

    def launch(config: Path, log: Path, environment: Mapping[str, str]) -> Child:
        children.append(axolotl(config, log, environment))
        return children[-1]

    def observe(event: Event, left_s: float) -> None:
        if isinstance(event, Step) and event.step in steps:
            steps.remove(event.step)
            os.kill(children[-1].pid, signal.SIGKILL)

    return launch, observe


def test_killed_at_random_points_and_resumed_a_followed_plan_ends_in_the_same_bytes(
    tmp_path: Path, write_mix: Callable[..., Path], demo_base: Path, axolotl: Launcher
) -> None:
    whole = make_job(tmp_path / "whole", write_mix(), demo_base, budget_s=300.0)
    recipe = whole.recipe.model_copy(update={"num_epochs": 9.5, "eval_steps": 4, "ema_decay": 0.9})
    whole = replace(whole, recipe=recipe.model_copy(update={"gradient_accumulation_steps": 1}))
    result = train(whole, SLOW, launch=axolotl)
    assert result.stop_reason == "epochs"
    assert result.steps == 19  # nine epochs of two batches, and half of the tenth

    followed = replace(whole, run=tmp_path / "killed" / "run", follow_plan=whole.run / TRAIN / SCHEDULE)
    kills = set(random.Random(4).sample(range(5, 19), 3))
    launch, observe = killing(axolotl, kills)
    again = train(followed, SLOW, launch=launch, on_event=observe)
    assert not kills
    assert (again.stop_reason, again.steps) == ("plan", 19)
    assert sum(e["event"] == "train_begin" for e in read_jsonl(followed.run / TRAIN / METRICS)) == 4

    expected, found = last_of_each_step(whole), last_of_each_step(followed)
    assert list(expected) == list(range(1, 20))
    assert found == expected  # batch hash, rate and loss, to the last bit
    assert len({record["batch"] for record in found.values()}) > 15
    last, killed = (job.run / TRAIN / OUTPUT / "checkpoint-19" for job in (whole, followed))
    for name in ("adapter_model.safetensors", EMA_WEIGHTS):
        assert file_sha256(killed / name) == file_sha256(last / name)
    assert_average_lags(last)


def assert_average_lags(checkpoint: Path) -> None:
    """The average has the adapter's tensors, other values, and smaller second factors, which began at 0."""
    now, mean = (load_file(checkpoint / name) for name in ("adapter_model.safetensors", EMA_WEIGHTS))
    assert {name: tensor.shape for name, tensor in mean.items()} == {name: t.shape for name, t in now.items()}
    second = [name for name in mean if "lora_B" in name]
    assert 0 < sum(float(mean[n].norm()) for n in second) < sum(float(now[n].norm()) for n in second)


@pytest.mark.timed
def test_a_free_run_sees_the_same_batches(
    tmp_path: Path, write_mix: Callable[..., Path], demo_base: Path, axolotl: Launcher
) -> None:
    """Another budget has another plan, hence other rates; the batches of the steps that both made are the same."""
    mix = write_mix()
    load_tokenizer(demo_base)  # the first run's clock does not pay for the import
    seen = []
    for name, budget_s in (("a", 12.0), ("b", 15.0)):
        job = make_job(tmp_path / name, mix, demo_base, budget_s=budget_s)
        assert train(job, SLOW, launch=axolotl).stop_reason == "deadline"
        seen.append([record["batch"] for record in last_of_each_step(job).values()])
    common = min(map(len, seen))
    assert common > 5
    assert seen[0][:common] == seen[1][:common]
