"""The live view: what one screen and one line say of a run."""

import io
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console as RichConsole

from core.stage import locked
from harness.errors import DataError
from harness.history import read_history
from harness.inside.events import Evaluation, Events, Heartbeat, TrainerEvent, now
from harness.ledger.ledger import Ledger
from harness.run import LEDGER, train
from oneday.cli import main
from oneday.display.console import Console
from oneday.display.live_view import one_line, panel, plain, run_watch, screen, sparkline
from oneday.requests.looking import WatchRequest
from tests.harness.test_history import begin, step, tell
from tests.harness.test_run import MEASURED, fake, make_job


def drawn(run: Path, *, width: int = 100, terminal: bool = False, no_color: bool | None = None) -> str:
    console = RichConsole(file=io.StringIO(), width=width, force_terminal=terminal, no_color=no_color)
    console.print(panel(read_history(run)))
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


@pytest.fixture
def training(tmp_path: Path) -> Path:
    ledger = Ledger.start(tmp_path / LEDGER, budget_s=100.0)
    ledger.enter("train")
    tell(tmp_path, *(step(n, 1.0 + n, loss=9.0 - n) for n in range(1, 8)))
    tell(tmp_path, Evaluation(t=9.0, up=9.0, step=5, validation_loss=2.5, seconds=0.1))
    return tmp_path


def test_a_sparkline_goes_from_the_lowest_to_the_highest_block() -> None:
    assert sparkline([1.0, 2.0, 3.0]) == "▁▅█"
    assert len(sparkline([float(n) for n in range(1000)])) == 40
    assert sparkline([2.0, 2.0]) == "▁▁"
    assert sparkline([]) == ""


def test_the_screen_shows_budget_step_losses_speed(training: Path) -> None:
    screen = drawn(training)
    for expected in ("training", "left", "7 of about 50", "loss", "█", "2.5000 best, at step 5", "tokens/s"):
        assert expected in screen
    assert "2.5000" in plain(read_history(training))
    assert "\n" not in plain(read_history(training))


def test_it_fits_a_narrow_terminal_and_needs_no_colour(training: Path) -> None:
    assert max(len(line) for line in drawn(training, width=60).splitlines()) <= 60
    assert "\x1b[34m" in drawn(training, terminal=True, no_color=False)
    assert "\x1b[3" not in drawn(training, terminal=True, no_color=True)


def test_a_finished_run_is_shown_once_and_left(
    tmp_path: Path, write_mix: Callable[..., Path], demo_base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = make_job(tmp_path, write_mix(), demo_base, budget_s=60.0)
    train(job, MEASURED, launch=fake(save="1,3"))
    for command in (["watch", str(job.run)], ["watch", str(job.run), "--once", "--json"]):
        with pytest.raises(SystemExit) as e:
            main(command)
        assert e.value.code == 0
        out = capsys.readouterr().out
        assert "finished | step 3 | " in out
    assert '"state":"finished"' in out


def rehearse(run: Path, *events: TrainerEvent) -> None:
    """As a rehearsal writes, while it holds the run's lock."""
    work = run / "06_plan" / "work"
    work.mkdir(parents=True, exist_ok=True)
    (run / "06_plan" / "inputs.json").write_text("{}")
    log = Events(work / "metrics.jsonl")
    for event in events:
        log.emit(event)


def test_a_rehearsal_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with locked(tmp_path):
        rehearse(tmp_path)
        assert one_line(tmp_path).startswith(f"{tmp_path} | rehearsing | starting Axolotl | for ")
        rehearse(tmp_path, begin(0, 1.0), step(3, 1.0), Heartbeat(**now()))
        with pytest.raises(SystemExit) as e:
            main(["watch", str(tmp_path), "--once", "--json"])
        said = capsys.readouterr().out
        console = RichConsole(file=io.StringIO(), width=100)
        console.print(screen(tmp_path))
    assert e.value.code == 0
    assert " | rehearsing | step 3 | for " in said.splitlines()[0]
    assert json.loads(said.splitlines()[1])["state"] == "rehearsing"
    assert isinstance(console.file, io.StringIO)
    assert "rehearsing" in console.file.getvalue()
    with pytest.raises(DataError, match="no training in it yet"):
        one_line(tmp_path)


def test_who_watches_a_rehearsal_sees_it_then_the_day_then_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where an older day lies in the run, as after --redo."""
    monkeypatch.setattr("oneday.display.live_view.LOOK_EVERY_S", 0.02)
    console, shown = Console(), []
    monkeypatch.setattr(console, "line", lambda text: shown.append(text.split(" | ")[1]))

    def wait_for(what: str) -> None:
        until = time.monotonic() + 60
        while what not in shown:
            assert time.monotonic() < until, shown
            time.sleep(0.01)

    old = Ledger.start(tmp_path / LEDGER, budget_s=50.0, run_id="old")
    old.stop()
    begun = threading.Event()

    def work() -> None:
        with locked(tmp_path):
            rehearse(tmp_path)
            begun.set()
            wait_for("rehearsing")
            (tmp_path / "06_plan" / "done.json").write_text("{}")
        wait_for("waiting for the run to begin")  # it hashes the rows
        Ledger.start(tmp_path / "new.jsonl", budget_s=100.0, run_id="new").enter("train")
        tell(tmp_path, *(step(n, time.time()) for n in range(1, 8)))
        (tmp_path / "new.jsonl").replace(tmp_path / LEDGER)  # nobody looks between its start and its training
        wait_for("training")
        Ledger.of_run(tmp_path / LEDGER).stop()

    worker = threading.Thread(target=work)
    worker.start()
    assert begun.wait(10)
    run_watch(WatchRequest(run=tmp_path), console)
    worker.join()
    assert shown == ["rehearsing", "waiting for the run to begin", "training", "stopped"]


def test_a_run_that_does_not_begin_is_given_up(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("oneday.display.live_view.BEGINS_S", 0.2)
    monkeypatch.setattr("oneday.display.live_view.LOOK_EVERY_S", 0.02)
    (tmp_path / ".lock").touch()
    with pytest.raises(SystemExit) as e:
        main(["watch", str(tmp_path)])
    said = capsys.readouterr()
    assert e.value.code == 2
    assert said.out == f"{tmp_path} | waiting for the run to begin\n"
    assert said.err.startswith(f"error: {tmp_path}: no training in it yet.")


def test_a_run_that_never_was_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as e:
        main(["watch", str(tmp_path)])
    assert e.value.code == 2
    assert "no training in it yet" in capsys.readouterr().err
