"""Runs a study inside its budget, or goes on with one that was interrupted.

    result = run_study(context, runner=runner, evaluator=evaluator)
    result.dropped, result.failed

Every slot does one thing at a time: the most important that can be done. On one machine there is one slot, on a cluster
one for each GPU. After each the rest is planned anew, from what was measured.

Where it sits: above all of studies/; `oneday study` calls it.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from core.errors import OnedayError
from core.files import write_json
from core.stage import locked
from harness.budget.clock import Clock
from harness.budget.duration import pretty
from harness.ledger.day import LedgerReport
from studies.graph import Generation, Group, Training
from studies.identity import data_key
from studies.running.folder import RESULTS, SHORT, STATE
from studies.running.results import StudyResults, results_of, state_of
from studies.running.runner import Evaluator, GenerationWork, RaceWork, TrainingRunner, TrainingWork, Work
from studies.running.slot import Ended, OneSlot, OpenSlots, Slots
from studies.running.survey import Context, Planned, Survey, take_survey

CLOSING_S = 2.0
"""Kept free for the study's own files at the end."""

LEAST_S = 1.0
"""A share below this is not worth starting anything."""

HALF = 0.5
"""Of the declared length, after which candidates race each other."""

MOST_LOSSES = 3
"""How often work is given to another slot after its machine was lost."""

