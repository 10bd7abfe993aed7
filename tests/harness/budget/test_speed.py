"""Tokens per second: one definition, told alike by summary, history, console and page."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from core.run_folder import TRAIN
from harness.budget.speed import SpeedMeter
from harness.history import read_history
from harness.inside.events import DiskFull, Evaluation, EventReader, Save, TrainBegin
from harness.ledger.ledger import Ledger
from harness.report import write_report
from harness.run import LEDGER, train
from harness.supervise import METRICS
from oneday.display.live_view import plain
from tests.harness.test_history import step, tell
from tests.harness.test_run import MEASURED, fake, make_job

DAY = [
    TrainBegin(t=0.0, up=0.0, step=0),
    step(1, 10.0),
    step(2, 12.0),  # 100 tokens in 2 s
    Evaluation(t=20.0, up=20.0, step=2, validation_loss=1.0, seconds=8.0),
    Save(t=21.0, up=21.0, step=2, seconds=1.0),
    step(3, 25.0),  # 100 tokens in 13 s, of which 9 are evaluation and save
    TrainBegin(t=100.0, up=100.0, step=3),
    step(4, 150.0),  # the begin of a start is not known
    DiskFull(t=160.0, up=160.0, step=4, seconds=10.0),
    step(5, 164.0),  # 100 tokens in 4 s
]


def test_training_time_counts_and_evaluations_saves_and_starts_do_not() -> None:
    meter = SpeedMeter.of(DAY)
    assert (meter.steps, meter.tokens_per_s, meter.last_tokens_per_s) == (5, 30.0, 25.0)


def test_one_step_tells_no_speed() -> None:
    assert SpeedMeter.of(DAY[:2]).tokens_per_s is None
    assert SpeedMeter.of([step(1, 1.0), replace(step(2, 2.0), tokens=5)]).tokens_per_s is None, "counted backwards"


def test_a_running_days_figure_is_that_of_the_whole_day_and_not_of_its_last_steps(tmp_path: Path) -> None:
    ledger = Ledger.start(tmp_path / LEDGER, budget_s=500.0)
    ledger.enter("train")
    slow = [step(n, 100.0 * n) for n in range(1, 30)]
    quick = [step(n, 2900.0 + n) for n in range(30, 60)]
    tell(tmp_path, DAY[0], *slow, *quick)
    history = read_history(tmp_path)
    assert history.tokens_per_s == pytest.approx(100 * 58 / (2900 + 59 - 100), abs=0.05)
    assert [s.tokens_per_s for s in history.steps[:2]] == [None, 1.0]
    assert f"{history.tokens_per_s:,.0f} tokens/s" in plain(history)


def test_console_history_and_page_of_a_finished_run_tell_one_figure(
    tmp_path: Path, write_mix: Callable[..., Path], demo_base: Path
) -> None:
    job = make_job(tmp_path, write_mix(), demo_base, budget_s=60.0)
    result = train(job, MEASURED, launch=fake(steps="30", save="every:5", eval_s="0.02"))
    history = read_history(job.run)
    summary = json.loads((job.run / TRAIN / "summary.json").read_text())
    assert history.tokens_per_s == result.tokens_per_s == summary["details"]["tokens_per_s"] > 0
    write_report([job.run], tmp_path / "page.html")
    assert f"<b>{history.tokens_per_s:,.0f}</b>tokens/s" in (tmp_path / "page.html").read_text()
    events = EventReader(job.run / TRAIN / METRICS, from_start=True).read()
    assert SpeedMeter.of(events).tokens_per_s == result.tokens_per_s
