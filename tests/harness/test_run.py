"""The supervisor against a child that hangs, crashes or says nothing, and against the real Axolotl."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.errors import Interrupted, StageError
from core.files import read_json, read_jsonl
from core.run_folder import OUTPUT, TRAIN
from core.stage import Stage, locked
from harness.axolotl_process import Child, Launcher
from harness.base_model import load_tokenizer
from harness.budget.clock import Clock, uptime
from harness.budget.gpu_profile import get_gpu_profile
from harness.budget.rehearse import Rehearsal, rehearse
from harness.checkpoint.averaging import Averaging
from harness.checkpoint.loss import CheckpointLosses
from harness.data.dataset import read_dataset, read_dataset_rows
from harness.drive import LastEvents
from harness.errors import BudgetError, TrainError
from harness.inside.events import (
    Evaluation,
    Event,
    PluginAlive,
    PluginRegistered,
    Save,
    Step,
    Tick,
    TrainBegin,
    TrainEnd,
)
from harness.job import TrainJob
from harness.ledger.ledger import Ledger
from harness.recipe import read_recipe
from harness.run import train
from harness.supervise import BATCHES, DATA, GAP_FACTOR, IMPORT_TIMEOUT_S, METRICS, MIN_SILENCE_S, Supervisor
from oneday.commands.training.train import steps_cut
from oneday.demo.demo import RECIPE

WriteMix = Callable[..., Path]
MEASURED = Rehearsal(
    prepare_s=0.05, load_s=0.1, step_s=0.05, eval_s=0.01, save_s=0.01, verify_s=0.001, peak_memory_gib=None, wall_s=1
)


def make_job(tmp_path: Path, mix: Path, base: Path, *, budget_s: float) -> TrainJob:
    recipe = read_recipe(RECIPE).model_copy(update={"eval_steps": 10, "logging_steps": 1})
    return TrainJob(
        run=tmp_path / "run", mix=mix, base=base, recipe=recipe, card=get_gpu_profile("cpu"), budget_s=budget_s
    )


def fake(**behaviour: str) -> Launcher:
    def launch(config: Path, log: Path, environment: Mapping[str, str]) -> Child:
        names = {f"FAKE_{key.upper()}": value for key, value in behaviour.items()}
        script = Path(__file__).with_name("fake_axolotl.py")
        with log.open("ab") as output:
            return subprocess.Popen(
                [sys.executable, str(script), str(config)],
                env={**os.environ, **environment, **names, "PYTHONPATH": str(script.parents[2])},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    return launch


@pytest.fixture
def job(tmp_path: Path, write_mix: WriteMix, demo_base: Path) -> TrainJob:
    load_tokenizer(demo_base)  # imports its library now, not on a test's short budget
    return make_job(tmp_path, write_mix(), demo_base, budget_s=60.0)


def test_a_run_that_ends_by_itself_is_picked_and_its_second_run_does_nothing(job: TrainJob) -> None:
    result = train(job, MEASURED, launch=fake(save="1,3"))
    assert (result.steps, result.stop_reason, result.picked.checkpoint) == (3, "epochs", "checkpoint-3")
    assert result.ledger.overshoot_s == 0
    again = train(job, MEASURED, launch=fake(end="crash"))
    assert again.was_done
    assert again.picked.checkpoint == "checkpoint-3"


@pytest.mark.timed
def test_a_child_that_hangs_is_killed_before_the_deadline_and_the_best_is_published(job: TrainJob) -> None:
    start = time.monotonic()
    result = train(replace(job, budget_s=5.0), MEASURED, launch=fake(end="hang", save="1,2"))
    assert time.monotonic() - start < 5.0
    assert (result.stop_reason, result.picked.checkpoint) == ("killed", "checkpoint-2")
    assert result.ledger.charged_s <= 5.0
    pid = next(read_jsonl(job.run / TRAIN / METRICS))["pid"]
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.timed
def test_a_deadline_without_a_checkpoint_says_so(job: TrainJob) -> None:
    with pytest.raises(BudgetError, match=r"ran out before a checkpoint was complete.*`budget=`"):
        train(replace(job, budget_s=3.0), MEASURED, launch=fake(end="hang", save=""))


def test_a_budget_below_the_measured_minimum_is_refused_with_the_minimum(job: TrainJob) -> None:
    slow = replace(MEASURED, load_s=60.0)
    with pytest.raises(BudgetError, match=r"the measured minimum of 1m1[78]s \(data 0\.[01]s, start 1m00s"):
        train(job, slow, launch=fake())
    assert not (job.run / "ledger.jsonl").exists()


def test_a_crash_tells_the_reason_and_what_is_kept_and_the_next_run_resumes(job: TrainJob) -> None:
    with pytest.raises(
        TrainError,
        match=r"CUDA out of memory.*Lower micro_batch_size.*step 2 is complete: mend the cause; then the same",
    ):
        train(job, MEASURED, launch=fake(end="crash", save="2"))
    result = train(job, MEASURED, launch=fake(save="3"))
    assert result.picked.checkpoint == "checkpoint-3"
    assert result.ledger.resumes == 1


def test_a_child_without_our_plugin_is_noticed(job: TrainJob) -> None:
    with pytest.raises(TrainError, match="without our plugin"):
        train(job, MEASURED, launch=fake(end="silent"))


def test_other_inputs_in_the_same_run_folder_are_refused(job: TrainJob) -> None:
    train(job, MEASURED, launch=fake())
    with pytest.raises(StageError, match=r"budget_s: 60\.0 -> 40\.0"):
        train(replace(job, budget_s=40.0), MEASURED, launch=fake())


def test_the_refused_budget_leaves_nothing_behind_that_bars_a_longer_one(job: TrainJob) -> None:
    with pytest.raises(BudgetError):
        train(replace(job, budget_s=0.5), MEASURED, launch=fake())
    assert train(job, MEASURED, launch=fake()).stop_reason == "epochs"


def test_a_run_resumed_past_its_deadline_publishes_without_training(
    job: TrainJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(TrainError):
        train(job, MEASURED, launch=fake(end="crash", save="2"))
    later = Clock(up=lambda: uptime() + 60.0, wall=lambda: time.time() + 60.0)
    monkeypatch.setattr("harness.ledger.ledger.Clock", lambda: later)
    result = train(job, MEASURED, launch=fake(end="silent"))
    assert (result.stop_reason, result.picked.checkpoint) == ("deadline", "checkpoint-2")
    assert result.ledger.by_phase["down"] > 50


def test_redo_with_another_budget_begins_a_new_day(job: TrainJob) -> None:
    train(job, MEASURED, launch=fake(save="1"))
    result = train(replace(job, budget_s=40.0, redo=True), MEASURED, launch=fake(save="3"))
    assert (result.ledger.budget_s, result.ledger.resumes) == (40.0, 0)
    assert [c.checkpoint for c in result.picked.candidates] == ["checkpoint-3"]


def test_max_steps_that_the_budget_cannot_hold_are_named_before_the_run(job: TrainJob) -> None:
    many = replace(job, budget_s=12.0, recipe=job.recipe.model_copy(update={"max_steps": 100_000}))
    assert steps_cut(replace(many, budget_s=36_000.0), MEASURED) == ""
    warning = re.fullmatch(
        r"max_steps 100,000: the budget holds about (\d+) steps at the measured costs, and ends the run",
        steps_cut(many, MEASURED),
    )
    assert warning
    assert 0 < int(warning[1]) < 300


def test_two_supervisors_on_one_run_are_refused(job: TrainJob) -> None:
    with locked(job.run), pytest.raises(StageError, match="another oneday command is at work"):
        train(job, MEASURED, launch=fake())


def test_a_torn_event_and_a_nan_do_not_keep_a_run_from_finishing(job: TrainJob) -> None:
    with pytest.raises(TrainError):
        train(job, MEASURED, launch=fake(end="crash", save="1"))
    with (job.run / TRAIN / METRICS).open("a") as f:
        f.write(
            '{"event": "evaluate", "t": 1, "up": 1, "step": 1, "validation_loss": "nan", "seconds": 0}\n{"event": "st'
        )
    with (job.run / TRAIN / BATCHES).open("a") as f:
        f.write('{"step": 2, "ba')
    result = train(job, MEASURED, launch=fake(save="3"))
    assert result.picked.checkpoint == "checkpoint-3"
    assert all(line.startswith('{"event"') for line in (job.run / TRAIN / METRICS).read_text().splitlines())


def test_a_checkpoint_without_a_loss_is_not_measured_on_the_clock(job: TrainJob) -> None:
    result = train(job, MEASURED, launch=fake(save="1,3", unmeasured="3"))
    assert result.picked.checkpoint == "checkpoint-1"
    assert [r.id for r in result.picked.rejected] == ["checkpoint-3"]


def test_a_damaged_checkpoint_is_set_aside_and_its_reason_kept(job: TrainJob) -> None:
    with pytest.raises(TrainError):
        train(job, MEASURED, launch=fake(end="crash", save="1,2"))
    (job.run / TRAIN / OUTPUT / "checkpoint-2" / "optimizer.pt").write_text("x")
    train(job, MEASURED, launch=fake(save="3"))
    dropped = list(read_jsonl(job.run / TRAIN / "dropped.jsonl"))
    assert [(d["unit"], d["id"]) for d in dropped] == [("checkpoint", "checkpoint-2")]
    assert dropped[0]["detail"].startswith("optimizer.pt has 1 bytes")


def test_redo_of_the_same_job_goes_on_with_its_clock(job: TrainJob) -> None:
    with pytest.raises(TrainError):
        train(job, MEASURED, launch=fake(end="crash", save="2"))
    assert train(replace(job, redo=True), MEASURED, launch=fake(save="3")).ledger.resumes == 1


def test_a_trainer_that_dies_after_its_last_step_is_not_started_again(job: TrainJob) -> None:
    """Its newest checkpoint is that of the pack plan's last step: there is nothing left to train."""
    job = replace(job, recipe=job.recipe.model_copy(update={"num_epochs": 1}))  # two steps
    result = train(job, MEASURED, launch=fake(end="crash", save="1,2", steps="2"))
    assert (result.stop_reason, result.picked.checkpoint) == ("epochs", "checkpoint-2")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_says_how_to_go_on(job: TrainJob, number: signal.Signals) -> None:
    def stop_at_5(event: Event, left_s: float) -> None:
        if isinstance(event, Step) and event.step == 5:
            os.kill(os.getpid(), number)

    with pytest.raises(Interrupted, match=rf"stopped by {number.name}; the checkpoint of step \d+ is complete"):
        train(job, MEASURED, launch=fake(steps="200"), on_event=stop_at_5)
    assert train(job, MEASURED, launch=fake()).ledger.resumes == 1


