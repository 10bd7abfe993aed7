"""`oneday study`: the plan that needs neither base nor data."""

import json
from typing import Any

import pytest

from oneday.cli import main


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as e:
        main([*map(str, arguments)])
    return int(str(e.value.code))


def last_line(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    return found


def test_a_dry_run_lists_all_trainings_whatever_the_budget_drops(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("study", "finnish", "--dry-run", "--json") == 0
    whole = last_line(capsys)
    assert {"trainings", "generations", "dropped", "hours", "deviations"} <= set(whole)
    assert (len(whole["trainings"]), whole["dropped"]) == (14, [])
    assert run("study", "finnish", "--dry-run", "--json", "--budget", "8h") == 0
    less = last_line(capsys)
    assert len(less["trainings"]) == 14
    assert less["dropped"][:2] == ["neftune", "masked"]  # the lowest priority; the later in the file first
    assert less["hours"] <= 8 < whole["hours"]
    assert {t["arms"][0] for t in less["trainings"] if t["dropped"]} >= {"masked", "neftune"}
    assert "en-fi-100pct" not in less["dropped"]


def test_a_dry_run_shows_what_is_shared_how_arms_differ_and_what_departs_from_the_paper(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run("study", "taiwan", "--dry-run", "--set", "sft.learning_rate=1e-4") == 0
    seen = capsys.readouterr()
    assert "sft is trained once for 7b, 7b-no-feedback" in seen.out
    assert "without cpt" in seen.out
    assert "not declared" in seen.out  # the learning rate of this call
    assert "identities come from declared names" in seen.err


def test_the_shipped_studies_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("study", "--list", "--json") == 0
    assert set(last_line(capsys)["studies"]) == {"birbal", "choosing", "finnish", "taiwan", "transfer"}
