import json
import random
import re
import shutil
from dataclasses import replace
from pathlib import Path

import click
import pytest

from core.encoding.table import TableRow, write_table
from core.files import read_json, write_jsonl
from core.model.token_ids import RowIds
from harness.budget.clock import Clock, uptime
from harness.budget.gpu_profile import get_gpu_profile
from harness.checkpoint.adapter import find_adapters
from harness.checkpoint.averaging import AverageKind, Averaging
from harness.checkpoint.content import EMA_WEIGHTS, RESUME_FILES
from harness.checkpoint.loss import CheckpointLosses
from harness.checkpoint.pick import Picked, pick
from harness.checkpoint.seal import Checkpoint, inspect_all, seal
from harness.checkpoint.timed_pick import PickJob, timed_pick
from harness.data.dataset import read_dataset_rows
from harness.errors import BudgetError, CheckpointError
from harness.job import TrainJob
from harness.ledger.ledger import Ledger
from harness.recipe import read_recipe
from harness.run import TrainResult
from oneday.commands.training.pick import run_pick, run_pick_within_its_time
from oneday.commands.training.train import try_average
from oneday.demo.demo import RECIPE
from oneday.demo.tasks import DEMO_TASKS, draw_pairs
from oneday.display.console import Console
from oneday.requests.training import PickRequest
from submission.checkpoint import find_served
from tests.conftest import DEMO_BASE
from tests.harness.checkpoint.adapters import write_adapters

NOISES = {f"checkpoint-{10 * n}": noise for n, noise in enumerate((0.5, 0.3, 0.02, 0.1), start=1)}
BEST = "checkpoint-30"


@pytest.fixture(scope="module")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapters")
    write_adapters(folder, DEMO_BASE, NOISES)
    return folder


@pytest.fixture(scope="module")
def validation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mix's validation file: 96 rows of a task that the demo base does well, so that noise makes it worse."""
    path = tmp_path_factory.mktemp("rows") / "validation.jsonl"
    task = next(task for task in DEMO_TASKS if task.name.endswith("first_word"))
    pairs = draw_pairs(task, random.Random(1), 96)
    write_jsonl(path, [{"instruction": task.definition, "input": query, "output": answer} for query, answer in pairs])
    return path


@pytest.fixture(scope="module")
def rows(validation: Path) -> list[RowIds]:
    return read_dataset_rows(validation, DEMO_BASE)


def make_job(adapters: Path, folder: Path, rows: list[RowIds]) -> PickJob:
    good, rejected = find_adapters(adapters)
    return PickJob(folder=folder, checkpoints=good, rejected=rejected, base=DEMO_BASE, precision=None, rows=rows)


def test_all_the_time_measures_all_rows_and_says_why(adapters: Path, tmp_path: Path, rows: list[RowIds]) -> None:
    picked = timed_pick(make_job(adapters, tmp_path, rows))
    assert picked.checkpoint == BEST
    losses = CheckpointLosses(DEMO_BASE, precision=None, rows=rows)
    base, *others = picked.candidates
    assert (base.checkpoint, base.step, base.measured_by, base.num_rows) == ("base", 0, "picker", 96)
    assert base.validation_loss == pytest.approx(losses.base_mean(range(96)), abs=1e-5)
    assert picked.better_than_base == (picked.validation_loss < base.validation_loss)
    assert len(others) == 4
    for candidate in others:
        assert candidate.validation_loss == pytest.approx(losses.mean(adapters / candidate.checkpoint), abs=1e-5)
        assert (candidate.num_rows, candidate.standard_error, candidate.measured_by) == (96, 0.0, "picker")
    written = read_json(tmp_path / "08_pick" / "picked.json")
    verdicts = {c["checkpoint"]: c["verdict"] for c in written["candidates"]}
    assert verdicts[BEST] == "the lowest loss of 4 over 96 rows"
    assert verdicts["checkpoint-10"].startswith(f"worse than {BEST} by ")
    served = find_served(tmp_path, base=None)
    assert served.lora_adapter == tmp_path / "08_pick" / written["adapter"]
    original = (adapters / BEST / "adapter_model.safetensors").read_bytes()
    assert (served.lora_adapter / "adapter_model.safetensors").read_bytes() == original


def test_time_that_is_too_short_is_an_error_that_says_how_much(
    adapters: Path, tmp_path: Path, rows: list[RowIds]
) -> None:
    job = replace(make_job(adapters, tmp_path, rows), until=uptime())
    with pytest.raises(BudgetError, match=r"Give more with `time=`"):
        timed_pick(job)
    assert not (tmp_path / "08_pick" / "picked.json").exists()