# --- the real Axolotl ------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timed
def test_real_axolotl_trains_inside_the_budget_and_learns(
    tmp_path: Path, write_mix: WriteMix, demo_base: Path, axolotl: Launcher
) -> None:
    job = make_job(tmp_path, write_mix(), demo_base, budget_s=3_600.0)
    job = replace(job, recipe=job.recipe.model_copy(update={"num_epochs": 1000}))  # more than any machine gets through
    measured = rehearse(job, launch=axolotl)
    assert 0 < measured.mean_step_s <= measured.step_s
    assert measured.minimum_s() < measured.minimum_s(Averaging(num=3))
    job = replace(job, budget_s=measured.minimum_s() + 12.0)
    assert measured.kernels is not None
    assert measured.kernels["4-bit"] == ["MatMul4Bit", "bitsandbytes::dequantize_4bit"]
    seen: list[Event] = []
    start = time.monotonic()
    result = train(job, measured, launch=axolotl, on_event=lambda event, left_s: seen.append(event))
    assert time.monotonic() - start < job.budget_s
    assert result.stop_reason == "deadline"
    assert result.ledger.charged_s <= job.budget_s
    assert result.tokens_per_s > 0
    assert {PluginRegistered, PluginAlive, TrainBegin, Step, Evaluation, Save, TrainEnd} <= {
        type(event) for event in seen
    }
    assert result.picked.candidates[0].checkpoint == "base"
    assert result.picked.base_loss == measured.base_loss
    assert result.verdict.better_than_base is True
    assert not result.verdict.diverged
    losses = [c.validation_loss for c in result.picked.candidates[1:]]
    assert result.picked.validation_loss == min(losses)
    first = next(event.validation_loss for event in seen if isinstance(event, Evaluation))
    assert min(losses) < first / 2  # it learns: the first evaluation is the one of step 1
    assert len(losses) <= job.recipe.save_total_limit
    assert not (job.run / TRAIN / "prepared").exists()  # Axolotl trains on the table as it is
    assert read_dataset(job.run / TRAIN / DATA) is not None
    _check_validation_loss(job, result.picked.checkpoint, result.picked.validation_loss)
    _check_learning_rates(job)


