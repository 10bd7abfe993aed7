"""Where a study stands: what is settled, which selections are made, what still fits, and what is next.

    survey = take_survey(context, failed={}, left_s=ledger.left_s)
    survey.next_work()

It is computed anew from the folder after everything that ends, so that nothing depends on when the command was killed.

Where it sits: graph + budget + folder -> **survey** -> the loop.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias

from harness.ledger.ledger import Ledger
from studies.arm import ResolvedArm
from studies.budget import Fitted, fit, priority_of, share_of
from studies.errors import SelectionRefused
from studies.estimate import Cost, Measured, Speeds, estimate, least_s, speed_key
from studies.graph import Choices, Generation, Graph, Group, Training, build_graph
from studies.identity import Known
from studies.running.building import Mix
from studies.running.folder import LEDGER, StudyFolder, TrainedRecord
from studies.running.runner import race_key
from studies.selection import EVAL_LOSS, Choice, MetricRow, select
from studies.study import Study

Planned: TypeAlias = Training | Generation
"""Work of the graph."""

LEAST_SHARE = 0.1
"""Of its estimate that a generation which was interrupted is still reckoned to need."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What does not change while a study runs."""

    study: Study
    arms: Mapping[str, ResolvedArm]
    known: Known
    folder: StudyFolder
    mixes: Mapping[str, Mix]
    """By `data_key`."""
    bases: Mapping[str, Path]
    """Base as the study writes it -> its folder."""
    not_run: Mapping[str, str]
    """Suite -> why it cannot be run here."""
    rehearsed: Mapping[str, Measured] = field(default_factory=dict)
    """By `speed_key`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """Where it stands."""

    context: Context
    graph: Graph
    trained: Mapping[str, TrainedRecord]
    settled: frozenset[str]
    """Identities of what is done, failed, or cannot be done."""
    failed: Mapping[str, str]
    """Identity -> why, of trainings, generations and what rests on them."""
    choices: Mapping[str, Choice]
    """By arm."""
    refused: Mapping[str, str]
    """Arm -> why nothing can be selected for it."""
    costs: Mapping[str, Cost]
    remaining_s: Mapping[str, float]
    fitted: Fitted
    paused: frozenset[str]
    """Candidates of a sweep with halving that wait for the others, to race them."""
    running: frozenset[str] = frozenset()
    """Keys of the work that slots do at this moment."""

    def next_work(self) -> Planned | None:
        """What is to be done now: for the arm with the highest priority, parents first; None: nothing can be."""
        ready = [work for work in self._waiting() if self._is_ready(work)]
        if not ready:
            return None
        study, arms = self.context.study, self.fitted.arms
        return max(ready, key=lambda work: priority_of(study, self.graph, work.identity, arms))

    def next_race(self) -> Group | None:
        """A sweep with halving whose candidates have all come to the pause."""
        for arm, group in self.graph.groups.items():
            left = [i for i in group.candidates.values() if i not in self.settled and i in self.fitted.work]
            if race_key(arm) not in self.running and len(left) > 1 and self.paused.issuperset(left):
                return group
        return None

    def share_s(self, work: Planned, left_s: float) -> float:
        """What it may take at most."""
        waiting = [other.identity for other in self._waiting()]
        return share_of(work.identity, waiting, self.remaining_s, left_s=left_s)

    def unsettled(self) -> list[Planned]:
        """What remains of the arms that fit, in the order of the graph."""
        return list(self._waiting())

    def _waiting(self) -> Iterator[Planned]:
        """What remains, in the order of the graph."""
        everything: list[Planned] = [*self.graph.trainings.values(), *self.graph.generations.values()]
        for work in everything:
            if work.identity in self.fitted.work and work.identity not in self.settled:
                yield work

    def _is_ready(self, work: Planned) -> bool:
        if work.identity in self.running:
            return False
        parent = work.parent if isinstance(work, Training) else work.training
        return work.identity not in self.paused and not work.waits_for and (parent is None or parent in self.trained)


def take_survey(
    context: Context, *, failed: Mapping[str, str], left_s: float, running: Collection[str] = ()
) -> Survey:  # fmt: skip
    """Reads the folder and plans the rest.

    Args:
        failed: What failed in this call; the next one tries it again.
        running: Keys of the work that slots do at this moment.
    """
    study, choices, refused = context.study, dict[str, Choice](), dict[str, str]()
    while True:
        values = {arm: choice.value for arm, choice in choices.items()}
        graph, trained, blocked = _resolved(context, failed, values, refused)
        settled = _settled(context, graph, trained, blocked)
        open_groups = [group for arm, group in graph.groups.items() if arm not in {*choices, *refused}]
        complete = [group for group in open_groups if _is_complete(group, settled, trained)]
        if not complete:
            break
        for group in complete:
            try:
                choices[group.arm] = _chosen(context, graph, group, trained, blocked)
            except SelectionRefused as e:
                refused[group.arm] = str(e)
    costs = estimate(study, graph, _speeds(context, graph, trained), not_run=context.not_run)
    remaining = {identity: _remaining(context, graph, identity, settled, costs) for identity in costs}
    fitted = fit(study, graph, remaining, budget_s=left_s, is_running=True)
    return Survey(
        context=context,
        graph=graph,
        trained=trained,
        settled=settled,
        failed=blocked,
        choices=choices,
        refused=refused,
        costs=costs,
        remaining_s=remaining,
        fitted=fitted,
        paused=frozenset(_paused(context, graph, settled)),
        running=frozenset(running),
    )


def _paused(context: Context, graph: Graph, settled: frozenset[str]) -> Iterator[str]:
    sweep = context.study.sweep
    if sweep is None or not sweep.halving:
        return
    for arm, group in graph.groups.items():
        left = [identity for identity in group.candidates.values() if identity not in settled]
        if len(left) > 1 and context.folder.race(arm) is None:
            yield from (identity for identity in left if context.folder.paused(identity) is not None)


def _resolved(
    context: Context, failed: Mapping[str, str], choices: Choices, refused: Mapping[str, str]
) -> tuple[Graph, dict[str, TrainedRecord], dict[str, str]]:
    """The graph with the identities of weights that were cut; what is trained; what failed or rests on what did."""
    known = context.known
    while True:
        graph = build_graph(context.study, context.arms, known, choices)
        found = {identity: context.folder.trained(identity) for identity in graph.trainings}
        trained = {identity: record for identity, record in found.items() if record is not None}
        cut = {identity: record.identity for identity, record in trained.items() if not record.is_whole}
        if cut == known.cut:
            return graph, trained, _blocked(graph, failed, trained, refused)
        known = replace(known, cut=cut)


def _blocked(
    graph: Graph, failed: Mapping[str, str], trained: Mapping[str, TrainedRecord], refused: Mapping[str, str]
) -> dict[str, str]:
    """What failed, and what cannot be done because of it: identity -> why."""
    found = {identity: why for identity, why in failed.items() if identity not in trained}
    untrained = {
        arm: f"no candidate of {arm} could be trained"
        for arm, group in graph.groups.items()
        if found.keys() >= set(group.candidates.values())
    }
    unselected = {**untrained, **refused}
    for training in graph.trainings.values():
        if training.waits_for in unselected:
            found.setdefault(training.identity, unselected[training.waits_for])
        elif training.parent in found:
            found.setdefault(training.identity, f"its parent failed: {found[training.parent]}")
    for generation in graph.generations.values():
        if generation.waits_for in unselected:
            found.setdefault(generation.identity, unselected[generation.waits_for])
        elif generation.training in found:
            found.setdefault(generation.identity, f"its training failed: {found[generation.training]}")
    return found


def _settled(
    context: Context, graph: Graph, trained: Mapping[str, TrainedRecord], failed: Mapping[str, str]
) -> frozenset[str]:
    unwanted = _stopped(context, graph) - set(graph.tips.values())
    scored = {
        identity
        for identity, generation in graph.generations.items()
        if generation.suite in context.not_run
        or generation.training in unwanted
        or context.folder.scores(generation) is not None
    }
    return frozenset([*trained, *failed, *scored])


def _stopped(context: Context, graph: Graph) -> set[str | None]:
    """Candidates that a race has stopped. They are not selected, so no suite asks them."""
    return {identity for arm in graph.groups for identity in context.folder.race(arm) or ()}


def _is_complete(group: Group, settled: frozenset[str], trained: Mapping[str, TrainedRecord]) -> bool:
    everything = [*group.candidates.values(), *group.generations]
    return settled.issuperset(everything) and any(i in trained for i in group.candidates.values())


def _chosen(
    context: Context, graph: Graph, group: Group, trained: Mapping[str, TrainedRecord], failed: Mapping[str, str]
) -> Choice:
    """Selects among the candidates that have their declared length, else among all that were trained and scored."""
    rule = context.study.selection
    assert rule is not None, "a study with a sweep has a selection"
    why = {identity: failed[identity] for identity in group.candidates.values() if identity in failed}
    for identity in group.generations:
        if identity in failed:
            why.setdefault(str(graph.generations[identity].training), f"no responses: {failed[identity]}")
    done = {value: i for value, i in group.candidates.items() if i in trained and i not in why}
    raced = context.folder.race(group.arm) or {}
    left = {value: i for value, i in done.items() if i not in raced} or done
    whole = {value: i for value, i in left.items() if trained[i].is_whole}
    notes = [f"{value}: {why[i]}" for value, i in group.candidates.items() if i in why]
    notes += [f"{value}: {trained[i].stopped}" for value, i in done.items() if value not in whole]
    taken = whole or left
    if not taken:
        raise SelectionRefused(f"{group.arm}: no candidate was trained and scored ({'; '.join(notes)})")
    tables = {value: _table(context, graph, group, trained[i]) for value, i in taken.items()}
    try:
        choice = select(rule, tables)
    except SelectionRefused as e:
        raise SelectionRefused(f"{group.arm}: {e}") from e
    return replace(choice, notes=(*notes, *choice.notes))


def _table(context: Context, graph: Graph, group: Group, record: TrainedRecord) -> list[MetricRow]:
    """The metrics that a selection reads of one candidate."""
    rows = [MetricRow(metric=EVAL_LOSS, language="", value=record.eval_loss)]
    for identity in group.generations:
        if graph.generations[identity].training == record.planned:
            rows += context.folder.scores(graph.generations[identity]) or []
    return rows


def _speeds(context: Context, graph: Graph, trained: Iterable[str]) -> Speeds:
    folder = context.folder
    training: dict[str, float] = {}
    for identity in trained:
        if speed := folder.speed(folder.training(identity)):
            training[speed_key(graph.trainings[identity])] = speed
    generation: dict[str, float] = {}
    for identity, found in graph.generations.items():
        if speed := folder.speed(folder.responses(identity)):
            generation[found.base] = speed
    return Speeds(rehearsed=context.rehearsed, training=training, generation=generation)


def _remaining(
    context: Context, graph: Graph, identity: str, settled: frozenset[str], costs: Mapping[str, Cost]
) -> float:
    """Seconds; what was begun and interrupted needs less.

    A training by the steps of its last checkpoint: time that it was charged may be that of a slow machine, of steps
    that a kill took, or of hours in which nothing ran.
    """
    if identity in settled:
        return 0.0
    folder, seconds = context.folder, costs[identity].seconds
    if identity in graph.trainings:
        least = least_s(context.study, graph.trainings[identity], context.rehearsed)
        return min(seconds, max((1 - folder.share_saved(identity)) * seconds, least))
    ledger = folder.responses(identity) / LEDGER
    if not ledger.is_file():
        return seconds
    report = Ledger.of_run(ledger).report()
    worked_s = report.charged_s - report.by_phase.get("down", 0.0)
    return max(LEAST_SHARE * seconds, seconds - worked_s)
