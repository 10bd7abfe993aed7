"""The study of `make study-demo` fits the machine that it runs on."""

from pathlib import Path

import pytest

from oneday.demo.study import (
    LEAST_STEPS,
    MARGIN,
    MOST_S,
    MOST_STEPS,
    USUAL_S,
    fitted_to_machine,
    needed_seconds,
    write_demo_study,
)
from studies.arm import resolve_arms
from studies.estimate import Measured, speed_key
from studies.graph import build_graph
from studies.identity import Known
from studies.study import read_study


@pytest.mark.parametrize(
    ("slower", "steps", "budget_s"),
    [(0.5, MOST_STEPS, USUAL_S), (1, 60, USUAL_S), (3, LEAST_STEPS, 1187), (100, LEAST_STEPS, MOST_S)],
)
def test_steps_shrink_before_the_budget_grows(tmp_path: Path, slower: float, steps: int, budget_s: float) -> None:
    study = read_study(write_demo_study(tmp_path))
    trainings = build_graph(study, resolve_arms(study), Known(), {}).trainings.values()
    measured = Measured(tokens_per_s=2000 / slower, start_s=14 * slower, evaluation_s=slower)
    rehearsed = {speed_key(training): measured for training in trainings}
    fitted = fitted_to_machine(tmp_path, rehearsed)
    assert fitted.stage("sft").max_steps == steps
    assert float(fitted.budget.rstrip("s")) == pytest.approx(budget_s, rel=0.1)
    if budget_s < MOST_S:
        assert float(fitted.budget.rstrip("s")) >= MARGIN * needed_seconds(fitted, rehearsed) - 1
