"""Runs a study inside its budget, or goes on with one that was interrupted.

    result = run_study(context, runner=runner, evaluator=evaluator)
    result.dropped, result.failed

One thing runs at a time: the most important that can. After each the rest is planned anew, from what was measured.

Where it sits: above all of studies/; `oneday study` calls it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from core.errors import Interrupted, OnedayError
from core.files import write_json
from core.stage import locked
from harness.budget.clock import Clock
from harness.budget.duration import pretty, seconds
from harness.ledger.account import Account
from harness.ledger.day import LedgerReport
from harness.ledger.ledger import Ledger
from studies.graph import Generation, Group, Training
from studies.identity import data_key
from studies.running.folder import LEDGER, RESULTS, SHORT, STATE
from studies.running.results import StudyResults, results_of, state_of
from studies.running.runner import Evaluator, GenerationWork, TrainingRunner, TrainingWork
from studies.running.survey import Context, Survey, Work, take_survey

CLOSING_S = 2.0
"""Kept free for the study's own files at the end."""

LEAST_S = 1.0
"""A share below this is not worth starting anything."""

HALF = 0.5
"""Of the declared length, after which candidates race each other."""

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
    on_event: OnEvent = lambda line: None,
) -> StudyResult:
    """Trains, generates, scores, selects; the same call goes on after a kill, and does nothing twice.

    Raises:
        OnedayError: a link is broken, or nothing can be selected.
        Interrupted: by a signal; what is done stays.
        StageError: another command is at work on this study.
    """
    study, folder = context.study, context.folder
    with locked(folder.path):
        folder.claim(study.study, study.model_dump(mode="json"))
        budget_s = seconds(study.budget)
        ledger = Ledger.start(
            folder.path / LEDGER, budget_s=budget_s, run_id=study.study, charging=study.clock, clock=clock, reopens=True
        )
        ledger.rebudget(budget_s)
        loop = _Loop(context, runner, evaluator, ledger, clock, on_event)
        try:
            survey = loop.work()
        except BaseException:
            ledger.enter("idle")
            raise
        ledger.stop()
    left = [work.identity for work in survey.unsettled()]
    return StudyResult(
        results=results_of(survey),
        dropped=survey.fitted.dropped,
        failed=survey.failed,
        unfinished=tuple(left),
        ledger=ledger.report(),
    )