def _check_validation_loss(job: TrainJob, checkpoint: str, expected: float) -> None:
    """The trainer's packed, token-weighted loss against one computed row by row outside of it."""
    rows = read_dataset_rows(job.run / TRAIN / DATA / "validation.parquet", job.base)
    loss = CheckpointLosses(job.base, precision="4bit", rows=rows).mean(job.run / TRAIN / OUTPUT / checkpoint)
    assert loss == pytest.approx(expected, abs=1e-3)


def _check_learning_rates(job: TrainJob) -> None:
    """Warm-up, then down to nearly nothing at the deadline."""
    rates = [e["learning_rate"] for e in read_jsonl(job.run / TRAIN / METRICS) if e["event"] == "step"]
    assert max(rates) <= job.recipe.learning_rate
    assert rates[0] < max(rates)
    assert rates[-1] < 0.2 * max(rates)


@pytest.mark.slow
def test_real_axolotl_goes_on_after_kill_9(
    tmp_path: Path, write_mix: WriteMix, demo_base: Path, axolotl: Launcher
) -> None:
    job = make_job(tmp_path, write_mix(), demo_base, budget_s=60.0)
    job = replace(job, recipe=job.recipe.model_copy(update={"num_epochs": 8}))
    measured = replace(MEASURED, load_s=3.0, step_s=0.2)
    children: list[Child] = []
    killed: list[int] = []

    def launch(config: Path, log: Path, environment: Mapping[str, str]) -> Child:
        children.append(axolotl(config, log, environment))
        return children[-1]

    def kill_at_15(event: Event, left_s: float) -> None:
        if isinstance(event, Step) and event.step == 15 and not killed:
            killed.append(15)
            os.kill(children[-1].pid, signal.SIGKILL)

    result = train(job, measured, launch=launch, on_event=kill_at_15)
    assert (result.stop_reason, len(children), killed) == ("epochs", 2, [15])
    begins = [e["step"] for e in read_jsonl(job.run / TRAIN / METRICS) if e["event"] == "train_begin"]
    assert begins[0] == 0
    assert begins[1] == 10
    steps = [e["step"] for e in read_jsonl(job.run / TRAIN / METRICS) if e["event"] == "step"]
    assert steps[-1] == result.steps
    assert sorted(set(steps)) == list(range(1, result.steps + 1))
    assert result.ledger.resumes == 0


