from dataclasses import replace

import pytest

from curation.sources.source import EPOCHS, MIXES
from harness.budget.gpu_profile import get_gpu_profile
from harness.budget.plan import Costs, estimate_budget, estimate_mixes, tokens_per_step
from harness.data.pack import PackPlan
from harness.errors import ConfigError
from harness.recipe import read_recipe
from oneday.demo.demo import RECIPE

TINY = read_recipe(RECIPE).model_copy(update={"eval_steps": 10, "gradient_accumulation_steps": 2})
WINNERS = read_recipe(RECIPE.parent / "mistral_7b_qlora_4090.yml")
COSTS = Costs(start_s=20, step_s=1.0, eval_s=4.0, save_s=1.0, pick_s=2.0, measured=True)
PACKS = PackPlan.make([256] * 400, capacity=512, bins_per_batch=2, epochs=3, seed=1)  # 100 micro-batches an epoch


def test_a_long_budget_ends_with_the_epochs() -> None:
    plan = estimate_budget(TINY, PACKS, COSTS, budget_s=10_000)
    assert (plan.steps, plan.epochs, plan.because, plan.num_evaluations) == (150, 3.0, "epochs", 16)
    assert plan.finish_s == pytest.approx(20 + 5 + 150 * 1.5 + plan.reserve_s)
    assert plan.trained_share == pytest.approx(150 / 10_000)


@pytest.mark.parametrize("budget_s", [50, 77.7, 100, 200])
def test_a_short_budget_is_filled_and_not_overrun(budget_s: float) -> None:
    plan = estimate_budget(TINY, PACKS, COSTS, budget_s=budget_s)
    assert plan.because == "deadline"
    assert budget_s - 1.5 - 1e-9 <= plan.finish_s <= budget_s
    assert plan.reserve_s == pytest.approx(1.25 * 5 + 2 + 1)
    assert plan.epochs == pytest.approx(plan.steps * 2 / 100, abs=0.01)


def test_no_budget_buys_nothing() -> None:
    assert estimate_budget(TINY, PACKS, COSTS, budget_s=10).steps == 0


def test_the_papers_mixes_are_priced_by_source() -> None:
    means = {"ni_exact_match": 200.0, "ni_generation": 200.0, "lima": 500.0}
    found = estimate_mixes(
        WINNERS, COSTS, mixes=MIXES, papers_epochs=EPOCHS, mean_tokens=means, efficiency=0.99, budget_s=86_400
    )
    assert [(n.mix, n.epochs) for n in found][:3] == [("200k", 3), ("200k", 2), ("200k", 1)]
    assert [n.mix for n in found if n.is_papers] == ["200k", "400k", "700k"]
    rows = MIXES["200k"]
    other = sum(n for source, n in rows.items() if source not in means)
    assert found[0].tokens == 100_000 * 200 + 1_000 * 500 + other * 300
    assert found[0].seconds > found[1].seconds > found[2].seconds
    steps = -(-3 * found[0].tokens / 0.99 // tokens_per_step(WINNERS))
    assert found[0].seconds == pytest.approx(20 + steps * (1 + 5 / WINNERS.eval_steps) + 7)


def test_a_profile_gives_an_estimate_and_says_so() -> None:
    costs = Costs.estimated(get_gpu_profile("rtx4090"), WINNERS, validation_tokens=400_000)
    assert not costs.measured
    assert costs.step_s == pytest.approx(8_192 * 2 * 3 / 2_328, rel=1e-2)
    assert not estimate_budget(WINNERS, PACKS, costs, budget_s=86_400).measured
    with pytest.raises(ConfigError, match="Rehearse first"):
        Costs.estimated(get_gpu_profile("cpu"), TINY, validation_tokens=1)
    assert replace(costs, measured=True).measured