OnEvent = Callable[[str], None]
"""Called with a line about everything that begins or ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyResult:
    """How a study ended."""

    results: StudyResults
    dropped: tuple[str, ...]
    failed: Mapping[str, str]
    unfinished: tuple[str, ...]
    """Identities of what the budget ended before it began."""
    ledger: LedgerReport


def run_study(
    context: Context,
    *,
    runner: TrainingRunner,
    evaluator: Evaluator,
    clock: Clock | None = None,
    open_slots: OpenSlots = OneSlot.open,
    on_event: OnEvent = lambda line: None,
) -> StudyResult:
    """Trains, generates, scores, selects; the same call goes on after a kill, and does nothing twice.

    Args:
        open_slots: Opens what does the work: this machine, or the GPUs of a cluster.

    Raises:
        OnedayError: a link is broken, or nothing can be selected.
        Interrupted: by a signal; what is done stays.
        StageError: another command is at work on this study.
    """
    study, folder = context.study, context.folder
    with locked(folder.path):
        folder.claim(study.study, study.model_dump(mode="json"))
        slots = open_slots(study, folder, runner, evaluator, clock)
        loop = _Loop(context, slots, on_event)
        try:
            survey = loop.work()
        except BaseException:
            slots.leave()
            raise
        report = slots.stop()
    left = [work.identity for work in survey.unsettled()]
    return StudyResult(
        results=results_of(survey),
        dropped=survey.fitted.dropped,
        failed=survey.failed,
        unfinished=tuple(left),
        ledger=report,
    )


@dataclass(slots=True)
class _Loop:
    context: Context
    slots: Slots
    on_event: OnEvent
    running: dict[str, Work] = field(default_factory=dict)
    """By key."""
    failed: dict[str, str] = field(default_factory=dict)
    timed_out: set[str] = field(default_factory=set)
    """Identities of what failed because its share ended; tried once more if time is left at the end."""
    retried: set[str] = field(default_factory=set)
    losses: Counter[str] = field(default_factory=Counter)
    """Key of work -> how often the machine was lost that did it."""

    def work(self) -> Survey:
        """Until nothing is left to do, or no time."""
        while True:
            survey, is_waiting = self._fill()
            self._write(survey)
            if self.running or is_waiting:
                self._settle(self.slots.wait())
            elif not self._retries():
                return survey

    def _write(self, survey: Survey) -> None:
        """Writes what `oneday watch` and the page read."""
        path = self.context.folder.path
        write_json(path / STATE, state_of(survey, [_planned(work) for work in self.running.values()]))
        write_json(path / RESULTS, results_of(survey).as_json())

    def _left_s(self) -> float:
        return self.slots.left_s - CLOSING_S

    def _fill(self) -> tuple[Survey, bool]:
        """Starts what can be started; returns where the study stands, and whether work waits for a slot."""
        while True:
            survey = take_survey(self.context, failed=self.failed, left_s=self._left_s(), running=set(self.running))
            free_s, group, planned = self.slots.free_s, survey.next_race(), survey.next_work()
            if group is None and planned is None:
                return survey, False
            if free_s is None:
                return survey, True
            if not (self._race(survey, group, free_s) if group else planned and self._start(survey, planned, free_s)):
                return survey, False
            if self.slots.free_s is None:
                return survey, True

    def _start(self, survey: Survey, planned: Planned, free_s: float) -> bool:
        """Starts it, unless too little time is left; what it starts from may be damaged."""
        share_s = min(survey.share_s(planned, self._left_s()), free_s - CLOSING_S)
        if share_s < LEAST_S:
            return False
        try:
            work = self._work_of(survey, planned)
        except OnedayError as e:
            self.failed[planned.identity] = str(e)
            self.on_event(f"{_name(planned)}: failed: {e}")
            return True
        self.on_event(f"{work.name}: at most {pretty(share_s)} of {pretty(max(0.0, self.slots.left_s))} left")
        self.running[work.key] = work
        self.slots.start(work, share_s)
        return True

    def _race(self, survey: Survey, group: Group, free_s: float) -> bool:
        """Starts the comparison of an arm's paused candidates."""
        left = [identity for identity in group.candidates.values() if identity not in survey.settled]
        candidates = {i: self._training_work(survey, survey.graph.trainings[i], pauses=False) for i in left}
        work = RaceWork(arm=group.arm, candidates=candidates)
        self.running[work.key] = work
        self.slots.start(work, max(LEAST_S, free_s - CLOSING_S))
        return True

    def _settle(self, ended: Ended | None) -> None:
        """Takes note of what has ended."""
        if ended is None:
            return
        work = self.running.pop(ended.key)
        self.on_event(ended.line)
        if ended.is_lost:
            self.losses[ended.key] += 1
            if self.losses[ended.key] <= MOST_LOSSES:
                return
        if isinstance(work, RaceWork):
            self._finish_race(work, ended.stopped)
        elif ended.error or ended.is_lost:
            self.failed[ended.key] = ended.error or ended.line
            if ended.timed_out:
                self.timed_out.add(ended.key)

    def _retries(self) -> bool:
        """Whether something whose share was too small is tried again, in the time that the others have left."""
        again = self.timed_out - self.retried if self._left_s() >= LEAST_S else set()
        self.retried |= again
        for identity in again:
            del self.failed[identity]
        return bool(again)

    def _work_of(self, survey: Survey, planned: Planned) -> Work:
        if isinstance(planned, Training):
            return self._training_work(survey, planned, pauses=self._pauses(survey, planned))
        return self._generation_work(survey, planned)

    def _training_work(self, survey: Survey, training: Training, *, pauses: bool) -> TrainingWork:
        context = self.context
        parent = survey.trained[training.parent] if training.parent else None
        data = data_key(training.stage, context.study, seed=training.seed, template=training.template)
        return TrainingWork(
            training=training,
            base=context.bases[training.base],
            mix=context.mixes[data].path,
            parent=context.folder.weights(parent) if parent else None,
            folder=context.folder.training(training.identity),
            name=_name(training),
            tokens=survey.costs[training.identity].tokens,
            pause_at=HALF if pauses else None,
        )

    def _pauses(self, survey: Survey, training: Training) -> bool:
        """Whether it is to wait for the other candidates half-way."""
        sweep = self.context.study.sweep
        if sweep is None or not sweep.halving:
            return False
        for arm, group in survey.graph.groups.items():
            left = [identity for identity in group.candidates.values() if identity not in survey.settled]
            if training.identity in left and len(left) > 1 and self.context.folder.race(arm) is None:
                return True
        return False

    def _finish_race(self, work: RaceWork, stopped: Mapping[str, str]) -> None:
        """Records the candidates that are clearly worse; the others go on."""
        folder = self.context.folder
        assert len(stopped) < len(work.candidates), "a race has a winner"
        for identity, why in stopped.items():
            paused, parent = folder.paused(identity), work.candidates[identity].parent
            assert paused is not None, "who races has come to the pause"
            note = f"stopped at step {paused.step}: {why}"
            folder.finish_training(identity, paused, parent=parent.sha256 if parent else "", stopped=note)
            self.on_event(f"{work.candidates[identity].name}: {note}")
        folder.finish_race(work.arm, stopped)

    def _generation_work(self, survey: Survey, generation: Generation) -> GenerationWork:
        context, folder = self.context, self.context.folder
        record = survey.trained[generation.training] if generation.training else None
        suite = context.study.suites[generation.suite]
        return GenerationWork(
            generation=generation,
            suite=suite,
            items=context.study.items(suite, folder.path),
            base=context.bases[generation.base],
            weights=folder.weights(record) if record else None,
            run=folder.training(record.planned) if record else None,
            template=context.arms[generation.arms[0]].template,
            precision=None if record else context.study.base_precision,
            checkpoint={
                "name": record.identity[:SHORT] if record else generation.base,
                "sha256": record.sha256 if record else None,
                "study": context.study.study,
                "stage": survey.graph.trainings[record.planned].stage.name if record else None,
                "cut": record.stopped if record else "",
            },
            folder=folder.responses(generation.identity),
            name=_name(generation),
            tokens=survey.costs[generation.identity].tokens,
        )


def _planned(work: Work) -> Planned:
    """What it is in the graph; of a race, its first candidate."""
    match work:
        case TrainingWork():
            return work.training
        case GenerationWork():
            return work.generation
        case RaceWork():
            return next(iter(work.candidates.values())).training


def _name(work: Planned) -> str:
    if isinstance(work, Training):
        swept = f" {work.swept}" if work.swept else ""
        return f"{work.stage.name}{swept} {work.identity[:8]} ({', '.join(work.arms)})"
    return f"{work.suite} {', '.join(work.languages)} {work.identity[:8]} ({', '.join(work.arms)})"
