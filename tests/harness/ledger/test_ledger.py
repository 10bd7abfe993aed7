import json
from pathlib import Path

import pytest

from harness.budget.clock import Clock
from harness.errors import HarnessError
from harness.ledger.day import BEAT_S, Charging
from harness.ledger.ledger import Ledger


class Machine:
    """A machine whose clocks the test turns."""

    def __init__(self) -> None:
        self.up, self.wall, self.boot = 1_000.0, 1_700_000_000.0, "a"

    def clock(self) -> Clock:
        return Clock(up=lambda: self.up, wall=lambda: self.wall, boot=lambda: self.boot)

    def passes(self, seconds: float) -> None:
        self.up += seconds
        self.wall += seconds

    def reboots(self, seconds: float, *, boot: str = "b") -> None:
        self.wall += seconds
        self.up, self.boot = min(seconds, 20.0), boot


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.jsonl"


def start(path: Path, machine: Machine, budget_s: float = 100, charging: Charging = Charging.STRICT) -> Ledger:
    return Ledger.start(path, budget_s=budget_s, charging=charging, clock=machine.clock())


def test_every_second_is_charged_to_one_phase(path: Path, machine: Machine) -> None:
    ledger = start(path, machine)
    for phase, spent in (("pack", 2), ("load", 5), ("train", 40), ("evaluate", 3), ("train", 20), ("pick", 1)):
        ledger.enter(phase)
        machine.passes(spent)
    ledger.stop()
    machine.passes(1_000)
    report = ledger.report()
    assert report.by_phase == {"load": 5, "pack": 2, "train": 60, "evaluate": 3, "pick": 1}
    assert report.charged_s == 71
    assert report.overshoot_s == report.downtime_past_deadline_s == 0


def test_a_phase_can_begin_in_the_past_but_never_before_the_last_record(path: Path, machine: Machine) -> None:
    ledger = start(path, machine)
    ledger.enter("train")
    machine.passes(10)
    ledger.enter("evaluate", at=machine.up - 4)
    ledger.enter("train", at=machine.up - 50)
    ledger.stop()
    assert ledger.report().by_phase == {"train": 10}  # 6 before the evaluation, 4 after its record
    assert ledger.report().charged_s == 10


@pytest.mark.parametrize(("jump", "charged"), [(-1e6, 80), (1e6, 80)])
def test_setting_the_system_clock_changes_nothing(path: Path, machine: Machine, jump: float, charged: float) -> None:
    ledger = start(path, machine)
    ledger.enter("train")
    machine.passes(50)
    machine.wall += jump
    ledger.beat()
    machine.passes(30)
    assert ledger.left_s == 20
    ledger.stop()
    assert ledger.report().charged_s == charged


def test_the_deadline_is_on_the_uptime_clock(path: Path, machine: Machine) -> None:
    ledger = start(path, machine)
    machine.passes(30)
    machine.wall -= 500
    assert (ledger.left_s, ledger.deadline) == (70, machine.up + 70)


def killed(path: Path, machine: Machine, charging: Charging) -> Ledger:
    """Ten seconds of training and a heartbeat, then a kill and 30 s of nothing."""
    first = start(path, machine, charging=charging)
    first.enter("train")
    machine.passes(10)
    first.beat()
    machine.passes(30)
    second = Ledger.start(path, budget_s=999, clock=machine.clock())
    assert second.budget_s == 100
    return second


def test_the_strict_clock_charges_downtime(path: Path, machine: Machine) -> None:
    ledger = killed(path, machine, Charging.STRICT)
    assert ledger.left_s == 60
    ledger.enter("train")
    machine.passes(70)
    ledger.stop()
    report = ledger.report()
    assert report.by_phase == {"train": 80 + BEAT_S, "down": 30 - BEAT_S}
    assert (report.resumes, report.charged_s, report.overshoot_s) == (1, 110, 10)


def test_the_compute_clock_charges_one_heartbeat_of_it(path: Path, machine: Machine) -> None:
    ledger = killed(path, machine, Charging.COMPUTE)
    assert ledger.left_s == 90 - BEAT_S
    ledger.enter("train")
    machine.passes(50)
    ledger.stop()
    report = ledger.report()
    assert report.by_phase == {"train": 60 + BEAT_S, "down": 30 - BEAT_S}
    assert (report.charged_s, report.overshoot_s, report.clock) == (60 + BEAT_S, 0, "compute")


