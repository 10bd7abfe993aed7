"""What a run came to: better than its base or not, diverged or not, its learning rate used up or not."""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.files import read_json
from core.run_folder import PLAN
from harness.axolotl_process import Child, Launcher
from harness.budget.curve import Curve
from harness.budget.rehearse import rehearse
from harness.checkpoint.verdict import Verdict, faint_share
from harness.errors import DataError, TrainError
from harness.run import train
from oneday.commands.training.train import check_converged
from oneday.display.console import Console
from oneday.display.training import show_training
from tests.harness.test_run import MEASURED, fake, make_job

WriteMix = Callable[..., Path]


def verdict(**changed: Any) -> Verdict:
    return Verdict(**({"base_loss": 2.0, "best_loss": 1.0, "last_loss": 1.1, "stop_reason": "deadline"} | changed))


@pytest.mark.parametrize(
    ("changed", "better", "diverged"),
    [
        ({}, True, False),
        ({"best_loss": 2.0, "last_loss": 2.0}, False, False),
        ({"best_loss": 10.2, "last_loss": 10.4}, False, True),
        ({"last_loss": 2.5}, True, True),
        ({"last_loss": None, "stop_reason": "not_finite"}, True, True),
        ({"base_loss": None}, None, False),
        ({"base_loss": None, "stop_reason": "not_finite"}, None, True),
    ],
)
def test_better_than_the_base_and_diverged_are_two_things(
    changed: dict[str, Any], better: bool | None, diverged: bool
) -> None:
    found = verdict(**changed)
    assert (found.better_than_base, found.diverged) == (better, diverged)
    assert found.is_good == (better is not False and not diverged)
    assert ("NOT better" in found.headline) == (better is False)
    assert ("diverged" in found.headline) == diverged


LINEAR = Curve(shape="linear")


def rates(num: int, horizon: int) -> list[float]:
    return [max(0.0, 1 - step / horizon) for step in range(num)]


def test_steps_without_a_rate_are_told_of_beyond_what_the_shape_has() -> None:
    import math

    cosine = [0.5 * (1 + math.cos(math.pi * step / 1_000)) for step in range(1_000)]
    assert faint_share(cosine, peak=1.0, curve=Curve(shape="cosine")) == pytest.approx(0.0, abs=0.002)
    assert faint_share(rates(200, 200), peak=1.0, curve=LINEAR) < 0.01
    share = faint_share(rates(230, 101), peak=1.0, curve=LINEAR)  # 129 of 230 steps at rate 0, as seen
    assert share == pytest.approx(130 / 230 - 0.01, abs=0.01)
    assert "below 1%" in verdict(faint_share=share).warning
    assert verdict(faint_share=0.04).warning == ""
    warm_up = [step / 1_000 for step in range(1_000)]
    assert faint_share([*warm_up, *rates(1_000, 1_000)], peak=1.0, curve=LINEAR) < 0.01


def test_a_run_that_ends_worse_than_its_base_says_so_first_and_keeps_its_best(
    tmp_path: Path, write_mix: WriteMix, demo_base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = make_job(tmp_path, write_mix(), demo_base, budget_s=60.0)
    result = train(job, replace(MEASURED, base_loss=0.2), launch=fake(save="1,3"))  # its losses are 1 and 1/3
    assert result.picked.better_than_base is False
    assert [(c.checkpoint, c.step) for c in result.picked.candidates] == [
        ("base", 0), ("checkpoint-1", 1), ("checkpoint-3", 3),
    ]  # fmt: skip
    assert (job.run / "08_pick" / "adapter" / "adapter_model.safetensors").is_file()
    capsys.readouterr()
    show_training(result, Console())
    first = capsys.readouterr().err.splitlines()[0]
    assert first.startswith("NOT better than the base: validation loss 0.3333 against 0.2000; training diverged")
    with pytest.raises(TrainError, match=r"its last validation loss is 0\.3333") as e:
        check_converged(result)
    assert "\n" not in str(e.value)
    assert read_json(job.run / "08_pick" / "picked.json")["better_than_base"] is False


@pytest.fixture
def damaged_base(tmp_path: Path, demo_base: Path) -> Path:
    return Path(shutil.copytree(demo_base, tmp_path / "base"))


@pytest.mark.slow
def test_a_base_whose_weights_are_no_numbers_is_one_line(
    tmp_path: Path, write_mix: WriteMix, damaged_base: Path, axolotl: Launcher
) -> None:
    from safetensors.torch import load_file, save_file

    path = next(damaged_base.glob("*.safetensors"))
    weights = load_file(path)
    weights["model.norm.weight"][0] = float("nan")
    save_file(weights, path, metadata={"format": "pt"})
    job = make_job(tmp_path, write_mix(), damaged_base, budget_s=60.0)
    with pytest.raises(DataError, match="its validation loss is nan") as e:
        rehearse(job, launch=axolotl)
    assert "\n" not in str(e.value)


def test_more_tokens_than_embeddings_are_told_before_anything_starts(
    tmp_path: Path, write_mix: WriteMix, damaged_base: Path
) -> None:
    """Axolotl grows the embeddings by itself, and what it saves then does not load onto the base."""
    tokenizer = json.loads((damaged_base / "tokenizer.json").read_text())
    config = read_json(damaged_base / "config.json")
    added = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    tokenizer["added_tokens"].append({"id": config["vocab_size"], "content": "<|new|>", **added})
    (damaged_base / "tokenizer.json").write_text(json.dumps(tokenizer))
    job = make_job(tmp_path, write_mix(), damaged_base, budget_s=60.0)
    with pytest.raises(DataError, match="resize_token_embeddings") as e:
        rehearse(job, launch=fake())
    assert "\n" not in str(e.value)
    assert not (job.run / "ledger.jsonl").exists()


@pytest.mark.slow
def test_a_checkpoint_that_does_not_load_onto_its_base_fails_in_the_rehearsal(
    tmp_path: Path, write_mix: WriteMix, demo_base: Path, axolotl: Launcher
) -> None:
    """Axolotl is started on the base and told, behind our back, to make its embeddings larger."""
    job = make_job(tmp_path, write_mix(), demo_base, budget_s=60.0)

    def grown(config: Path, log: Path, environment: Mapping[str, str]) -> Child:
        with config.open("a") as file:
            file.write('\ntokens: ["<|one|>", "<|two|>"]\nlora_modules_to_save: [embed_tokens, lm_head]\n')
        return axolotl(config, log, environment)

    with pytest.raises(TrainError, match="the rehearsal's checkpoint cannot be used with this base") as e:
        rehearse(job, launch=grown)
    assert "\n" not in str(e.value)
    assert not (job.run / PLAN / "done.json").exists()
    assert not (job.run / "ledger.jsonl").exists()


@pytest.mark.slow
def test_a_learning_rate_that_is_far_too_high_is_told_in_the_rehearsal(
    tmp_path: Path, write_mix: WriteMix, demo_base: Path, axolotl: Launcher
) -> None:
    job = make_job(tmp_path, write_mix(), demo_base, budget_s=60.0)
    recipe = job.recipe.model_copy(update={"learning_rate": 10.0, "warmup_steps": 0})
    with pytest.raises(TrainError, match=r"after \d+ steps of the rehearsal\. Lower learning_rate, which is 10"):
        rehearse(replace(job, recipe=recipe), launch=axolotl)
