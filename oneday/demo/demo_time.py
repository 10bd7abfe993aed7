"""How much time the demo takes on this machine: its training budget and the number of its questions.

    budget_s = budget_for(measured, recipe)          # 150 s on idle cores, up to 15 minutes on busy ones
    num = questions_per_task(num_tasks=17, seconds_per_prompt=0.02)

Where it sits: between the demo's rehearsal and its training, and before it compares.
"""

import math

from harness.budget.duration import CLOSING_MARGIN
from harness.budget.pace import first_horizon
from harness.budget.rehearse import CHILD_EXIT_S, Rehearsal
from harness.recipe import AxolotlConfig

USUAL_S, MOST_S = 150.0, 900.0
"""The demo's training budget on idle cores, and on cores that others use."""

GOOD_STEPS, LEAST_STEPS = 300, 60
"""Steps that the budget is extended for, and the fewest steps that make a comparison meaningful."""

MOST_PER_TASK, LEAST_QUESTIONS = 20, 100
ASKING_S = 120.0
"""Seconds for the answers of base and tuned model together."""


def steps_within(budget_s: float, measured: Rehearsal, recipe: AxolotlConfig) -> int:
    """Steps that a budget holds at the measured costs; 0 if it is too short for a run."""
    if budget_s < measured.minimum_s():
        return 0
    start_s = CLOSING_MARGIN * (measured.load_s + measured.prepare_s)
    return first_horizon(
        left_s=budget_s - start_s - measured.pick_reserve_s() - CHILD_EXIT_S,
        step_s=measured.typical_step_s,
        closing_s=measured.usual_closing_s,
        eval_steps=recipe.evaluation_interval,
    )


def budget_for(measured: Rehearsal, recipe: AxolotlConfig) -> float:
    """The budget in seconds: the usual one, extended to hold `GOOD_STEPS` steps, at most `MOST_S`."""
    budget_s = USUAL_S
    while steps_within(budget_s, measured, recipe) < GOOD_STEPS and budget_s < MOST_S:
        budget_s = min(MOST_S, budget_s + 30.0)
    return budget_s


def questions_per_task(*, num_tasks: int, seconds_per_prompt: float) -> int:
    """Questions per task that fit the time, within the usual number; at least `LEAST_QUESTIONS` in total."""
    least = math.ceil(LEAST_QUESTIONS / num_tasks)
    affordable = int(ASKING_S / (2 * num_tasks * max(seconds_per_prompt, 1e-6)))
    return max(least, min(MOST_PER_TASK, affordable))
