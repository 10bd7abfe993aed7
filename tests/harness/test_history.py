"""A run read from its folder, at any moment of its life."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from core.run_folder import TRAIN
from harness.errors import DataError
from harness.history import State, read_history, smoothed
from harness.inside.events import Events, Step, TrainBegin, TrainerEvent
from harness.ledger.ledger import Ledger
from harness.run import LEDGER, train
from harness.supervise import METRICS
from tests.harness.test_run import MEASURED, fake, make_job


class Wall:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def wall(self) -> float:
        return self.now

    def up(self) -> float:
        return self.now

    def boot(self) -> str:
        return "boot"


@pytest.fixture
def day(tmp_path: Path) -> tuple[Path, Ledger, Wall]:
    clock = Wall()
    run = tmp_path / "run"
    return run, Ledger.start(run / LEDGER, budget_s=100.0, clock=clock), clock  # type: ignore[arg-type]


def tell(run: Path, *events: TrainerEvent) -> None:
    log = Events(run / TRAIN / METRICS)
    for event in events:
        log.emit(event)


def step(number: int, at: float, loss: float = 1.0) -> Step:
    return Step(t=at, up=at, step=number, loss=loss, learning_rate=1e-4, tokens=100 * number, horizon=50)


def begin(number: int, at: float) -> TrainBegin:
    return TrainBegin(t=at, up=at, step=number)


def test_events_are_placed_on_the_charged_day_across_an_interruption(day: tuple[Path, Ledger, Wall]) -> None:
    run, ledger, clock = day
    clock.now += 10
    ledger.enter("train")
    clock.now += 20
    ledger.enter("idle")
    clock.now += 30  # it lies down
    again = Ledger.start(run / LEDGER, budget_s=100.0, clock=clock)  # type: ignore[arg-type]
    clock.now += 5
    again.enter("train")
    clock.now += 15
    again.stop()
    tell(run, begin(0, 1010.0), step(1, 1012.0), step(9, 1028.0, 3.0))
    tell(run, begin(8, 1065.0), step(9, 1070.0, 2.0))
    history = read_history(run)
    assert [(s.phase, s.start_s, s.seconds) for s in history.spans] == [
        ("load", 0, 10), ("train", 10, 20), ("down", 30, 30), ("load", 60, 5), ("train", 65, 15),
    ]  # fmt: skip
    assert sum(s.seconds for s in history.spans) == history.day.charged_s == 80
    assert [(s.step, s.at_s, s.loss) for s in history.steps] == [(1, 12, 1.0), (9, 70, 2.0)]
    assert [m.text for m in history.incidents] == ["resumed from step 8"]
    assert history.steps[0].tokens_per_s is None
    assert history.state is State.STOPPED


def test_a_run_of_another_process_is_seen_running_then_gone(tmp_path: Path) -> None:
    ledger = Ledger.start(tmp_path / LEDGER, budget_s=100.0)
    ledger.enter("train")
    history = read_history(tmp_path)
    assert history.state is State.RUNNING
    assert 95 < history.left_s <= 100
    ledger.enter("idle")
    assert read_history(tmp_path).state is State.STOPPED


def test_a_line_that_is_half_written_is_no_event_yet(day: tuple[Path, Ledger, Wall]) -> None:
    run, ledger, _ = day
    tell(run, step(1, 1001.0))
    with (run / TRAIN / METRICS).open("a") as file:
        file.write('{"event": "step", "t": 10')
    assert [s.step for s in read_history(run).steps] == [1]
    ledger.stop()


def test_a_folder_without_a_day_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no training in it yet"):
        read_history(tmp_path)


def test_a_finished_run_knows_what_it_picked(tmp_path: Path, write_mix: Callable[..., Path], demo_base: Path) -> None:
    job = make_job(tmp_path, write_mix(), demo_base, budget_s=60.0)
    train(job, MEASURED, launch=fake(save="1,3"))
    history = read_history(job.run)
    assert history.state is State.FINISHED
    assert history.best is not None
    assert history.picked is not None
    assert history.best.step == history.picked.step == 3
    assert history.left_s == pytest.approx(60.0 - history.day.charged_s)


def test_smoothing_begins_at_the_first_value_and_passes_over_what_is_no_number() -> None:
    assert smoothed([4.0]) == [4.0]
    assert smoothed([2.0, math.nan, 2.0]) == pytest.approx([2.0, 2.0, 2.0])
    assert 1.0 < smoothed([1.0, 2.0])[1] < 2.0