@pytest.mark.slow
def test_real_axolotl_evaluates_and_saves_on_sigterm(
    tmp_path: Path, write_mix: WriteMix, demo_base: Path, axolotl: Launcher
) -> None:
    job = make_job(tmp_path, write_mix(), demo_base, budget_s=60.0)

    def stop_at_13(event: Event, left_s: float) -> None:
        if isinstance(event, Step) and event.step == 13:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted, match=r"checkpoint of step (1[3-9]|2\d) is complete"):
        train(job, replace(MEASURED, load_s=3.0), launch=axolotl, on_event=stop_at_13)
    assert read_json(next((job.run / TRAIN / OUTPUT).glob("checkpoint-1[3-9]/SEAL.json")))["validation_loss"] > 0


@pytest.mark.timed
@pytest.mark.parametrize("left_s", [2.0, 0.3, 0.0])
def test_a_run_that_is_killed_in_its_pick_and_resumed_at_once_is_never_over(
    job: TrainJob, monkeypatch: pytest.MonkeyPatch, left_s: float
) -> None:
    """Reading a checkpoint takes .4 s here. It was over by .41 s: the pick began anew with what was left."""
    import harness.checkpoint.pick
    from harness.ledger.ledger import Ledger
    from harness.run import LEDGER

    class Killed(BaseException):
        """As `kill -9`: nothing is written any more."""

    def killed(**arguments: Any) -> Any:
        time.sleep(max(0.0, Ledger.of_run(job.run / LEDGER).left_s - left_s))
        raise Killed

    inspect = harness.checkpoint.pick.inspect

    def slow(directory: Path, *, hashes: bool = True) -> Any:
        time.sleep(0.4 if hashes else 0.0)
        return inspect(directory, hashes=hashes)

    measured = replace(MEASURED, verify_s=0.4)
    job = replace(job, budget_s=5.0)
    launch = fake(steps="1000", save="every:10")
    with monkeypatch.context() as patched:
        patched.setattr(harness.run, "pick", killed)
        patched.setattr(Ledger, "stop", lambda ledger, **given: None)
        with pytest.raises(Killed):
            train(job, measured, launch=launch)
    monkeypatch.setattr(harness.checkpoint.pick, "inspect", slow)
    result = train(job, measured, launch=fake(end="crash", save=""))  # is not started
    assert result.stop_reason == "deadline"
    assert result.ledger.overshoot_s == 0
    assert (job.run / "08_pick" / "adapter" / "adapter_model.safetensors").is_file()
    assert ("publish" in (result.ledger.not_charged or {})) == (left_s < 2)


