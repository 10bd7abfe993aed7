"""The demo's time on machines of any speed, from what a rehearsal would have measured there."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from harness.budget.rehearse import Rehearsal
from harness.errors import TrainError
from harness.recipe import read_recipe
from oneday.demo.demo import RECIPE, Comparison, _explain, _too_slow
from oneday.demo.demo_time import (
    GOOD_STEPS,
    LEAST_QUESTIONS,
    LEAST_STEPS,
    MOST_PER_TASK,
    MOST_S,
    USUAL_S,
    budget_for,
    questions_per_task,
    steps_within,
)
from oneday.display.console import Console

IDLE = Rehearsal(
    prepare_s=1.0, load_s=10.0, step_s=0.3, mean_step_s=0.12, eval_s=0.5, usual_eval_s=0.2, save_s=0.1, verify_s=0.01,
    peak_memory_gib=None, wall_s=15.0,
)  # fmt: skip
RECIPE_ = read_recipe(RECIPE)


def slower(factor: float) -> Rehearsal:
    names = ("prepare_s", "load_s", "step_s", "mean_step_s", "eval_s", "usual_eval_s", "save_s", "verify_s")
    return replace(IDLE, **{name: factor * getattr(IDLE, name) for name in names})


def test_on_idle_cores_the_budget_is_the_usual_one() -> None:
    assert budget_for(IDLE, RECIPE_) == USUAL_S
    assert steps_within(USUAL_S, IDLE, RECIPE_) > GOOD_STEPS


@pytest.mark.parametrize("factor", [3, 10, 30, 60])
def test_a_slow_machine_gets_more_time_within_its_bound(factor: float) -> None:
    budget_s = budget_for(slower(factor), RECIPE_)
    assert USUAL_S <= budget_s <= MOST_S
    steps = steps_within(budget_s, slower(factor), RECIPE_)
    assert steps >= GOOD_STEPS or budget_s == MOST_S
    if factor <= 30:
        assert steps >= LEAST_STEPS


def test_the_machine_that_made_two_steps_in_its_budget_makes_enough_now() -> None:
    """10.6 s a step, as seen on a busy machine: two steps fitted 150 s, 60 and more fit the bound."""
    busy = replace(IDLE, load_s=60.0, step_s=11.0, mean_step_s=10.6, eval_s=8.0, usual_eval_s=6.0, save_s=1.0)
    assert steps_within(USUAL_S, busy, RECIPE_) < 10
    assert steps_within(budget_for(busy, RECIPE_), busy, RECIPE_) >= LEAST_STEPS


@pytest.mark.parametrize(("seconds", "per_task"), [(0.01, MOST_PER_TASK), (0.3, 11), (5.0, 6)])
def test_fewer_questions_are_asked_when_they_are_slow_but_never_too_few(seconds: float, per_task: int) -> None:
    assert questions_per_task(num_tasks=17, seconds_per_prompt=seconds) == per_task
    assert 17 * questions_per_task(num_tasks=17, seconds_per_prompt=seconds) >= LEAST_QUESTIONS


def test_where_even_the_bound_is_too_short_the_missing_figure_is_named(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    never = slower(1_000)
    assert steps_within(budget_for(never, RECIPE_), never, RECIPE_) == 0
    _too_slow(tmp_path, never, Console(json_line=True))
    seen = capsys.readouterr()
    assert "no training: its shortest run takes" in seen.err
    assert "Missing: validation losses, the comparison, the server" in seen.err
    assert json.loads(seen.out)["better_than_base"] is None
    overall = Comparison(group="overall", num=102, base=0.5, tuned=0.5, low=-0.1, high=0.1, p=0.9)
    _explain(12, overall, slower(100), Console())
    assert "Only 12 of the usual 300 steps were made: one took 12.0 s in the rehearsal" in capsys.readouterr().err
    _explain(299, overall, slower(1), Console())
    assert "Only 299 of the usual 300 steps" in capsys.readouterr().err, "the machine was faster when it was planned"
    with pytest.raises(TrainError, match="tuned is no better than base"):
        _explain(300, overall, slower(1), Console())