def test_an_adapter_that_cannot_be_read_or_gives_no_number_is_rejected(
    adapters: Path, tmp_path: Path, rows: list[RowIds]
) -> None:
    theirs = Path(shutil.copytree(adapters, tmp_path / "theirs"))
    (theirs / BEST / "adapter_model.safetensors").write_bytes(b"torn")
    write_adapters(theirs, DEMO_BASE, {"checkpoint-40": float("nan")})
    picked = timed_pick(make_job(theirs, tmp_path, rows))
    assert picked.checkpoint == "checkpoint-20"
    assert {r.id: r.reason for r in picked.rejected} == {BEST: "not_finite", "checkpoint-40": "not_finite"}
    assert "no adapter that fits" in {r.id: r.detail for r in picked.rejected}[BEST]
    assert {c.checkpoint for c in picked.candidates} == {"base", "checkpoint-10", "checkpoint-20"}


def test_nothing_that_can_be_picked_is_an_error(adapters: Path, tmp_path: Path, rows: list[RowIds]) -> None:
    theirs = Path(shutil.copytree(adapters, tmp_path / "theirs"))
    for path in theirs.iterdir():
        (path / "adapter_model.safetensors").write_bytes(b"torn")
    with pytest.raises(CheckpointError, match="no complete checkpoint"):
        timed_pick(make_job(theirs, tmp_path, rows))


