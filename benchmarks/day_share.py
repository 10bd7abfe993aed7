"""Share of a budget that trains: measured for ten minutes on the CPU, computed for 24 hours on a GPU.

    python benchmarks/day_share.py [--budget 10m]

Trains the demo's base on synthetic rows with the shipped CPU recipe and the real Axolotl, and reads the ledger. The
shares of 24 hours are computed from estimates of a GPU's speed (harness/budget/gpu_profile.py), for a mix long enough
to fill the day: (budget - start - closing reserve - N evaluations and saves) / budget. Prints one JSON line.
"""

import argparse
import json
import tempfile
from pathlib import Path

from benchmarks.timed_pick import write_mix
from harness.budget.duration import seconds
from harness.budget.gpu_profile import get_gpu_profile
from harness.budget.plan import ESTIMATED_VALIDATION_ROWS, Costs, estimate_budget
from harness.data.pack import PackPlan
from harness.job import TrainJob
from harness.recipe import find_recipe, read_recipe, recipe_for
from oneday.commands.training.train import rehearse_and_train
from oneday.demo.demo import DEMO_BASE, RECIPE
from oneday.display.console import Console

DAY_S = 86_400.0
MEAN_TOKENS = 275


def project_24h(card_name: str) -> dict[str, float]:
    """Plans 24 hours with the card's recommended recipe."""
    card = get_gpu_profile(card_name)
    recipe = read_recipe(find_recipe(recipe_for(card)))
    costs = Costs.estimated(card, recipe, validation_tokens=ESTIMATED_VALIDATION_ROWS * MEAN_TOKENS)
    endless = PackPlan.make(
        [recipe.sequence_len] * 100_000, capacity=recipe.sequence_len, bins_per_batch=recipe.micro_batch_size,
        epochs=1, seed=1,
    )  # fmt: skip
    plan = estimate_budget(recipe, endless, costs, budget_s=DAY_S)
    assert plan.because == "deadline"
    return {
        "steps": plan.steps,
        "step_s": round(costs.step_s, 2),
        "start_s": costs.start_s,
        "evaluations_and_saves": plan.num_evaluations,
        "evaluation_and_save_s": round(costs.eval_s + costs.save_s, 1),
        "closing_reserve_s": round(plan.reserve_s, 1),
        "trained_share": round(plan.trained_share, 4),
    }


def main() -> None:
    """Runs the benchmark and prints its JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--budget", default="10m")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_mix(folder / "mix", train=1500, validation=100)
        job = TrainJob(
            run=folder / "run", mix=folder / "mix", base=DEMO_BASE, recipe=read_recipe(RECIPE),
            card=get_gpu_profile("cpu"),
            budget_s=seconds(arguments.budget),
        )  # fmt: skip
        result = rehearse_and_train(job, Console())
    report = result.ledger
    print(
        json.dumps(
            {
                "budget_s": report.budget_s,
                "steps": result.steps,
                "by_phase_s": {phase: round(spent, 1) for phase, spent in report.by_phase.items()},
                "unused_s": round(report.budget_s - report.charged_s, 1),
                "overshoot_s": report.overshoot_s,
                "trained_share": round(report.by_phase["train"] / report.budget_s, 4),
                "projected_24h": {card: project_24h(card) for card in ("rtx4090", "a100-40gb")},
            }
        )
    )


if __name__ == "__main__":
    main()
