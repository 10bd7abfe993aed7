"""The rehearsal against a card that is too small and a disk that is too full."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

import harness.budget.rehearse
from core.errors import StageError
from core.run_folder import PLAN
from harness.axolotl_process import Child
from harness.budget.rehearse import rehearse
from harness.errors import MemoryFullError, TrainError
from harness.job import TrainJob
from harness.run import train
from oneday.commands.training.train import rehearse_and_train, rehearse_until_it_fits
from oneday.display.console import Console
from tests.harness.test_run import MEASURED, fake, make_job


@pytest.fixture
def job(tmp_path: Path, write_mix: Callable[..., Path], demo_base: Path) -> TrainJob:
    return make_job(tmp_path, write_mix(), demo_base, budget_s=20.0)


def small_card(config: Path, log: Path, environment: Mapping[str, str]) -> Child:
    """Holds 128 tokens."""
    document = yaml.safe_load(config.read_text())
    fits = document["micro_batch_size"] * document["sequence_len"] <= 512
    return fake(save="2")(config, log, environment) if fits else fake(end="crash", save="")(config, log, environment)


def test_a_step_that_does_not_fit_names_what_would(job: TrainJob) -> None:
    with pytest.raises(
        MemoryFullError,
        match=r"2.00 GiB. These settings .* less: gradient_check.*: True .*micro_batch_size: 1.*true` applies",
    ) as e:
        rehearse(job, launch=small_card)
    assert "\n" not in str(e.value)


def test_auto_fit_takes_the_next_smaller_setting_and_records_it(job: TrainJob, capsys: Any) -> None:
    fitted, measured = rehearse_until_it_fits(job, Console(), launch=small_card)
    assert (fitted.recipe.micro_batch_size, fitted.recipe.gradient_accumulation_steps) == (1, 2)
    assert measured.checkpoint_bytes > 0
    assert "`auto_fit=true` takes micro_batch_size: 1" in capsys.readouterr().err
    assert fitted.inputs()["recipe"]["micro_batch_size"] == 1
    assert (job.run / PLAN / "rehearsal.json").is_file()


def test_auto_fit_goes_on_with_the_setting_it_found(job: TrainJob) -> None:
    fitted, _ = rehearse_until_it_fits(job, Console(), launch=small_card)
    again, _ = rehearse_until_it_fits(job, Console(), launch=fake(end="crash", save=""))  # is not asked
    assert again == fitted
    assert not again.redo


def test_auto_fit_throws_no_finished_run_away(job: TrainJob) -> None:
    train(job, MEASURED, launch=fake(save="1,3"))
    other = replace(job, recipe=job.recipe.model_copy(update={"learning_rate": 0.5}))
    fitted, measured = rehearse_until_it_fits(other, Console(), launch=small_card)
    with pytest.raises(StageError, match="made with other inputs"):
        train(fitted, measured, launch=fake())
    assert (job.run / "08_pick" / "picked.json").is_file()
    assert list((job.run / "07_train" / "output").glob("checkpoint-*"))


def test_auto_fit_ends_where_nothing_is_smaller(job: TrainJob) -> None:
    with pytest.raises(MemoryFullError):
        rehearse_until_it_fits(job, Console(), launch=fake(end="crash", save=""))


def test_a_run_without_rehearsal_goes_by_guesses_and_says_so(job: TrainJob, capsys: Any) -> None:
    job = replace(job, budget_s=60.0)
    result = rehearse_and_train(job, Console(), launch=fake(save="1,3"), rehearses=False)
    assert (result.steps, result.stop_reason) == (3, "epochs")
    assert result.ledger.not_charged == {}
    assert not (job.run / PLAN).exists()
    assert "not rehearsed" in capsys.readouterr().err


class Usage(NamedTuple):
    total: int
    used: int
    free: int


def test_a_disk_without_room_for_the_checkpoints_is_told_before_the_clock_starts(
    job: TrainJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nearly_full(path: Path) -> Usage:
        return Usage(100, 0, 100)

    assert harness.budget.rehearse.shutil is shutil
    monkeypatch.setattr(shutil, "disk_usage", nearly_full)
    with pytest.raises(TrainError, match=r"6 checkpoints of .* do not fit on the disk .*lower save_total_limit"):
        rehearse(job, launch=fake(save="2"))