def test_what_a_kill_hides_ends_at_the_deadline(path: Path, machine: Machine) -> None:
    """Killed 0.05 s before it and resumed 0.05 s after it: the tenth of a second is no work past the deadline."""
    first = start(path, machine)
    first.enter("pick")
    machine.passes(99.95)
    first.enter("save")
    machine.passes(0.1)
    second = start(path, machine)
    second.stop(at_last=True)
    report = second.report()
    assert (report.charged_s, report.overshoot_s) == (100, 0)
    assert report.downtime_past_deadline_s == pytest.approx(0.05)


def test_a_deadline_that_passed_while_nothing_ran_is_no_overshoot(path: Path, machine: Machine) -> None:
    first = start(path, machine)
    first.enter("train")
    machine.passes(10)
    first.beat()
    machine.passes(500)
    second = start(path, machine)
    assert second.left_s == -410
    second.enter("pick")
    machine.passes(2)
    second.stop()
    report = second.report()
    assert (report.charged_s, report.overshoot_s, report.downtime_past_deadline_s) == (100, 0, 412)


@pytest.mark.parametrize(("wall_moved", "charged"), [(0, 10 + 300), (-1e6, 10 + 20), (1e3, 10 + 300 + 1e3)])
def test_a_reboot_costs_the_wall_clock_and_at_least_the_time_since_boot(
    path: Path, machine: Machine, wall_moved: float, charged: float
) -> None:
    first = start(path, machine, budget_s=5_000)
    machine.passes(10)
    first.beat()
    machine.reboots(300)
    machine.wall += wall_moved
    second = start(path, machine, budget_s=5_000)
    assert second.left_s == 5_000 - charged
    machine.passes(5)
    assert second.left_s == 5_000 - charged - 5


def test_heartbeats_come_no_more_often_than_they_must(path: Path, machine: Machine) -> None:
    ledger = start(path, machine)
    for _ in range(100):
        machine.passes(0.1)
        ledger.beat()
    beats = path.read_text().count('"beat"')
    assert 10 / BEAT_S - 1 <= beats <= 10 / BEAT_S


def test_a_torn_line_is_skipped_and_closed(path: Path, machine: Machine) -> None:
    ledger = start(path, machine)
    ledger.enter("train")
    machine.passes(10)
    with path.open("ab") as f:
        f.write(b'{"t": 1, "ev')
    second = start(path, machine)
    assert second.left_s == 90
    assert json.loads(path.read_text().splitlines()[-1])["event"] == "resume"


def test_what_is_not_charged_is_named(path: Path, machine: Machine) -> None:
    ledger = start(path, machine)
    ledger.note_not_charged("rehearsal", 12.3456)
    ledger.stop()
    assert ledger.report().not_charged == {"rehearsal": 12.346}
    assert ledger.report().charged_s == 0


def test_the_file_alone_tells_the_day(path: Path, machine: Machine) -> None:
    ledger = start(path, machine)
    ledger.enter("train")
    machine.passes(10)
    ledger.stop()
    assert Ledger(path).report() == ledger.report()


def test_a_run_that_is_gone_ends_with_its_last_sign_of_life(path: Path, machine: Machine) -> None:
    ledger = start(path, machine)
    ledger.enter("train")
    machine.passes(10)
    ledger.beat()
    machine.passes(1)
    assert Ledger(path, clock=machine.clock()).report().charged_s == 11  # it may be alive
    machine.passes(500)
    assert Ledger(path, clock=machine.clock()).report().charged_s == 10


def test_another_job_begins_a_new_day(path: Path, machine: Machine) -> None:
    Ledger.start(path, budget_s=100, run_id="a", clock=machine.clock())
    machine.passes(50)
    assert Ledger.start(path, budget_s=100, run_id="a", clock=machine.clock()).left_s == 50
    assert Ledger.start(path, budget_s=100, run_id="b", clock=machine.clock()).left_s == 100


