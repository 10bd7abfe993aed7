from pathlib import Path

import pytest

from harness.ledger import Ledger


class Clock:
    def __init__(self) -> None:
        self.t = 1_000.0

    def __call__(self) -> float:
        return self.t


def test_every_second_is_charged_to_one_phase(tmp_path: Path) -> None:
    clock = Clock()
    ledger = Ledger.start(tmp_path / "ledger.jsonl", budget_s=100, now=clock)
    for phase, spent in (("pack", 2), ("load", 5), ("train", 40), ("evaluate", 3), ("train", 20), ("pick", 1)):
        ledger.enter(phase)
        clock.t += spent
    ledger.stop()
    clock.t += 1_000
    report = ledger.report()
    assert report.by_phase == {"load": 5, "pack": 2, "train": 60, "evaluate": 3, "pick": 1}
    assert report.charged_s == 71
    assert report.overshoot_s == 0


def test_a_phase_can_begin_in_the_past_but_never_before_the_last_record(tmp_path: Path) -> None:
    clock = Clock()
    ledger = Ledger.start(tmp_path / "ledger.jsonl", budget_s=100, now=clock)
    ledger.enter("train")
    clock.t += 10
    ledger.enter("evaluate", at=clock.t - 4)
    ledger.enter("train", at=clock.t - 50)
    ledger.stop()
    assert ledger.report().by_phase == {"train": 10}  # 6 before the evaluation, 4 after its record
    assert ledger.report().charged_s == 10


def test_a_killed_run_is_charged_its_downtime(tmp_path: Path) -> None:
    clock = Clock()
    path = tmp_path / "ledger.jsonl"
    first = Ledger.start(path, budget_s=100, now=clock)
    first.enter("train")
    clock.t += 10
    first.enter("evaluate")
    clock.t += 30  # killed, lay down
    second = Ledger.start(path, budget_s=999, now=clock)
    assert second.budget_s == 100
    assert second.left_s == 60
    second.enter("train")
    clock.t += 70
    second.stop()
    report = second.report()
    assert report.by_phase == {"train": 80, "down": 30}
    assert report.resumes == 1
    assert report.overshoot_s == 10


def test_the_file_alone_tells_the_day(tmp_path: Path) -> None:
    clock = Clock()
    ledger = Ledger.start(tmp_path / "ledger.jsonl", budget_s=100, now=clock)
    ledger.enter("train")
    clock.t += 10
    ledger.stop()
    assert Ledger(tmp_path / "ledger.jsonl").report() == ledger.report()


def test_another_job_begins_a_new_day(tmp_path: Path) -> None:
    clock = Clock()
    Ledger.start(tmp_path / "ledger.jsonl", budget_s=100, job="a", now=clock)
    clock.t += 50
    assert Ledger.start(tmp_path / "ledger.jsonl", budget_s=100, job="a", now=clock).left_s == 50
    assert Ledger.start(tmp_path / "ledger.jsonl", budget_s=100, job="b", now=clock).left_s == 100


def test_an_unknown_phase_is_a_bug(tmp_path: Path) -> None:
    ledger = Ledger.start(tmp_path / "ledger.jsonl", budget_s=100)
    with pytest.raises(AssertionError):
        ledger.enter("lunch")