def test_a_slow_machine_is_not_taken_for_a_trainer_that_hangs(job: TrainJob) -> None:
    """Without a rehearsal the first step has the time of a start-up; later the longest gap so far counts."""
    unmeasured = Rehearsal.unmeasured(job.recipe, job.card)
    given = {
        "job": job, "stage": Stage(job.run / TRAIN, inputs={}), "launch": fake(), "lock": 0, "run_id": "x",
        "ledger": Ledger.start(job.run / "ledger.jsonl", budget_s=60.0), "on_event": lambda event, left_s: None,
    }  # fmt: skip
    supervisor = Supervisor(measured=unmeasured, **given)
    events = LastEvents()
    events.add(TrainBegin(t=0.0, up=100.0, pid=1, step=0, max_steps=3))
    assert supervisor._max_silence_s(events) == IMPORT_TIMEOUT_S + 5 * unmeasured.load_s
    assert Supervisor(measured=MEASURED, **given)._max_silence_s(events) == MIN_SILENCE_S
    step = Step(t=0.0, up=140.0, pid=1, step=1, loss=1.0, learning_rate=1e-3, tokens=1, horizon=3)
    events.add(step)
    for event in (TrainBegin(t=0.0, up=100.0, pid=1, step=0, max_steps=3), Tick(t=0.0, up=130.0, pid=1), step):
        supervisor._measure_gap(event)
    assert supervisor._max_silence_s(events) == GAP_FACTOR * 40.0
