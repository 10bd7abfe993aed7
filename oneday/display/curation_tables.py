"""The tables and notes of a curation: its stages, its cost, and how it fits a budget."""

from collections import Counter
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from core.files import read_as, read_json
from core.run_folder import CURATION, MIX, OWN, PREDICTIONS, SAMPLES, SCORES, TASKS
from core.stage import DONE, SUMMARY, Summary, read_details
from curation.asking.round_record import StopReason, read_timing
from curation.counts import MixDetails
from curation.fit import Fit
from curation.ni.kind import KindEvidence, TypingParameters
from curation.policies.contamination import LEAST_WORDS
from curation.stages.predictions import PredictionsDetails
from curation.stages.samples import SamplesDetails
from curation.stages.scores import ScoresDetails
from curation.stages.tasks import TasksDetails
from harness.budget.duration import pretty
from oneday.display.console import Console

Choice = TypeVar("Choice", bound=StrEnum)

NEAR_ENOUGH = 0.01
"""Tolerance of the share of own rows: whole rows rarely give an exact share."""

FEW_VALIDATION_ROWS = 16
"""With fewer validation rows, checkpoints differ by chance."""


def show_curation(run: Path, console: Console) -> None:
    """Shows the result of a curation."""
    console.stages(run, [OWN, *CURATION] if (run / OWN / DONE).is_file() else CURATION)
    tasks, mix = read_details(TasksDetails, run / TASKS), read_details(MixDetails, run / MIX)
    kinds = ", ".join(f"{n} {kind}" for kind, n in tasks.kinds.items())
    console.say(f"tasks: {kinds}; listed without a file: {len(tasks.listed_without_file)}")
    spans = "exact match" if read_json(run / TASKS / "inputs.json")["typing"]["short_spans"] else "generation"
    by_rule = ", ".join(f"{n} by {rule}" for rule, n in tasks.kinds_by_rule.items())
    console.say(f"typed {by_rule}; short spans of the input are {spans} (typing.short_spans)")
    for name, num in tasks.contradictory_groups.items():
        console.say(f"note: {name}: {num:,} groups of equal inputs with different answers")
    for name in tasks.overrides_without_file:
        console.say(f"note: --kinds names {name}, which is not one of the tasks")
    if tasks.non_commercial:
        console.say(f"note: {len(tasks.non_commercial)} tasks taken are non-commercial by their licence")
    control = read_json(run / MIX / "manifest.json")["parameters"]["samples"]["control"]
    if control != "none":
        console.say(
            f"control ({control}): rows were drawn without asking the base; compare with a mix chosen by difficulty"
        )
    _show_asking(run, console)
    _show_signals(run, console)
    _show_buckets(read_details(ScoresDetails, run / SCORES), console)
    _show_licence_cost(run, console)
    _show_notes(run, mix, console)
    if mix.fit:
        show_fit(mix.fit, console)
    tokens = f", {mix.tokens:,} tokens" if mix.tokens else ""
    console.say(
        f"mix: {mix.train_rows} training rows, {mix.validation_rows} validation rows{tokens}, in {run / MIX}; "
        f"report: {run / MIX / 'report.html'}"
    )


def show_kinds(kinds: Mapping[str, KindEvidence], parameters: TypingParameters, console: Console) -> None:
    """Shows the kind of every task and the evidence for it."""
    spans = "exact match" if parameters.short_spans else "generation"
    rows = [(task, typed.kind.value.replace("_", " "), typed.reason) for task, typed in kinds.items()]
    console.table(f"kinds; short spans of the input are {spans} (typing.short_spans)", ("task", "kind", "by"), rows)


NUM_UNCERTAIN_SHOWN = 10


def _show_asking(run: Path, console: Console) -> None:
    """Shows what was asked, what was saved, and what is uncertain."""
    asking = read_details(PredictionsDetails, run / PREDICTIONS).asking
    if asking is None:
        return
    saved = asking.instances - asking.asked
    timing = read_timing(run)
    pace = timing.asked / timing.seconds if timing and timing.seconds else None
    console.say(
        f"asked {asking.asked:,} of {asking.instances:,} prompts ({asking.asked / asking.instances:.1%}) in "
        f"{asking.rounds} round{'s' * (asking.rounds != 1)}{f', {pretty(timing.seconds)}' if timing else ''}; "
        f"saved {saved:,} prompts"
        f"{f', {pretty(saved / pace)} at this speed' if pace else ''}"
    )
    if timing and timing.stopped is StopReason.TIME:
        console.say("note: the time limit ended the asking; a longer --within and --redo go on from here")
    if asking.exact_match_tasks:
        console.say(
            f"uncertain: {len(asking.uncertain_tasks)} of {asking.exact_match_tasks} exact-match tasks; "
            f"{asking.expected_errors:.1f} are expected in another bucket than if all were asked"
            f"{_first_names(asking.uncertain_tasks)}"
        )
    for fill in asking.unfilled[:NUM_UNCERTAIN_SHOWN]:
        console.say(f"note: {fill.name}: {fill.usable:,} rows for a quota of {fill.wanted:,}; other quotas give more")


