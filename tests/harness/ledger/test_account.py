"""Accounts: one budget over several trainings and generations, each with a share of its own."""

from pathlib import Path

import pytest

from harness.ledger.account import Account
from harness.ledger.day import BEAT_S, Charging
from harness.ledger.ledger import Ledger
from tests.harness.ledger.test_ledger import Machine


@pytest.fixture
def machine() -> Machine:
    return Machine()


def study(tmp_path: Path, machine: Machine, *, budget_s: float = 100, charging: Charging = Charging.STRICT) -> Ledger:
    path, clock = tmp_path / "ledger.jsonl", machine.clock()
    return Ledger.start(path, budget_s=budget_s, run_id="study", charging=charging, clock=clock, reopens=True)


def account(tmp_path: Path, of: Ledger, machine: Machine, *, name: str = "a", share_s: float = 40) -> Account:
    return Account.open(tmp_path / name / "ledger.jsonl", of=of, name=name, share_s=share_s, clock=machine.clock())


def test_every_second_is_in_an_account_and_in_the_whole(tmp_path: Path, machine: Machine) -> None:
    ledger = study(tmp_path, machine)
    for name, seconds in (("a", 30), ("b", 20)):
        opened = account(tmp_path, ledger, machine, name=name)
        machine.passes(5)
        opened.enter("train")
        machine.passes(seconds)
        opened.stop()
        machine.passes(1)
    ledger.stop()
    report = ledger.report()
    assert report.by_account == {"a": 35, "b": 25}
    assert report.by_phase == {"load": 10, "train": 50, "idle": 2}
    assert report.charged_s == 62
    assert Ledger.of_run(tmp_path / "a/ledger.jsonl").report().charged_s == 35


def test_time_ends_with_the_share_or_with_the_whole_budget(tmp_path: Path, machine: Machine) -> None:
    ledger = study(tmp_path, machine)
    first = account(tmp_path, ledger, machine, share_s=40)
    machine.passes(30)
    assert (first.left_s, first.deadline) == (10, machine.up + 10)
    first.stop()
    machine.passes(50)
    second = account(tmp_path, ledger, machine, name="b", share_s=40)
    assert second.left_s == 20  # of the whole


@pytest.mark.parametrize(("charging", "left"), [(Charging.STRICT, 55), (Charging.COMPUTE, 85 - BEAT_S)])
def test_a_resumed_account_gets_a_new_share_and_downtime_is_charged_to_none(
    tmp_path: Path, machine: Machine, charging: Charging, left: float
) -> None:
    first = account(tmp_path, study(tmp_path, machine, charging=charging), machine)
    first.enter("train")
    machine.passes(15)
    first.beat()
    machine.passes(30)  # killed
    ledger = study(tmp_path, machine, charging=charging)
    second = account(tmp_path, ledger, machine, share_s=50)
    assert second.left_s == min(50, left)
    second.enter("train")
    machine.passes(10)
    second.stop()
    ledger.stop()
    report = ledger.report()
    assert report.by_account == {"a": 15 + BEAT_S + 10}
    assert report.by_phase["down"] == 30 - BEAT_S


def test_a_budget_can_be_changed_and_the_time_since_a_stop_is_not_charged(tmp_path: Path, machine: Machine) -> None:
    ledger = study(tmp_path, machine)
    machine.passes(90)
    ledger.stop()
    machine.passes(10_000)
    again = study(tmp_path, machine, budget_s=999)
    assert (again.budget_s, again.left_s) == (100, 10)
    again.rebudget(200)
    assert again.left_s == 110
    machine.passes(20)
    again.stop()
    report = Ledger(tmp_path / "ledger.jsonl", clock=machine.clock()).report()
    assert (report.budget_s, report.charged_s, report.overshoot_s) == (200, 110, 0)


def test_the_ledger_of_another_run_is_set_aside_and_not_deleted(tmp_path: Path, machine: Machine) -> None:
    ledger = study(tmp_path, machine)
    machine.passes(7)
    ledger.stop()
    before = (tmp_path / "ledger.jsonl").read_bytes()
    for number in (1, 2):
        Ledger.start(tmp_path / "ledger.jsonl", budget_s=5, run_id=f"other-{number}", clock=machine.clock())
    assert (tmp_path / "ledger-1.jsonl").read_bytes() == before
    assert (tmp_path / "ledger-2.jsonl").is_file()
