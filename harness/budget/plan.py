"""An estimate of a budget: how many steps fit, when the run ends, and what the paper's mixes would need on this card.

    estimate = estimate_budget(recipe, packs, costs, budget_s=86_400)
    estimate.steps, estimate.finish_s, estimate.trained_share

Costs are measured by a rehearsal, or estimated from a card's profile and marked as estimates. The numbers of steps and
tokens come from the batch order and are exact.

Where it sits: rehearsal + batch order -> **plan** -> `oneday plan`; a run re-plans from its own measurements.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from harness.budget.duration import CLOSING_MARGIN
from harness.budget.flops import estimated_tokens_per_s
from harness.budget.gpu_profile import GpuProfile
from harness.budget.memory import MISTRAL_7B, ModelShape
from harness.budget.rehearse import CHILD_EXIT_S, Rehearsal
from harness.checkpoint.averaging import NO_AVERAGES, Averaging
from harness.data.pack import PackPlan
from harness.errors import ConfigError
from harness.recipe import AxolotlConfig

ESTIMATED_VALIDATION_ROWS = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """The seconds that the parts of a run take."""

    start_s: float
    """Data, packing, imports and loading the model, up to the first step."""
    step_s: float
    eval_s: float
    save_s: float
    pick_s: float
    measured: bool
    """Whether a rehearsal measured them; else they are estimated from a card's profile."""

    @classmethod
    def of(cls, measured: Rehearsal, averaging: Averaging = NO_AVERAGES) -> "Costs":
        """The costs that a rehearsal measured."""
        return cls(
            start_s=measured.load_s + measured.prepare_s,
            step_s=measured.typical_step_s,
            eval_s=measured.eval_s,
            save_s=measured.save_s,
            pick_s=measured.pick_reserve_s(averaging),
            measured=True,
        )

    @classmethod
    def estimated(
        cls, card: GpuProfile, recipe: AxolotlConfig, shape: ModelShape = MISTRAL_7B, *, validation_tokens: int
    ) -> "Costs":
        """Costs estimated from a card's profile, at the low end of published speeds.

        Raises:
            ConfigError: The profile has no speed.
        """
        speed = estimated_tokens_per_s(card, recipe, shape)
        if speed is None:
            raise ConfigError(f"`card={card.name}`: no speed is known for it. Rehearse first: oneday rehearse.")
        # An evaluation is one forward pass; a step costs four (forward, recomputed forward, backward counts twice).
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
    """The run that fits a budget."""

    steps: int
    epochs: float
    num_evaluations: int
    reserve_s: float
    """Seconds kept free for the last evaluation, save and pick."""
    finish_s: float
    """Expected time of the published pick."""
    trained_share: float
    """Share of the budget that is spent on training steps."""
    worked_share: float
    """Share of the time until the finish that is spent on training steps."""
    because: str
    """What ends the run: `deadline` or `epochs`."""
    measured: bool


def tokens_per_step(recipe: AxolotlConfig) -> int:
    """Number of tokens of an optimizer step, padding included."""
    return recipe.sequence_len * recipe.micro_batch_size * recipe.gradient_accumulation_steps


def estimate_budget(recipe: AxolotlConfig, packs: PackPlan, costs: Costs, *, budget_s: float) -> BudgetEstimate:
    """The number of steps, evaluations and epochs that fit a budget."""
    closing_s = CLOSING_MARGIN * (costs.eval_s + costs.save_s)
    reserve_s = closing_s + costs.pick_s + CHILD_EXIT_S
    per_step_s = costs.step_s + (costs.eval_s + costs.save_s) / recipe.evaluation_interval
    num_planned = packs.num_steps(recipe.gradient_accumulation_steps)
    first_s = costs.eval_s + costs.save_s  # the early checkpoint
    num_affordable = max(0, math.floor((budget_s - costs.start_s - first_s - reserve_s) / max(per_step_s, 1e-6)))
    steps = min(num_planned, num_affordable)
    micro_batches = min(steps * recipe.gradient_accumulation_steps, len(packs.micro_batches))
    num_whole = sum(end <= micro_batches for end in packs.epoch_ends)
    start = packs.epoch_ends[num_whole - 1] if num_whole else 0
    length = packs.epoch_ends[num_whole] - start if num_whole < packs.num_epochs else 1
    finish_s = costs.start_s + first_s + steps * per_step_s + reserve_s
    return BudgetEstimate(
        steps=steps,
        epochs=round(num_whole + (micro_batches - start) / length, 2),
        num_evaluations=1 + math.ceil(steps / recipe.evaluation_interval),
        reserve_s=reserve_s,
        finish_s=finish_s,
        trained_share=steps * costs.step_s / budget_s,
        worked_share=steps * costs.step_s / finish_s,
        because="epochs" if steps == num_planned else "deadline",
        measured=costs.measured,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class MixEstimate:
    """The time that one of the paper's mixes would take."""

    mix: str
    epochs: int
    tokens: int
    """Tokens of one epoch, estimated from mean row lengths."""
    seconds: float
    fits: bool
    is_papers: bool
    """Whether the paper trained this mix for this number of epochs."""


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
    """The time for 3, 2 and 1 epochs of each of the paper's mixes on this card.

    Args:
        mixes: Number of rows by source, for each mix.
        papers_epochs: The paper's number of epochs for each mix.
        mean_tokens: Mean tokens of a row by source. A missing source takes the mean of the others.
        efficiency: Share of the packed tokens that are not padding.
    """
    mean = sum(mean_tokens.values()) / len(mean_tokens)
    per_step_s = costs.step_s + (costs.eval_s + costs.save_s) / recipe.evaluation_interval
    estimates = []
    for mix, rows in mixes.items():
        tokens = round(sum(n * mean_tokens.get(source, mean) for source, n in rows.items()))
        for epochs in (3, 2, 1):
            steps = math.ceil(epochs * tokens / efficiency / tokens_per_step(recipe))
            seconds = costs.start_s + steps * per_step_s + costs.eval_s + costs.save_s + costs.pick_s
            estimates.append(
                MixEstimate(
                    mix=mix,
                    epochs=epochs,
                    tokens=tokens,
                    seconds=seconds,
                    fits=seconds <= budget_s,
                    is_papers=papers_epochs[mix] == epochs,
                )
            )
    return estimates
