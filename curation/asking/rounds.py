"""Asks the base in rounds: adaptive asking with an engine, an answer store, and a clock.

    curation, asked = with_rounds(curation, chosen)

A time limit decides only how many rounds are asked. That number becomes the parameter `adaptive.rounds`, so that the
manifest holds it and a repetition of the run asks the same instances. `asking.jsonl` in the run folder has a line for
each round with its seconds. A killed run repeats its rounds from the answer store and goes on with the time that is
left.

Where it sits: tasks -> **asking** -> predictions.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

from core.files import read_as
from core.generation.answer_store import AnswerStore
from core.generation.ask import ask
from core.generation.prediction import prediction_of
from core.generation.request import Kind, Refused, Request
from core.run_folder import PREDICTIONS
from core.score import rouge_l_scorer, score
from core.stage import DONE, INPUTS, Stage
from curation.asking.adaptive import (
    AdaptiveParameters,
    Goal,
    TaskProgress,
    exact_quotas,
    expected_errors,
    generation_quotas,
    next_round,
    shuffled,
)
from curation.asking.goal import goal_of
from curation.asking.round_record import RoundRecord, StopReason
from curation.candidate import References, is_solved
from curation.ni.bucket import generation_bucket
from curation.ni.few_shot import build_requests
from curation.ni.instances import INSTANCES, InstanceStore
from curation.ni.select import SelectedTask, own_name, read_selected
from curation.ni.task import Instance
from curation.sample import Quota
from curation.sources.source import NI_EXACT_MATCH, NI_GENERATION
from curation.stages.context import ANSWERS, Curation


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaFill:
    """One quota: an exact-match task, or a ROUGE-L bucket of generated answers."""

    name: str
    wanted: int
    usable: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AskingDetails:
    """What the summary of `02_predictions` says about adaptive asking."""

    rounds: int
    asked: int
    instances: int
    exact_match_tasks: int
    expected_errors: float
    """Expected number of exact-match tasks in another bucket than that of all answers."""
    uncertain_tasks: tuple[str, ...]
    """Those whose risk is above `adaptive.error`, the most uncertain first."""
    unfilled: tuple[QuotaFill, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The state after the last round."""

    rounds: int
    tasks: tuple[TaskProgress, ...]
    goal: Goal
    is_complete: bool
    """Whether nothing more is needed."""

    def details(self) -> AskingDetails:
        """The outcome in figures."""
        exact = [t for t in self.tasks if t.kind is Kind.EXACT_MATCH]
        uncertain = sorted((t for t in exact if t.risk > self.goal.parameters.error), key=lambda t: -t.risk)
        return AskingDetails(
            rounds=self.rounds,
            asked=sum(t.num_asked for t in self.tasks),
            instances=sum(len(t.order) for t in self.tasks),
            exact_match_tasks=len(exact),
            expected_errors=round(expected_errors(exact), 3),
            uncertain_tasks=tuple(t.task for t in uncertain),
            unfilled=tuple(fill for fill in self._quotas() if fill.usable < fill.wanted),
        )

    def _quotas(self) -> Iterator[QuotaFill]:
        exact = [t for t in self.tasks if t.kind is Kind.EXACT_MATCH]
        for task, quota in zip(exact, exact_quotas(exact, self.goal), strict=True):
            yield QuotaFill(name=task.task, wanted=quota, usable=task.num_usable)
        generation = [t for t in self.tasks if t.kind is Kind.GENERATION]
        quotas, have = generation_quotas(generation, self.goal)
        for bucket, (quota, usable) in enumerate(zip(quotas, have, strict=True)):
            yield QuotaFill(name=f"generation bucket {bucket}", wanted=quota, usable=usable)

    def reason(self, task: TaskProgress) -> str:
        """Why the task's other instances were not asked, as `dropped.jsonl` says it."""
        if task.kind is Kind.EXACT_MATCH and task.risk <= self.goal.parameters.error:
            return "bucket_certain"
        if not self.is_complete:
            return "time_is_up"
        return "bucket_uncertain" if task.kind is Kind.EXACT_MATCH else "quota_filled"


