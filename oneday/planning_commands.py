"""`oneday rehearse` and `oneday plan`: what a day would be, before its clock starts."""

import tempfile
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path

from curation.language_model import check_model_folder
from curation.prompt import training_prompt
from curation.stage import read_json, read_jsonl
from harness.axolotl_config import check_card, find_recipe, read_recipe
from harness.axolotl_process import Launcher, start_axolotl
from harness.budget import pretty, seconds
from harness.card import get_card
from harness.dataset import RowTokenizer, prepare_dataset
from harness.memory import ModelShape, peak_of
from harness.plan import Costs, DayPlan, Needed, mixes_needed, plan_day
from harness.rehearse import PLAN, Rehearsal, TrainJob, pack_plan, rehearse
from oneday.console import Console
from oneday.training_commands import TrainRequest, show_rehearsal, training_job


def run_rehearse(request: TrainRequest, console: Console, *, launch: Launcher = start_axolotl) -> None:
    """Measures what start, step, evaluation and save cost here; nothing is charged."""
    job = _job(request)
    console.say("rehearsal: two steps, an evaluation and a save on the longest rows")
    measured = rehearse(job, launch=launch)
    show_rehearsal(measured, job, console)
    console.result({"run": str(job.run), **asdict(measured)})


def run_plan(request: TrainRequest, console: Console) -> None:
    """What the budget buys, from a rehearsal if there is one, else from the card's profile."""
    job = _job(request)
    budget_s = seconds(request.budget)
    check_model_folder(job.base)
    with tempfile.TemporaryDirectory(prefix="oneday-") as scratch:
        dataset = prepare_dataset(job.mix, base=job.base, sequence_len=job.recipe.sequence_len, out=Path(scratch))
        means = mean_tokens(job)
    packs = pack_plan(job.recipe, dataset.lengths, epochs=job.recipe.num_epochs)
    costs = _costs(job, validation_tokens=dataset.validation.num_tokens)
    plan = plan_day(job.recipe, packs, costs, budget_s=budget_s)
    needed = mixes_needed(
        job.recipe, costs, mean_tokens=means, efficiency=packs.efficiency, budget_s=budget_s
    )  # fmt: skip
    show_plan(plan, job, dataset.train.num_tokens, packs.efficiency, console)
    show_needed(needed, costs, console)
    if job.card.is_gpu:
        peak = peak_of(job.recipe, ModelShape.of(job.base)).gib
        console.say(f"memory: {peak:.1f} GiB computed (to 1.5), {job.card.name} has {job.card.memory_gib:g}")
    console.result({"plan": asdict(plan), "mixes": [asdict(n) for n in needed]})


def _job(request: TrainRequest) -> TrainJob:
    recipe = read_recipe(find_recipe(request.config))
    check_card(recipe, get_card(request.card))
    return training_job(request, recipe, seconds(request.budget))


def _costs(job: TrainJob, *, validation_tokens: int) -> Costs:
    stored = job.run / PLAN / "rehearsal.json"
    fits = stored.is_file() and read_json(job.run / PLAN / "inputs.json") == job.inputs()
    if fits:
        return Costs.of(Rehearsal(**read_json(stored)), job.recipe.save_total_limit)
    return Costs.estimated(job.card, job.recipe, validation_tokens=validation_tokens)


def mean_tokens(job: TrainJob) -> dict[str, float]:
    """Of a training row, by source."""
    tokenise = RowTokenizer(job.base)
    found: dict[str, list[int]] = defaultdict(list)
    for row in read_jsonl(job.mix / "train.jsonl"):
        prompt = training_prompt(row["instruction"], row["input"])
        found[str(row.get("source", ""))].append(len(tokenise(prompt, row["output"]).input_ids))
    return {source: sum(lengths) / len(lengths) for source, lengths in found.items()}


def show_plan(plan: DayPlan, job: TrainJob, num_tokens: int, efficiency: float, console: Console) -> None:
    """The day as a table."""
    rows = [
        ("costs", "measured by the rehearsal" if plan.measured else f"ESTIMATED from the profile of {job.card.name}"),
        ("training tokens", f"{num_tokens:,} a pass, packed {efficiency:.1%} full"),
        ("steps", f"{plan.steps:,} = {plan.epochs:g} of {job.recipe.num_epochs:g} epochs; the {plan.because} end it"),
        ("evaluations and saves", f"{plan.num_evaluations}, every {job.recipe.eval_steps} steps"),
        ("kept for the last ones and the pick", pretty(plan.reserve_s)),
        ("finish", f"{pretty(plan.finish_s)} of {pretty(job.budget_s)}"),
        ("share of the budget that trains", f"{plan.trained_share:.1%}"),
    ]
    console.table("the day", ("what", "plan"), rows)


def show_needed(needed: list[Needed], costs: Costs, console: Console) -> None:
    """The paper's mixes on this card."""
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