def test_training_after_a_resume_is_a_phase_of_its_own(path: Path, machine: Machine) -> None:
    start(path, machine).enter("train")
    machine.passes(1)
    second = start(path, machine)
    machine.passes(5)
    second.enter("train")
    machine.passes(3)
    second.stop()
    assert second.report().by_phase == {"load": 5, "train": 4}


def test_an_unknown_phase_is_a_bug(path: Path, machine: Machine) -> None:
    with pytest.raises(AssertionError):
        start(path, machine).enter("lunch")


def test_a_folder_without_ledger_is_told(path: Path) -> None:
    with pytest.raises(HarnessError, match="no ledger"):
        Ledger.of_run(path)


def test_a_pick_after_the_day_is_charged_and_the_time_between_is_not(path: Path, machine: Machine) -> None:
    ledger = start(path, machine)
    ledger.enter("train")
    machine.passes(60)
    ledger.stop()
    machine.passes(5_000)
    again = Ledger(path, clock=machine.clock())
    assert again.left_s == 40
    with again.working("pick"):
        machine.passes(7)
        assert again.left_s == 33
        machine.passes(3)
    machine.passes(900)
    for seen in (again, Ledger(path, clock=machine.clock())):
        assert seen.left_s == 30
        assert seen.report().by_phase == {"train": 60, "pick": 10}
        assert (seen.report().charged_s, seen.report().overshoot_s) == (70, 0)
        assert seen.is_closed


def test_a_pick_on_a_run_that_lies_down_charges_the_time_it_lay(path: Path, machine: Machine) -> None:
    ledger = start(path, machine)
    ledger.enter("train")
    machine.passes(20)
    ledger.beat()
    machine.passes(30)  # killed here, or up to a heartbeat later
    again = Ledger(path, clock=machine.clock())
    with again.working("pick"):
        machine.passes(5)
    assert again.report().by_phase == {"train": 20 + BEAT_S, "pick": 5, "down": 30 - BEAT_S}
    assert not again.is_closed
    Ledger.start(path, budget_s=100, clock=machine.clock()).enter("train")
    machine.passes(1)
    assert Ledger(path, clock=machine.clock()).report().by_phase["train"] == 20 + BEAT_S + 1


def test_a_pick_that_fails_closes_the_day_again(path: Path, machine: Machine) -> None:
    ledger = start(path, machine)
    ledger.stop()

    def pick() -> None:
        with ledger.working("pick"):
            machine.passes(2)
            raise KeyError

    with pytest.raises(KeyError):
        pick()
    assert ledger.is_closed
    assert ledger.report().by_phase == {"pick": 2}


def test_a_note_is_no_moment_of_the_day(path: Path, machine: Machine) -> None:
    ledger = start(path, machine)
    machine.passes(10)
    ledger.stop()
    ledger.note_not_charged("export", 5)
    machine.passes(86_400)
    again = Ledger(path, clock=machine.clock())
    assert again.is_closed
    assert again.left_s == 90
    with again.working("pick"):
        machine.passes(4)
    assert again.report().by_phase == {"load": 10, "pick": 4}
    assert again.report().not_charged == {"export": 5}


def test_a_pick_that_was_killed_leaves_the_day_closed(path: Path, machine: Machine) -> None:
    ledger = start(path, machine)
    machine.passes(10)
    ledger.stop()
    machine.passes(1_000)
    picking = Ledger(path, clock=machine.clock()).working("pick")
    picking.__enter__()  # and killed six seconds later, with a last heartbeat after four
    machine.passes(4)
    killed = Ledger(path, clock=machine.clock())
    assert not killed.is_closed  # it may be at work still
    killed.beat()
    machine.passes(86_400)
    again = Ledger(path, clock=machine.clock())
    assert again.is_closed
    assert again.left_s == 86
    with again.working("pick"):
        machine.passes(3)
    for seen in (again, Ledger(path, clock=machine.clock())):
        assert seen.report().by_phase == {"load": 10, "pick": 7}
        assert seen.left_s == 83


def test_what_is_left_is_told_across_a_reboot(path: Path, machine: Machine) -> None:
    ledger = start(path, machine)
    machine.passes(10)
    ledger.stop()
    machine.reboots(500)
    assert Ledger(path, clock=machine.clock()).left_s == 90