@dataclass(slots=True)
class _Loop:
    context: Context
    runner: TrainingRunner
    evaluator: Evaluator
    ledger: Ledger
    clock: Clock | None
    on_event: OnEvent
    failed: dict[str, str] = field(default_factory=dict)
    timed_out: set[str] = field(default_factory=set)
    """Identities of what failed because its share ended; tried once more if time is left at the end."""
    retried: set[str] = field(default_factory=set)

    def work(self) -> Survey:
        """Until nothing is left to do, or no time."""
        while True:
            left_s = self.ledger.left_s - CLOSING_S
            survey = take_survey(self.context, failed=self.failed, left_s=left_s)
            if group := survey.next_race():
                self._race(survey, group, left_s)
                continue
            work = survey.next_work()
            share_s = survey.share_s(work, left_s) if work else 0.0
            write_json(self.context.folder.path / STATE, state_of(survey, work if share_s >= LEAST_S else None))
            write_json(self.context.folder.path / RESULTS, results_of(survey).as_json())
            if work is None or share_s < LEAST_S:
                if self._retries(left_s):
                    continue
                return survey
            self._do(survey, work, share_s)

    def _retries(self, left_s: float) -> bool:
        """Whether something whose share was too small is tried again, in the time that the others have left."""
        again = self.timed_out - self.retried if left_s >= LEAST_S else set()
        self.retried |= again
        for identity in again:
            del self.failed[identity]
        return bool(again)

    def _do(self, survey: Survey, work: Work, share_s: float) -> None:
        folder = self.context.folder
        name = _name(work)
        self.on_event(f"{name}: at most {pretty(share_s)} of {pretty(max(0.0, self.ledger.left_s))} left")
        place = folder.training(work.identity) if isinstance(work, Training) else folder.responses(work.identity)
        account = Account.open(
            place / LEDGER, of=self.ledger, name=work.identity[:SHORT], share_s=share_s, clock=self.clock
        )
        try:
            if isinstance(work, Training):
                self._train(survey, work, account)
            else:
                self._generate(survey, work, account)
        except Interrupted:
            account.enter("idle")
            raise
        except OnedayError as e:
            self.failed[work.identity] = str(e)
            if account.left_s <= 0:
                self.timed_out.add(work.identity)
            self.on_event(f"{name}: failed: {e}")
        account.stop()

    def _train(self, survey: Survey, training: Training, account: Account) -> None:
        folder = self.context.folder
        work = self._training_work(survey, training, account, pause_at=HALF if self._pauses(survey, training) else None)
        trained = self.runner.train(work)
        if trained.is_paused:
            folder.note_paused(training.identity, trained)
            self.on_event(f"{_name(training)}: paused at step {trained.step} of {trained.of_steps}")
            return
        tokens = survey.costs[training.identity].tokens * trained.step / trained.of_steps
        self._note_speed(account, "train", tokens, work.folder)
        folder.finish_training(training.identity, trained, parent=work.parent.sha256 if work.parent else "")
        loss = "-" if trained.eval_loss is None else f"{trained.eval_loss:.4f}"
        cut = ", cut by its share of the budget" if trained.is_cut else ""
        self.on_event(f"{_name(training)}: step {trained.step} of {trained.of_steps}{cut}, eval loss {loss}")

    def _note_speed(self, account: Account, phase: str, tokens: float, folder: Path) -> None:
        """What it really took, for the estimates of the rest."""
        spent_s = account.report().by_phase.get(phase, 0.0)
        self.context.folder.note_speed(folder, tokens / spent_s if spent_s > 0 else None)

    def _training_work(
        self, survey: Survey, training: Training, account: Account, *, pause_at: float | None = None
    ) -> TrainingWork:
        context = self.context
        parent = survey.trained[training.parent] if training.parent else None
        return TrainingWork(
            training=training,
            base=context.bases[training.base],
            mix=context.mixes[
                data_key(training.stage, context.study, seed=training.seed, template=training.template)
            ].path,
            parent=context.folder.weights(parent) if parent else None,
            folder=context.folder.training(training.identity),
            account=account,
            pause_at=pause_at,
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

    def _race(self, survey: Survey, group: Group, left_s: float) -> None:
        """Stops the candidates that are clearly worse; the others go on."""
        folder = self.context.folder
        left = [identity for identity in group.candidates.values() if identity not in survey.settled]
        name = f"race-{group.arm}"
        account = Account.open(
            folder.path / f"{name}.jsonl", of=self.ledger, name=name, share_s=max(LEAST_S, left_s), clock=self.clock
        )
        account.enter("pick")
        works = {i: self._training_work(survey, survey.graph.trainings[i], account) for i in left}
        stopped = self.runner.race(works)
        assert len(stopped) < len(left), "a race has a winner"
        for identity, why in stopped.items():
            paused = folder.paused(identity)
            assert paused is not None, "who races has come to the pause"
            parent = works[identity].parent
            folder.finish_training(
                identity,
                paused,
                parent=parent.sha256 if parent else "",
                stopped=f"stopped at step {paused.step}: {why}",
            )
            self.on_event(f"{_name(survey.graph.trainings[identity])}: stopped at step {paused.step}: {why}")
        folder.finish_race(group.arm, stopped)
        account.stop()

    def _generate(self, survey: Survey, generation: Generation, account: Account) -> None:
        context, folder = self.context, self.context.folder
        record = survey.trained[generation.training] if generation.training else None
        suite = context.study.suites[generation.suite]
        work = GenerationWork(
            generation=generation,
            suite=suite,
            items=context.study.path(suite.items),
            base=context.bases[generation.base],
            weights=folder.weights(record) if record else None,
            run=folder.training(record.planned) if record else None,
            template=context.arms[generation.arms[0]].template,
            checkpoint={
                "name": record.identity[:SHORT] if record else generation.base,
                "sha256": record.sha256 if record else None,
                "study": context.study.study,
                "stage": survey.graph.trainings[record.planned].stage.name if record else None,
                "cut": record.stopped if record else "",
            },
            folder=folder.responses(generation.identity),
            account=account,
        )
        responses = folder.generated(generation.identity)
        if responses is None:
            account.enter("generate")
            responses = self.evaluator.generate(work)
            self._note_speed(account, "generate", survey.costs[generation.identity].tokens, work.folder)
            folder.finish_generation(generation.identity, responses)
        account.enter("score")
        folder.finish_scores(generation.identity, self.evaluator.score(work, responses))
        self.on_event(f"{_name(generation)}: generated and scored")


def _name(work: Work) -> str:
    if isinstance(work, Training):
        swept = f" {work.swept}" if work.swept else ""
        return f"{work.stage.name}{swept} {work.identity[:8]} ({', '.join(work.arms)})"
    return f"{work.suite} {', '.join(work.languages)} {work.identity[:8]} ({', '.join(work.arms)})"