def adaptive_inputs(curation: Curation) -> object:
    """Everything that decides which instances are asked; None if every instance is asked."""
    if curation.parameters.adaptive is None:
        return None
    fingerprint = curation.parameters.fingerprint()
    names = ("adaptive", "scores", "buckets", "samples", "candidates", "seed")
    targets = {name: curation.targets.get(name, 0) for name in (NI_EXACT_MATCH, NI_GENERATION)}
    return {**{name: fingerprint[name] for name in names}, "targets": targets}


def asks_adaptively(curation: Curation, selected: SelectedTask) -> bool:
    """Whether a task is asked in rounds. Own rows are all asked, and so is what gives a share of each task's rows."""
    if own_name(selected.categories) is not None:
        return False
    return selected.kind is Kind.EXACT_MATCH or curation.parameters.samples.quota is Quota.PROPORTIONAL


def with_rounds(curation: Curation, chosen: Stage) -> tuple[Curation, Asked | None]:
    """The curation with the number of rounds as a parameter, asked if need be.

    Returns:
        The state after the last round is None if the rounds were asked before, or are not asked at all.

    Raises:
        StageError: the run was asked with another time limit.
    """
    adaptive = curation.parameters.adaptive
    if adaptive is None or adaptive.rounds is not None:
        return curation, None
    prompts = curation.parameters.fingerprint()["prompts"]
    inputs = [adaptive_inputs(curation), chosen.output_digest(), curation.predictor.revision, prompts]
    record = RoundRecord(curation.run, inputs, within_s=curation.within_s, redo=curation.redo)
    rounds, asked = record.finished_rounds() or _rounds_of_finished_stage(curation), None
    if rounds is None:
        asked = _ask(curation, chosen, record)
        rounds = max(1, asked.rounds)  # none are asked if there is no task
    parameters = replace(curation.parameters, adaptive=replace(adaptive, rounds=rounds))
    return replace(curation, parameters=parameters), asked


def _rounds_of_finished_stage(curation: Curation) -> int | None:
    """Those of finished predictions, whose stage then refuses other inputs before the base is asked again."""
    stage = curation.run / PREDICTIONS
    if curation.redo or not (stage / DONE).is_file():
        return None
    stored = read_as(dict[str, Any], stage / INPUTS).get("adaptive") or {}
    return (stored.get("adaptive") or {}).get("rounds") or 1


def ask_rounds(curation: Curation, chosen: Stage, store: AnswerStore | None) -> Asked:
    """Asks `adaptive.rounds` rounds."""
    asking = _Asking(curation, chosen, store)
    assert asking.parameters.rounds is not None
    while asking.num_rounds < asking.parameters.rounds and (batch := asking.next_round()):
        asking.ask(batch)
    return asking.asked()


def _ask(curation: Curation, chosen: Stage, record: RoundRecord) -> Asked:
    """Asks until nothing more is needed, or the time is up."""
    keeps = curation.predictor.keeps_answers
    with AnswerStore(curation.run / ANSWERS) if keeps else nullcontext() as store:
        asking = _Asking(curation, chosen, store)
        start = curation.clock()
        if curation.within_s is not None and store is not None:
            asking.ask_own_rows()
        record.add_time(curation.clock() - start)
        reason = StopReason.CERTAIN
        while batch := asking.next_round():
            size, is_recorded = sum(map(len, batch.values())), asking.num_rounds < record.num_rounds
            if not is_recorded and record.exceeds_limit(size):
                reason = StopReason.TIME
                break
            start = curation.clock()
            asking.ask(batch)
            if not is_recorded:
                record.add(size, curation.clock() - start)
        record.finish(reason, max(1, asking.num_rounds))
        return asking.asked()


