"""The plan of a day: how many steps fit, when they end, and what the paper's mixes would need on this card.

    plan = estimate_budget(recipe, packs, costs, budget_s=86_400, keep=10)
    plan.steps, plan.finish_s, plan.trained_share

Costs come from a rehearsal (measured) or from a card's profile (an estimate, and marked as one). Steps and tokens come
from the pack plan and are exact.

Where it sits: rehearsal + pack plan -> **plan**; the run itself re-plans from what it measures.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from harness.budget.duration import CLOSING_MARGIN
from harness.budget.flops import estimated_tokens_per_s
from harness.budget.gpu_profile import GpuProfile
from harness.budget.memory import MISTRAL_7B, ModelShape
from harness.budget.rehearse import CHILD_EXIT_S, Rehearsal
from harness.errors import ConfigError
from harness.pack import PackPlan
from harness.recipe import AxolotlConfig

ESTIMATED_VALIDATION_ROWS = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """Seconds."""

    start_s: float
    """Data, packing, model and imports, up to the first step."""
    step_s: float
    eval_s: float
    save_s: float
    pick_s: float
    measured: bool
    """False: from a card's profile."""

    @classmethod
    def of(cls, measured: Rehearsal, average: int = 0) -> "Costs":
        """As the rehearsal found them."""
        return cls(
            start_s=measured.load_s + measured.prepare_s,
            step_s=measured.typical_step_s,
            eval_s=measured.eval_s,
            save_s=measured.save_s,
            pick_s=measured.pick_reserve_s(average),
            measured=True,
        )

    @classmethod
    def estimated(
        cls, card: GpuProfile, recipe: AxolotlConfig, shape: ModelShape = MISTRAL_7B, *, validation_tokens: int
    ) -> "Costs":
        """From the card's profile alone, at the low end of what was published.

        Raises:
            ConfigError: the card has none.
        """
        speed = estimated_tokens_per_s(card, recipe, shape)
        if speed is None:
            raise ConfigError(f"`card={card.name}`: no speed is known for it. Rehearse first: oneday rehearse.")
        # an evaluation is a forward pass: of a step's four (forward, forward again, twice backward) one
        return cls(
            start_s=180.0,
            step_s=tokens_per_step(recipe) / speed,
            eval_s=validation_tokens / (4 * speed),
            save_s=15.0,
            pick_s=60.0,
            measured=False,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetEstimate:
    """What a budget buys."""

    steps: int
    epochs: float
    num_evaluations: int
    reserve_s: float
    """Kept for the last evaluation, save and pick."""
    finish_s: float
    """When the pick is published, expected."""
    trained_share: float
    """Of the budget."""
    worked_share: float
    """Of the time until the finish: what start, evaluations, saves and the pick leave."""
    because: str
    """`deadline` or `epochs`."""
    measured: bool


def tokens_per_step(recipe: AxolotlConfig) -> int:
    """Slots for tokens, padding included."""
    return recipe.sequence_len * recipe.micro_batch_size * recipe.gradient_accumulation_steps


def estimate_budget(recipe: AxolotlConfig, packs: PackPlan, costs: Costs, *, budget_s: float) -> BudgetEstimate:
    """How far a budget goes."""
    closing = CLOSING_MARGIN * (costs.eval_s + costs.save_s)
    reserve = closing + costs.pick_s + CHILD_EXIT_S
    per_step = costs.step_s + (costs.eval_s + costs.save_s) / recipe.eval_steps
    most = packs.num_steps(recipe.gradient_accumulation_steps)
    first = costs.eval_s + costs.save_s  # the early checkpoint
    affordable = max(0, math.floor((budget_s - costs.start_s - first - reserve) / max(per_step, 1e-6)))
    steps = min(most, affordable)
    micro_batches = min(steps * recipe.gradient_accumulation_steps, len(packs.micro_batches))
    done = sum(end <= micro_batches for end in packs.epoch_ends)
    start = packs.epoch_ends[done - 1] if done else 0
    length = packs.epoch_ends[done] - start if done < packs.num_epochs else 1
    used = costs.start_s + first + steps * per_step + reserve
    return BudgetEstimate(
        steps=steps,
        epochs=round(done + (micro_batches - start) / length, 2),
        num_evaluations=1 + math.ceil(steps / recipe.eval_steps),
        reserve_s=reserve,
        finish_s=used,
        trained_share=steps * costs.step_s / budget_s,
        worked_share=steps * costs.step_s / used,
        because="epochs" if steps == most else "deadline",
        measured=costs.measured,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class MixEstimate:
    """What one of the paper's mixes would need."""

    mix: str
    epochs: int
    tokens: int
    """Of one pass, from this mix's mean row."""
    seconds: float
    fits: bool
    is_papers: bool
    """The number of epochs that the paper trained it for."""


def estimate_mixes(
    recipe: AxolotlConfig,
    costs: Costs,
    *,
    mixes: Mapping[str, Mapping[str, int]],
    papers_epochs: Mapping[str, int],
    mean_tokens: Mapping[str, float],
    efficiency: float,
    budget_s: float,
) -> list[MixEstimate]:
    """3, 2 and 1 epochs of each of the paper's mixes on this card.

    Args:
        mixes: Rows by source, of each mix.
        papers_epochs: How often the paper's runs saw each mix.
        mean_tokens: Of a row, by source; a source that is not there counts as the mean of those that are.
    """
    mean = sum(mean_tokens.values()) / len(mean_tokens)
    per_step = costs.step_s + (costs.eval_s + costs.save_s) / recipe.eval_steps
    found = []
    for mix, rows in mixes.items():
        tokens = round(sum(n * mean_tokens.get(source, mean) for source, n in rows.items()))
        for epochs in (3, 2, 1):
            steps = math.ceil(epochs * tokens / efficiency / tokens_per_step(recipe))
            seconds = costs.start_s + steps * per_step + costs.eval_s + costs.save_s + costs.pick_s
            found.append(
                MixEstimate(
                    mix=mix,
                    epochs=epochs,
                    tokens=tokens,
                    seconds=seconds,
                    fits=seconds <= budget_s,
                    is_papers=papers_epochs[mix] == epochs,
                )
            )
    return found