def _show_signals(run: Path, console: Console) -> None:
    """Shows what was measured beside the answers, and what a probe decided."""
    signals = read_details(PredictionsDetails, run / PREDICTIONS).signals
    if signals is not None:
        console.say(
            f"signals: {signals.num_measured:,} answers of {signals.num_tokens:,} tokens measured, "
            f"{signals.num_unmeasured:,} not; median loss per token {signals.loss.get('0.5', 0):.3f} behind the prompt "
            f"and {signals.loss_alone.get('0.5', 0):.3f} without it; IFD above 1: {signals.num_misled:,}"
        )
    probe = read_details(SamplesDetails, run / SAMPLES).probe
    if probe is not None:
        console.say(
            f"probe: {probe.num_hard:,} of {probe.num_probed:,} rows stay above {probe.high_before:.3f} nats per token "
            f"before and {probe.high_after:.3f} after it"
        )


def _first_names(tasks: tuple[str, ...]) -> str:
    shown = ", ".join(tasks[:NUM_UNCERTAIN_SHOWN])
    return f": {shown}{' …' if len(tasks) > NUM_UNCERTAIN_SHOWN else ''}" if tasks else ""


def _show_buckets(scores: ScoresDetails, console: Console) -> None:
    """Shows the base model's scores by bucket."""
    if scores.exact_match_tasks_by_bucket:
        buckets = dict(scores.exact_match_tasks_by_bucket)
        console.say(f"exact-match tasks by accuracy bucket (0 = below 10 %): {buckets}")
    counts = list(scores.generation_instances_by_bucket)
    if sum(counts):
        console.say(f"generation instances by ROUGE-L bucket ([0,.2) [.2,.3) ... >=.8): {counts}")


def _show_notes(run: Path, mix: MixDetails, console: Console) -> None:
    """Shows what a reader should know about the rows."""
    for short in mix.shortfalls:
        console.say(f"note: {short.text}")
    for suite, num in read_details(SamplesDetails, run / SAMPLES).suites_unchecked.items():
        if num:
            console.say(
                f"note: {num:,} texts of {suite} are shorter than {LEAST_WORDS} words: no row is compared with them"
            )
    if mix.own_share is not None:
        asked = read_json(run / MIX / "manifest.json")["parameters"]["samples"]["own_share"]
        missed = asked is not None and abs(mix.own_share - asked) > NEAR_ENOUGH
        reason = f", not the requested {asked:.1%}: the other sources have no more rows" if missed else ""
        console.say(f"rows of your own: {mix.own_share:.1%} of the mix{reason}")
    added = read_json(run / MIX / "manifest.json")["parameters"]["samples"]["add"]
    if added and mix.tokens:
        by_source: Counter[str] = Counter()
        for key, num in mix.tokens_by_task.items():
            by_source[key.partition("/")[0]] += num
        shares = ", ".join(f"{source} {num / mix.tokens:.1%}" for source, num in by_source.most_common())
        console.say(f"tokens by source: {shares}; wanted {', '.join(f'{n} {s:.1%}' for n, s in added.items())}")
    if mix.validation_rows < FEW_VALIDATION_ROWS:
        console.say(
            f"note: with only {mix.validation_rows} validation rows, losses of checkpoints differ by chance; add rows"
        )


def _show_licence_cost(run: Path, console: Console) -> None:
    """Shows how many tasks and rows were refused because of their licence."""
    tasks = read_as(Summary, run / TASKS / SUMMARY).tallies["task"].dropped
    lost = read_details(SamplesDetails, run / SAMPLES).lost
    num_tasks = tasks.get("non_commercial", 0) + tasks.get("unknown_licence", 0)
    rows = {s: r.get("non_commercial", 0) + r.get("unknown_licence", 0) for s, r in lost.items()}
    rows = {source: n for source, n in rows.items() if n}
    if num_tasks or rows:
        row_counts = ", ".join(f"{n:,} rows of {source}" for source, n in rows.items())
        parts = [f"{num_tasks} tasks"] * (num_tasks > 0) + [row_counts] * bool(row_counts)
        console.say(f"licences: {', '.join(parts)} are refused as non-commercial or unknown; --licences all takes them")


def show_fit(fit: Fit, console: Console) -> None:
    """Shows the size that fills the budget, beside the paper's mixes."""
    rows = [
        ("this mix", str(fit.epochs), f"{sum(fit.targets.values()):,}", pretty(fit.seconds)),
        *((e.mix, str(e.epochs), f"{e.rows:,}", pretty(e.seconds)) for e in fit.paper),
    ]
    console.table("fit to the budget", ("mix", "epochs", "available rows", "training ends after"), rows)
    if not fit.fills:
        console.say("note: the sources have too few rows to fill the budget; give more --source or --tasks")