class _Asking:
    """The progress of all tasks, and an engine."""

    def __init__(self, curation: Curation, chosen: Stage, store: AnswerStore | None) -> None:
        assert curation.parameters.adaptive is not None
        self.parameters: AdaptiveParameters = curation.parameters.adaptive
        self.num_rounds = 0
        self._curation, self._store = curation, store
        self._instances = InstanceStore(chosen.path(INSTANCES))
        samples = curation.parameters.samples
        asked = [
            s
            for s in read_selected(chosen.path("tasks.jsonl"))
            if samples.asks(is_own=own_name(s.categories) is not None)
        ]
        self._own = [s for s in asked if own_name(s.categories) is not None]
        self._selected = {s.name: s for s in asked if asks_adaptively(curation, s)}
        self._offsets = {name: self._instances.offsets(s.block) for name, s in self._selected.items()}
        seed = curation.parameters.seed
        self._tasks = {
            name: TaskProgress(task=name, kind=s.kind, order=shuffled(list(self._offsets[name]), seed=seed, task=name))
            for name, s in self._selected.items()
        }
        self._goal = goal_of(curation, sum(s.block.num_instances for s in self._own_tasks(chosen)))
        self._rouge_l = rouge_l_scorer(curation.parameters.scores)
        self._total = sum(len(t.order) for t in self._tasks.values())
        self._single: set[tuple[str, str]] = set()
        """Task and instance with one answer of its own; those of equal inputs do not count, as in the draw."""

    def _own_tasks(self, chosen: Stage) -> Iterator[SelectedTask]:
        """The tasks of own rows, asked or not."""
        return (s for s in read_selected(chosen.path("tasks.jsonl")) if own_name(s.categories) is not None)

    def next_round(self) -> dict[str, list[str]]:
        """The instances of the next round, by task."""
        return next_round(list(self._tasks.values()), self._goal)

    def asked(self) -> Asked:
        """The state after the last round."""
        tasks = tuple(self._tasks.values())
        return Asked(
            rounds=self.num_rounds, tasks=tasks, goal=self._goal, is_complete=not next_round(tasks, self._goal)
        )

    def ask_own_rows(self) -> None:
        """Asks the user's own rows, all of them, so that their answers are in the store."""
        requests = (r for s in self._own for r in self._requests(s, list(self._instances.offsets(s.block).values())))
        for _ in ask(requests, self._curation.predictor, self._store):
            pass

    def ask(self, batch: Mapping[str, Sequence[str]]) -> None:
        """Asks one round. An instance without an answer counts as asked, and is neither right, wrong nor usable."""
        right, answered = dict.fromkeys(batch, 0), dict.fromkeys(batch, 0)
        usable = {name: [0] * self._num_buckets(self._selected[name].kind) for name in batch}
        requests = (
            request
            for name, ids in batch.items()
            for request in self._requests(self._selected[name], [self._offsets[name][i] for i in ids])
        )
        for request, key, answer in ask(requests, self._curation.predictor, self._store):
            if isinstance(answer, Refused):
                continue
            prediction = prediction_of(request, key, answer)
            value = score(prediction, self._curation.parameters.scores, self._rouge_l).score
            solved = is_solved(request.kind, value, self._curation.parameters.candidates)
            right[request.task] += solved
            answered[request.task] += 1
            if self._is_usable(request, solved=solved):
                bucket = generation_bucket(value, self._goal.buckets) if request.kind is Kind.GENERATION else 0
                usable[request.task][bucket] += 1
        for name, ids in batch.items():
            self._tasks[name].add(
                num_asked=len(ids), num_refused=len(ids) - answered[name], num_right=right[name], usable=usable[name],
                buckets=self._goal.buckets,
            )  # fmt: skip
        self.num_rounds += 1
        done = sum(t.num_asked for t in self._tasks.values())
        self._curation.on_progress(f"{PREDICTIONS} rounds", done, self._total)

    def _num_buckets(self, kind: Kind) -> int:
        return 1 if kind is Kind.EXACT_MATCH else self._goal.buckets.num_generation_buckets

    def _is_usable(self, request: Request, *, solved: bool) -> bool:
        """Whether an instance may be trained on, before policies and duplicates."""
        candidates = self._curation.parameters.candidates
        if solved and candidates.wrong_only:
            return False
        first_only = request.kind is Kind.EXACT_MATCH or candidates.references is References.FIRST
        return first_only or (request.task, request.id) in self._single

    def _requests(self, selected: SelectedTask, offsets: Sequence[int]) -> Iterator[Request]:
        parameters, fits = self._curation.parameters.prompts, self._curation.predictor.fits
        instances = self._noted(selected.name, self._instances.at(offsets))
        return build_requests(selected, selected.kind, instances, parameters, fits, lambda dropped: None)

    def _noted(self, task: str, instances: Iterable[Instance]) -> Iterator[Instance]:
        for instance in instances:
            if len(instance.outputs) == 1:
                self._single.add((task, instance.id))
            yield instance
