"""`oneday rehearse` and `oneday plan`: measure or estimate a run before its clock starts."""

import contextlib
from collections.abc import Iterator
from dataclasses import asdict

from core.encoding.table import mean_lengths
from core.files import read_as
from core.model.folder import check_model_folder
from core.run_folder import PLAN
from core.stage import INPUTS
from curation.sources.source import EPOCHS, ESTIMATED_TOKENS, MIXES
from harness.budget.duration import pretty, seconds
from harness.budget.few_steps import few_steps_warning
from harness.budget.gpu_profile import GpuProfile
from harness.budget.memory import MISTRAL_7B, ModelShape, recipe_peak_memory
from harness.budget.plan import (
    ESTIMATED_VALIDATION_ROWS,
    BudgetEstimate,
    Costs,
    MixEstimate,
    estimate_budget,
    estimate_mixes,
)
from harness.budget.profile_choice import NAMED_BY_USER
from harness.budget.rehearse import REHEARSAL, Rehearsal, pack_plan, planned, rehearse
from harness.errors import ConfigError
from harness.job import TrainJob
from harness.recipe import AxolotlConfig
from oneday.commands.training.job import Setting, training_job
from oneday.commands.training.own_mix import show_dataset
from oneday.display.console import Console
from oneday.display.training import show_rehearsal
from oneday.requests.training import PlanRequest, RehearseRequest

MAX_UNUSED_SHARE = 0.05
"""Unused share of a budget above which a note suggests a larger mix."""

DAY_S = 86_400.0
"""Budget in the job of a rehearsal; it has no influence on the measurements."""


def run_rehearse(request: RehearseRequest, console: Console) -> None:
    """Measures the time of start, step, evaluation and save on this machine; nothing is charged."""
    setting = Setting.of(request)
    job = training_job(
        setting, budget_s=DAY_S, redo=request.redo, shared_card=request.shared_card, fetches=True, console=console
    )
    setting.say_card(console)
    show_dataset(job.dataset(), console)
    console.say("rehearsal: the largest batches, random batches, an evaluation and a save")
    measured = rehearse(job)
    show_rehearsal(measured, job, console)
    console.result({"run": str(job.run), "card": job.card.name, "card_how": job.card_how, **asdict(measured)})


def run_plan(request: PlanRequest, console: Console) -> None:
    """Shows what fits into the budget, by the rehearsal's costs if there is one, else by the card's profile."""
    setting = Setting.of(request)
    if request.dry_run:
        _plan_from_profile(setting, request.budget, console)
        return
    budget_s = seconds(request.budget)
    job = training_job(setting, budget_s=budget_s, console=console)
    check_model_folder(job.base)
    dataset = job.dataset()
    lengths, means = dataset.lengths(), mean_lengths(dataset.train.path)
    packs = pack_plan(job.recipe, lengths, epochs=job.recipe.num_epochs)
    costs = _costs(job, validation_tokens=dataset.validation.num_tokens)
    recipe = planned(job.recipe, packs)
    plan = estimate_budget(recipe, packs, costs, budget_s=budget_s)
    of_paper = not set(means).isdisjoint(MIXES["200k"])
    needed = (
        estimate_mixes(
            recipe,
            costs,
            mixes=MIXES,
            papers_epochs=EPOCHS,
            mean_tokens=means,
            efficiency=packs.efficiency,
            budget_s=budget_s,
        )
        if of_paper
        else []
    )
    setting.say_card(console)
    show_plan(plan, recipe, job.card, budget_s, dataset.train.num_tokens, packs.efficiency, console)
    note = few_steps_warning(job.recipe, lengths, packs.num_steps(job.recipe.gradient_accumulation_steps))
    if note:
        console.alarm(note)
    if needed:
        show_needed(needed, costs, console)
    _show_memory(job.recipe, ModelShape.of(job.base), job.card, console)
    console.result(
        {"card": job.card.name, "card_how": job.card_how, "plan": asdict(plan), "mixes": [asdict(n) for n in needed]}
    )