def opposite(adapter: Path, out: Path) -> None:
    """The same weights with B negated: the mean of both is the base alone."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(adapter, out)
    weights = load_file(adapter / "adapter_model.safetensors")
    turned = {name: -tensor if "lora_B" in name else tensor for name, tensor in weights.items()}
    save_file(turned, out / "adapter_model.safetensors", metadata={"format": "pt"})


def test_an_average_is_picked_if_it_beats_the_best_and_only_then(
    adapters: Path, tmp_path: Path, rows: list[RowIds]
) -> None:
    theirs = tmp_path / "theirs"
    shutil.copytree(adapters / "checkpoint-40", theirs / "checkpoint-40")
    opposite(adapters / "checkpoint-40", theirs / "checkpoint-50")
    picked = timed_pick(replace(make_job(theirs, tmp_path, rows), averaging=Averaging(num=2)))
    assert picked.checkpoint == "average of checkpoint-40, checkpoint-50"
    assert picked.adapter == "adapter-average-50"
    losses = {c.checkpoint: c.validation_loss for c in picked.candidates}
    base_loss = losses.pop("base")
    assert picked.validation_loss == losses.pop(picked.checkpoint) < min(losses.values())
    assert base_loss == pytest.approx(picked.validation_loss, abs=1e-4)  # for that is what their mean comes to
    assert any(c.verdict.startswith("better than checkpoint-40 (-") for c in picked.candidates)
    assert not (tmp_path / "08_pick" / "average").exists()

    picked = timed_pick(replace(make_job(adapters, tmp_path / "worse", rows), averaging=Averaging(num=3)))
    assert picked.checkpoint == BEST
    assert (
        "not significantly better than checkpoint-30"
        in {c.checkpoint: c.verdict for c in picked.candidates}[
            "average of checkpoint-20, checkpoint-30, checkpoint-40"
        ]
    )


def test_every_kind_of_average_is_measured_and_the_best_of_them_is_published(
    adapters: Path, tmp_path: Path, rows: list[RowIds]
) -> None:
    """The products of an adapter and its opposite cancel; the moving average is another adapter."""
    theirs = tmp_path / "theirs"
    shutil.copytree(adapters / "checkpoint-40", theirs / "checkpoint-40")
    opposite(adapters / "checkpoint-40", theirs / "checkpoint-50")
    shutil.copy(adapters / BEST / "adapter_model.safetensors", theirs / "checkpoint-50" / EMA_WEIGHTS)
    averaging = Averaging(num=3, kinds=tuple(AverageKind))
    picked = timed_pick(replace(make_job(theirs, tmp_path, rows), averaging=averaging))
    losses = {c.checkpoint: c.validation_loss for c in picked.candidates}
    both = "checkpoint-40, checkpoint-50"
    assert losses.keys() == {
        "base", "checkpoint-40", "checkpoint-50", f"average of {both}", f"loss-weighted average of {both}",
        f"average of the products of {both}", "moving average of checkpoint-50",
    }  # fmt: skip
    assert losses[f"average of the products of {both}"] == pytest.approx(losses["base"], abs=1e-4)
    assert losses["moving average of checkpoint-50"] == pytest.approx(
        CheckpointLosses(DEMO_BASE, precision=None, rows=rows).mean(adapters / BEST), abs=1e-5
    )
    assert picked.validation_loss == min(loss for name, loss in losses.items() if name != "base")
    assert picked.adapter == "adapter-average-50"
    assert not (tmp_path / "08_pick" / "average").exists()


def test_losses_that_are_all_known_load_no_model(tmp_path: Path, adapters: Path) -> None:
    known = [
        Checkpoint(path=adapters / name, step=int(name[11:]), validation_loss=loss)
        for name, loss in (("checkpoint-10", 2.0), ("checkpoint-20", 1.0))
    ]
    job = PickJob(folder=tmp_path, checkpoints=known, rejected=(), base=Path("gone"), precision=None, rows=())
    assert timed_pick(job).checkpoint == "checkpoint-20"


def set_budget(ledger: Path, seconds: float) -> None:
    """Gives a run that has ended another budget."""
    text, num = re.subn(r'"budget_s": *[\d.]+', f'"budget_s": {seconds}', ledger.read_text())
    assert num == 1
    ledger.write_text(text)


@pytest.fixture
def run(tmp_path: Path, adapters: Path, validation: Path) -> Path:
    """A finished run of 100 s, 60 of them used, whose checkpoints nobody measured but one."""
    run = tmp_path / "run"
    for name in NOISES:
        folder = Path(shutil.copytree(adapters / name, run / "07_train" / "output" / name))
        for file in RESUME_FILES:
            (folder / file).write_text("x")
        step = int(name[11:])
        seal(folder, step=step, validation_loss=3.0 if step == 20 else None)
    (run / "07_train" / "data").mkdir()
    rows = [TableRow(id="", ids=ids) for ids in read_dataset_rows(validation, DEMO_BASE)]
    write_table(run / "07_train" / "data" / "validation.parquet", rows)
    manifest = {"train": {"base_path": str(DEMO_BASE), "recipe": {"load_in_4bit": False}}}
    (run / "manifest.json").write_text(json.dumps(manifest))
    began = uptime() - 60
    moved = [0.0]
    ledger = Ledger.start(run / "ledger.jsonl", budget_s=100, clock=Clock(up=lambda: began + moved[0]))
    ledger.enter("train")
    moved[0] = 60.0
    ledger.stop()
    return run


def test_a_pick_in_a_run_is_charged_to_its_budget(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = Ledger.of_run(run / "ledger.jsonl").report()
    run_pick(PickRequest(folder=run, time="30s"), Console(json_line=True))
    report = Ledger.of_run(run / "ledger.jsonl").report()
    assert report.by_phase["pick"] == pytest.approx(report.charged_s - before.charged_s, abs=0.01)
    assert 0.1 < report.by_phase["pick"] < 30
    assert Ledger.of_run(run / "ledger.jsonl").is_closed
    seen = capsys.readouterr()
    assert json.loads(seen.out.splitlines()[-1])["picked"] == BEST
    assert "are left" in seen.err
    candidates = {c["checkpoint"]: c for c in read_json(run / "08_pick" / "picked.json")["candidates"]}
    assert candidates["checkpoint-20"]["measured_by"] == "trainer"
    assert candidates["checkpoint-20"]["validation_loss"] == 3.0


def test_a_used_up_budget_refuses_to_pick_unless_it_is_outside_of_it(run: Path) -> None:
    path = run / "ledger.jsonl"
    set_budget(path, 60)
    with pytest.raises(BudgetError, match="uncharged=true"):
        run_pick(PickRequest(folder=run, time="30s"), Console())
    run_pick(PickRequest(folder=run, time="30s", uncharged=True), Console())
    report = Ledger.of_run(path).report()
    assert "pick" not in report.by_phase
    assert 0.1 < dict(report.not_charged or {})["pick"] < 30
    assert len(inspect_all(run / "07_train" / "output")[0]) == 4


@pytest.mark.slow
def test_an_average_is_tried_after_training_within_what_is_left(run: Path, rows: list[RowIds]) -> None:
    pick(run=run, output=run / "07_train" / "output", base=DEMO_BASE, precision="16bit")
    path = run / "ledger.jsonl"
    set_budget(path, 1000)
    result = TrainResult(
        run=run, steps=40, stop_reason="deadline", tokens_per_s=1.0, last_loss=None,
        ledger=Ledger.of_run(path).report(), picked=Picked(**read_json(run / "08_pick" / "picked.json")),
    )  # fmt: skip
    assert result.picked.checkpoint == "checkpoint-20"
    job = TrainJob(
        run=run,
        mix=run,
        base=DEMO_BASE,
        recipe=read_recipe(RECIPE),
        card=get_gpu_profile("cpu"),
        budget_s=1000,
        averaging=Averaging(num=2),
    )
    found = try_average(job, result, Console())
    assert {c.checkpoint for c in found.picked.candidates} >= set(NOISES)
    assert any("average of" in c.checkpoint for c in found.picked.candidates)
    assert 0 < found.ledger.by_phase["pick"] < 940
    assert found.ledger.overshoot_s == 0
    assert Ledger.of_run(path).is_closed


def test_an_average_is_measured_although_all_losses_are_known(
    adapters: Path, tmp_path: Path, rows: list[RowIds]
) -> None:
    """As after our own training."""
    losses = CheckpointLosses(DEMO_BASE, precision=None, rows=rows)
    job = make_job(adapters, tmp_path, rows)
    known = [replace(c, validation_loss=losses.mean(c.path)) for c in job.checkpoints]
    picked = timed_pick(replace(job, checkpoints=known, averaging=Averaging(num=2)))
    found = {c.checkpoint: c for c in picked.candidates}
    assert {c.measured_by for name, c in found.items() if "average" not in name and name != "base"} == {"trainer"}
    average = found["average of checkpoint-30, checkpoint-40"]
    assert (average.num_rows, average.standard_error) == (96, 0.0)
    better = average.validation_loss < found[BEST].validation_loss
    assert picked.checkpoint == (average.checkpoint if better else BEST)
    assert picked.validation_loss == min(c.validation_loss for name, c in found.items() if name != "base")


@pytest.mark.slow
@pytest.mark.timed
@pytest.mark.parametrize("left_s", [0.05, 1.0])
def test_an_average_that_does_not_fit_is_given_up_at_the_deadline(run: Path, left_s: float) -> None:
    pick(run=run, output=run / "07_train" / "output", base=DEMO_BASE, precision="16bit")
    path = run / "ledger.jsonl"
    set_budget(path, 60.1 + left_s)
    picked = Picked(**read_json(run / "08_pick" / "picked.json"))
    job = TrainJob(
        run=run,
        mix=run,
        base=DEMO_BASE,
        recipe=read_recipe(RECIPE),
        card=get_gpu_profile("cpu"),
        budget_s=60,
        averaging=Averaging(num=2),
    )
    report = Ledger.of_run(path).report()
    result = TrainResult(
        run=run, steps=40, stop_reason="deadline", tokens_per_s=1.0, last_loss=None, ledger=report, picked=picked
    )  # fmt: skip
    found = try_average(job, result, Console())
    assert found.picked.checkpoint == picked.checkpoint
    assert found.ledger.overshoot_s == 0
    assert Ledger.of_run(path).is_closed


def test_adapters_that_have_no_average_do_not_cost_the_pick(adapters: Path, tmp_path: Path, rows: list[RowIds]) -> None:
    theirs = tmp_path / "theirs"
    shutil.copytree(adapters / BEST, theirs / BEST)
    write_adapters(theirs, DEMO_BASE, {"checkpoint-50": 0.3}, rank=8)
    picked = timed_pick(replace(make_job(theirs, tmp_path, rows), averaging=Averaging(num=2)))
    assert picked.checkpoint == BEST
    assert any("they cannot be averaged" in r.detail for r in picked.rejected)


@pytest.mark.timed
def test_the_command_picks_within_its_time_whatever_loading_takes(run: Path) -> None:
    """In a process that is killed at the end: not even importing fits here."""
    path = run / "ledger.jsonl"
    set_budget(path, 61)
    began = uptime()
    with pytest.raises(BudgetError, match="the time was up before a checkpoint could be picked"):
        run_pick_within_its_time(PickRequest(folder=run, time="5s"), Console())
    assert uptime() - began < 1.5
    report = Ledger.of_run(path).report()
    assert report.overshoot_s == 0
    assert Ledger.of_run(path).is_closed
    with pytest.raises(click.exceptions.Exit) as e:
        run_pick_within_its_time(PickRequest(folder=run, time="60s", uncharged=True), Console())
    assert e.value.exit_code == 0
    assert read_json(run / "08_pick" / "picked.json")["checkpoint"] in NOISES


def test_a_picking_process_keeps_the_moment_that_it_was_given_whatever_its_start_took(
    run: Path,
) -> None:
    request = PickRequest(folder=run, time="60s")
    with pytest.raises(BudgetError, match="Give more with `time="):
        run_pick(request, Console(), deadline=uptime() - 1)
    run_pick(request, Console(), deadline=uptime() + 30)
    assert read_json(run / "08_pick" / "picked.json")["checkpoint"] in NOISES
    assert "pick" not in Ledger.of_run(run / "ledger.jsonl").report().by_phase  # its starter's to charge
