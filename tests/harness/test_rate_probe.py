"""`learning_rate: auto`: three probes inside the budget, resumable, and the best rate trains."""

from dataclasses import replace
from pathlib import Path

import pytest

from core.errors import Interrupted
from core.files import read_json
from core.manifest import read_manifest
from harness.axolotl_process import Child, Launcher
from harness.base_model import load_tokenizer
from harness.budget.rate import formula_rate
from harness.inside.events import Event, TrainBegin
from harness.job import TrainJob
from harness.ledger.ledger import Ledger
from harness.rate_probe import RateChoice, choose_rate, probe_steps
from harness.run import LEDGER, train
from tests.harness.test_run import MEASURED, WriteMix, fake, make_job

FORMULA = 1e-3
QUICK = replace(MEASURED, step_s=0.7, load_s=0.02)
"""So that eight steps fit each rate's part of 400 s. The fake takes 0.05 s for one."""


@pytest.fixture
def job(tmp_path: Path, write_mix: WriteMix, demo_base: Path) -> TrainJob:
    load_tokenizer(demo_base)
    job = make_job(tmp_path, write_mix(), demo_base, budget_s=400.0)
    changes = {"learning_rate": FORMULA, "learning_rate_auto": True, "num_epochs": 40.0}
    return replace(job, recipe=job.recipe.model_copy(update=changes))


def counted(launch: Launcher) -> tuple[Launcher, list[Path]]:
    started: list[Path] = []

    def counting(config: Path, log: Path, environment: object) -> Child:
        started.append(config)
        return launch(config, log, environment)  # type: ignore[arg-type]

    return counting, started


@pytest.mark.parametrize(
    ("family", "width", "rate"), [("llama", 4096, 2.86e-4), ("qwen3", 4096, 4.73e-4), ("llama", 2048, 4.91e-4)]
)
def test_the_formula_gives_the_published_rates(family: str, width: int, rate: float) -> None:
    config = {"model_type": family, "hidden_size": width}
    found = formula_rate(config, is_adapter=True, alpha=32)
    assert (found.rate, found.is_calibrated) == (pytest.approx(rate, rel=0.01), True)
    assert formula_rate(config, is_adapter=False).rate == pytest.approx(rate / 10, rel=0.01)
    assert formula_rate(config, is_adapter=True, alpha=256).rate == pytest.approx(rate / 8, rel=0.01)
    assert not formula_rate({**config, "model_type": "gemma3_text"}, is_adapter=True).is_calibrated


def test_the_best_rate_is_trained_and_the_probes_are_charged(job: TrainJob) -> None:
    launch, started = counted(fake(best_rate="0.00034", steps="8", save="every:4"))
    choice = choose_rate(job, QUICK, launch=launch)
    assert [probe.rate for probe in choice.probes] == [1e-3, 3.33e-4, 3e-3]
    assert (choice.rate, choice.formula_rate) == (3.33e-4, FORMULA)
    assert choice.reason.startswith("the lowest validation loss after 8 steps (0.001: ")
    assert [probe.stopped for probe in choice.probes] == [False, False, True]
    assert len(started) == 3
    chosen = choice.job(job)
    assert (chosen.recipe.learning_rate, chosen.recipe.learning_rate_auto) == (3.33e-4, False)
    result = train(chosen, QUICK, launch=fake())
    report = result.ledger
    assert report.overshoot_s == 0
    assert report.by_account is not None
    assert set(report.by_account) >= {"rate 0.001", "rate 0.000333", "rate 0.003"}
    assert report.charged_s >= sum(probe.charged_s for probe in choice.probes)
    assert read_manifest(job.run)["learning_rate"]["rate"] == 3.33e-4
    assert choose_rate(job, QUICK, launch=fake(end="crash")) == choice, "a second call reads the choice"


def test_a_probe_that_was_interrupted_goes_on_and_finished_ones_stay(job: TrainJob) -> None:
    launch, started = counted(fake(steps="8", save="every:4"))
    seen = 0

    def interrupting(event: Event, left_s: float) -> None:
        nonlocal seen
        seen += isinstance(event, TrainBegin)
        if seen == 2:
            raise Interrupted("stopped")

    with pytest.raises(Interrupted):
        choose_rate(job, QUICK, launch=launch, on_event=interrupting)
    charged_s = Ledger.of_run(job.run / LEDGER).charged_s
    budget = read_json(job.run / "06_probe" / "rate-0.001" / "probe.json")
    choice = choose_rate(job, QUICK, launch=launch)
    assert len(started) == 4, "the first rate once, the second twice, the third once"
    assert choice.probes[0].charged_s == budget["charged_s"]
    assert Ledger.of_run(job.run / LEDGER).charged_s > charged_s
    assert isinstance(choice, RateChoice)


def test_a_kill_just_before_a_result_is_written_changes_nothing(job: TrainJob, monkeypatch: pytest.MonkeyPatch) -> None:
    launch, started = counted(fake(best_rate="0.00034", steps="8", save="every:4"))
    whole = choose_rate(job, QUICK, launch=launch)
    again = replace(job, run=job.run.with_name("again"))

    def killed(path: Path, value: object) -> None:
        raise Interrupted("stopped")

    monkeypatch.setattr("harness.rate_probe.write_json", killed)
    with pytest.raises(Interrupted):
        choose_rate(again, QUICK, launch=launch)
    monkeypatch.undo()
    found = choose_rate(again, QUICK, launch=launch)
    assert len(started) == 6, "the first rate is not trained again"
    for one, other in zip(whole.probes, found.probes, strict=True):
        assert replace(one, charged_s=0.0) == replace(other, charged_s=0.0)
    assert not list((again.run / "06_probe").rglob("*.safetensors")), "the weights of probes are not kept"


def test_a_probe_is_no_longer_than_the_training(job: TrainJob) -> None:
    whole = probe_steps(job, QUICK)
    short = replace(job, recipe=job.recipe.model_copy(update={"max_steps": whole - 1}))
    assert probe_steps(short, QUICK) == whole - 1


def test_a_short_budget_takes_the_formulas_rate(job: TrainJob) -> None:
    short = replace(job, budget_s=20.0)
    assert probe_steps(short, MEASURED) < 8
    choice = choose_rate(short, MEASURED, launch=fake(end="crash"))
    assert (choice.rate, choice.probes) == (FORMULA, ())
    assert "5% of the budget hold fewer than 8 steps at each of 3 rates" in choice.reason