def _plan_from_profile(setting: Setting, budget: str, console: Console) -> None:
    """Shows estimates for the paper's 200K mix; the card need not be in this machine."""
    recipe, card, budget_s = setting.recipe(), setting.card, seconds(budget)
    rows = MIXES["200k"]
    lengths = [round(ESTIMATED_TOKENS[source]) for source, number in rows.items() for _ in range(number)]
    num_tokens = ESTIMATED_VALIDATION_ROWS * sum(lengths) // len(lengths)
    with _naming_found_card(setting.choice.reason):
        costs = Costs.estimated(card, recipe, validation_tokens=num_tokens)
    packs = pack_plan(recipe, lengths, epochs=recipe.num_epochs)
    recipe = planned(recipe, packs)
    plan = estimate_budget(recipe, packs, costs, budget_s=budget_s)
    needed = estimate_mixes(
        recipe, costs, mixes=MIXES, papers_epochs=EPOCHS, mean_tokens=ESTIMATED_TOKENS,
        efficiency=packs.efficiency, budget_s=budget_s,
    )  # fmt: skip
    setting.say_card(console)
    console.say(f"oneday plan --dry-run: {setting.recipe_path.name} on {card.name}, the paper's 200K mix; estimates")
    show_plan(plan, recipe, card, budget_s, sum(lengths), packs.efficiency, console)
    show_needed(needed, costs, console)
    _show_memory(recipe, MISTRAL_7B, card, console)
    console.result(
        {
            "estimate": True,
            "card": card.name,
            "card_how": setting.choice.reason,
            "plan": asdict(plan),
            "mixes": [asdict(n) for n in needed],
        }
    )


def _show_memory(recipe: AxolotlConfig, shape: ModelShape, card: GpuProfile, console: Console) -> None:
    if card.is_gpu:
        peak = recipe_peak_memory(recipe, shape)
        console.say(
            f"memory: {peak.gib:.1f} GiB computed, {peak.most_gib:.1f} at the high end of what was published; "
            f"{card.name} has {card.memory_gib:g}"
        )


def _costs(job: TrainJob, *, validation_tokens: int) -> Costs:
    stored, made_with = job.run / PLAN / REHEARSAL, job.run / PLAN / INPUTS
    mend = "`oneday rehearse --redo` measures again."
    if stored.is_file() and made_with.is_file() and read_as(dict[str, object], made_with, mend=mend) == job.inputs():
        return Costs.of(read_as(Rehearsal, stored, mend=mend), job.averaging)
    with _naming_found_card(job.card_how):
        return Costs.estimated(job.card, job.recipe, ModelShape.of(job.base), validation_tokens=validation_tokens)


@contextlib.contextmanager
def _naming_found_card(how: str) -> Iterator[None]:
    """Adds to an error about a card why its profile was chosen, unless the user named it."""
    try:
        yield
    except ConfigError as e:
        if how in ("", NAMED_BY_USER):
            raise
        raise ConfigError(f"{e} The card was not named ({how}).") from e


def show_plan(
    plan: BudgetEstimate,
    recipe: AxolotlConfig,
    card: GpuProfile,
    budget_s: float,
    num_tokens: int,
    efficiency: float,
    console: Console,
) -> None:
    """Shows the plan as a table."""
    planned_end = "max_steps ends" if recipe.max_steps else "the epochs end"
    ending = "the deadline ends" if plan.because == "deadline" else planned_end
    rows = [
        (
            "costs",
            "measured by the rehearsal"
            if plan.measured
            else f"ESTIMATED for {card.name}, low end of what was published",
        ),
        ("training tokens", f"{num_tokens:,} a pass, packed {efficiency:.1%} full"),
        (
            "steps",
            f"{_length(plan, recipe)}; {ending} it",
        ),
        ("evaluations and saves", f"{plan.num_evaluations}, every {recipe.evaluation_interval} steps"),
        ("kept for the last ones and the pick", pretty(plan.reserve_s)),
        ("finish", f"{pretty(plan.finish_s)} of {pretty(budget_s)}"),
        (
            "share of the budget that trains",
            f"{plan.trained_share:.1%}, of the time until then {plan.worked_share:.1%}",
        ),
    ]
    console.table("the day", ("what", "plan"), rows)
    unused_s = budget_s - plan.finish_s
    if plan.because == "epochs" and unused_s > MAX_UNUSED_SHARE * budget_s:
        console.say(f"{pretty(unused_s)} of the budget are not used: take a larger mix, or raise num_epochs")


def _length(plan: BudgetEstimate, recipe: AxolotlConfig) -> str:
    if recipe.max_steps:
        return f"{plan.steps:,} of {recipe.max_steps:,} = {plan.epochs:g} epochs"
    return f"{plan.steps:,} = {plan.epochs:g} of {recipe.num_epochs:g} epochs"


def show_needed(needed: list[MixEstimate], costs: Costs, console: Console) -> None:
    """Shows how long the paper's mixes would take on this card."""
    rows = [
        (
            n.mix,
            str(n.epochs) + (" (the paper's)" if n.is_papers else ""),
            f"{n.tokens * n.epochs:,}",
            pretty(n.seconds),
            "fits" if n.fits else "",
        )
        for n in needed
    ]
    title = "the paper's mixes here" + ("" if costs.measured else " (estimates)")
    console.table(title, ("mix", "epochs", "tokens", "would take", ""), rows)
