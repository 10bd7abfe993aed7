"""What `oneday study` shows: the plan of a study, and the shipped ones."""

from collections.abc import Mapping, Sequence
from typing import Any

from harness.budget.duration import pretty, seconds
from oneday.display.console import Console
from studies.graph import SELECTED, Generation, Training
from studies.plan import HOUR_S, StudyPlan
from studies.study import Study

IDENTITY = 8
"""Characters of an identity that are shown."""


def show_shipped(studies: Sequence[tuple[str, Study, Mapping[str, str]]], console: Console) -> None:
    """Name, what it is about, presets."""
    rows = [(name, study.about, study.budget, ", ".join(presets)) for name, study, presets in studies]
    console.table("shipped studies", ("study", "about", "budget", "presets"), rows)
    for name, _, presets in studies:
        for preset, about in presets.items():
            console.line(f"{name}, preset {preset}: {about}")


def show_plan(plan: StudyPlan, console: Console) -> None:
    """Everything that a person wants to know before it starts."""
    console.say("oneday study --dry-run: nothing is started; identities come from declared names, hours are estimates")
    _show_trainings(plan, console)
    _show_generations(plan, console)
    _show_arms(plan, console)
    _show_shared(plan, console)
    _show_deviations(plan, console)
    dropped = ", ".join(plan.fitted.dropped) or "nothing"
    budget = pretty(seconds(plan.study.budget))
    console.line(
        f"{plan.study.study}: {len(plan.graph.trainings)} trainings, {len(plan.graph.generations)} generations; "
        f"{plan.hours:.1f} hours of {budget}; the budget drops {dropped}"
    )
    console.say(_selection(plan))


def _show_trainings(plan: StudyPlan, console: Console) -> None:
    rows = []
    for training in plan.graph.trainings.values():
        cost = plan.costs[training.identity]
        note = training.swept or (f"value selected for {training.waits_for}" if training.waits_for else "")
        parent = _parent(training)
        rows.append(
            (
                f"{training.identity[:IDENTITY]} {training.stage.name}",
                parent,
                note,
                f"{cost.steps:,}",
                f"{cost.tokens / 1e6:,.1f} M",
                f"{cost.seconds / HOUR_S:.2f}",
                "dropped" if plan.is_dropped(training) else "",
                ", ".join(training.arms),
            )
        )
    console.table("trainings", ("training", "from", "swept", "steps", "tokens", "hours", "", "arms"), rows)


def _parent(training: Training) -> str:
    """What a training starts from, in a word."""
    if training.parent is None:
        return "base"
    return "selected" if training.parent.startswith(SELECTED) else training.parent[:IDENTITY]


def _show_generations(plan: StudyPlan, console: Console) -> None:
    """One line for each suite."""
    groups: dict[str, list[Generation]] = {}
    for generation in plan.graph.generations.values():
        groups.setdefault(generation.suite, []).append(generation)
    rows = []
    for suite, found in groups.items():
        kept = [generation for generation in found if not plan.is_dropped(generation)]
        hours = sum(plan.costs[generation.identity].seconds for generation in kept) / HOUR_S
        declared = plan.study.suites[suite]
        items = plan.study.path(declared.items)
        is_here = items.exists() or declared.questions_of is not None
        where = "" if is_here else f"{items} is not here: not run"
        name = f"{suite}, {', '.join(found[0].languages)}"
        rows.append((name, str(len(kept)), str(found[0].num_items), f"{hours:.2f}", where))
    if rows:
        console.table("generations", ("suite", "checkpoints", "items", "hours", ""), rows)


def _show_arms(plan: StudyPlan, console: Console) -> None:
    rows = []
    for name, arm in plan.arms.items():
        differs = [_difference(change.key, change.anchor, change.here) for change in arm.difference]
        state = "dropped" if name in plan.fitted.dropped else ""
        said = "; ".join(differs) or "the anchor"
        rows.append((name, str(arm.priority), state, said))
    console.table("arms, and how they differ from the anchor", ("arm", "priority", "", "difference"), rows)


def _difference(key: str, anchor: Any, here: Any) -> str:
    if isinstance(anchor, bool) and isinstance(here, bool) and "." not in key:
        return f"{'with' if here else 'without'} {key}"
    return f"{key}: {_short(anchor)} -> {_short(here)}"


def _short(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(str, value))}]"
    return "-" if value is None else str(value)


def _show_shared(plan: StudyPlan, console: Console) -> None:
    for training in plan.shared():
        arms = ", ".join(training.arms)
        console.line(f"shared: {training.identity[:IDENTITY]} {training.stage.name} is trained once for {arms}")


def _show_deviations(plan: StudyPlan, console: Console) -> None:
    rows = [(line.what, _short(line.paper), _short(line.here), line.why) for line in plan.deviations]
    if rows:
        console.table("deviations from the paper", ("what", "paper", "here", "why"), rows)


def _selection(plan: StudyPlan) -> str:
    """What selects, and whether the same prompts report."""
    rule = plan.study.selection
    if rule is None:
        return "nothing is selected: there is no sweep"
    both = [name for name, suite in plan.study.suites.items() if {"select", "report"} <= set(suite.use)]
    said = f"selection by {', '.join(rule.metrics)}; of equal values the {rule.tie} one"
    return said + (f"; the same prompts select and report: {', '.join(both)}" if both else "")
