"""A slot does one training, generation or race at a time, and charges it to its clock.

    slot = Slot(folder=StudyFolder(path=run), runner=runner, evaluator=evaluator, ledger=ledger)
    slot.do(work, share_s=600).line      # "sft 3f2a... (whole): step 90 of 90, eval loss 1.2345"

What is finished is recorded in the study's folder by its identity. A study on one machine has one slot, whose clock is
the study's ledger; on a cluster every GPU is a slot with a clock of its own.

Where it sits: the loop (run.py) gives it work; it calls runner and evaluator.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeAlias

from core.errors import Interrupted, OnedayError
from harness.budget.clock import Clock
from harness.budget.duration import seconds
from harness.ledger.account import Account
from harness.ledger.day import LedgerReport
from harness.ledger.ledger import Ledger
from studies.running.folder import LEDGER, SHORT, StudyFolder
from studies.running.runner import Evaluator, GenerationWork, RaceWork, TrainingRunner, TrainingWork, Work
from studies.running.spending import others_charged_s, spent
from studies.study import Study

NO_TIME_S = 5.0
"""With less left of its share, failed work has failed for lack of time: processes are ended some seconds before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a piece of work ended."""

    key: str
    line: str
    """For the user."""
    error: str = ""
    """Why it failed; empty: it did not."""
    timed_out: bool = False
    """It failed because its share of the budget ended."""
    is_lost: bool = False
    """The machine that did it is gone; what it wrote can be gone on with."""
    stopped: Mapping[str, str] = field(default_factory=dict)
    """Of a race: identity of a candidate that is clearly worse -> why."""


class Slots(Protocol):
    """The slots of a study."""

    @property
    def left_s(self) -> float:
        """Seconds left, of all slots together."""

    @property
    def free_s(self) -> float | None:
        """Seconds left of the idle slot that has most of them; None: no slot is idle."""

    def start(self, work: Work, share_s: float) -> None:
        """Gives work to that slot."""

    def wait(self) -> Ended | None:
        """Waits until work has ended, or (None) until another slot is idle."""

    def leave(self) -> None:
        """Interrupts what runs; it can be gone on with."""

    def stop(self) -> LedgerReport:
        """Stops all clocks; returns what was charged."""


@dataclass(slots=True, kw_only=True)
class Slot:
    """One GPU, or the CPU."""

    folder: StudyFolder
    runner: TrainingRunner
    evaluator: Evaluator
    ledger: Ledger
    """Its clock."""
    clock: Clock | None = None

    def do(self, work: Work, share_s: float) -> Ended:
        """Does it, or goes on with what was interrupted, within `share_s` seconds.

        Raises:
            OnedayError: a race failed.
            Interrupted: by a signal; what is done stays.
        """
        if isinstance(work, RaceWork):
            return self._race(work, share_s)
        account = self._account(work.folder / LEDGER, work.key[:SHORT], share_s)
        try:
            line = self._train(work, account) if isinstance(work, TrainingWork) else self._generate(work, account)
            ended = Ended(key=work.key, line=f"{work.name}: {line}")
        except Interrupted:
            account.enter("idle")
            raise
        except OnedayError as e:
            ended = Ended(
                key=work.key, line=f"{work.name}: failed: {e}", error=str(e), timed_out=account.left_s <= NO_TIME_S
            )  # fmt: skip
        account.stop()
        return ended

    def _account(self, path: Path, name: str, share_s: float) -> Account:
        return Account.open(path, of=self.ledger, name=name, share_s=share_s, clock=self.clock)

    def _train(self, work: TrainingWork, account: Account) -> str:
        trained = self.runner.train(work, account)
        if trained.is_paused:
            self.folder.note_paused(work.key, trained)
            return f"paused at step {trained.step} of {trained.of_steps}"
        self._note_speed(account, "train", work.tokens * trained.step / trained.of_steps, work.folder)
        self.folder.finish_training(work.key, trained, parent=work.parent.sha256 if work.parent else "")
        loss = "-" if trained.eval_loss is None else f"{trained.eval_loss:.4f}"
        why = "its loss was not finite afterwards" if trained.diverged else "cut by its share of the budget"
        cut = f", {why}" if trained.is_cut else ""
        return f"step {trained.step} of {trained.of_steps}{cut}, eval loss {loss}"

    def _generate(self, work: GenerationWork, account: Account) -> str:
        responses = self.folder.generated(work.key)
        if responses is None:
            account.enter("generate")
            responses = self.evaluator.generate(work, account)
            self._note_speed(account, "generate", work.tokens, work.folder)
            self.folder.finish_generation(work.key, responses)
        account.enter("score")
        self.folder.finish_scores(work.generation, self.evaluator.score(work, responses, account))
        return "generated and scored"

    def _race(self, work: RaceWork, share_s: float) -> Ended:
        account = self._account(self.folder.path / f"{work.key}.jsonl", work.key, share_s)
        account.enter("pick")
        stopped = self.runner.race(work.candidates, account)
        account.stop()
        return Ended(key=work.key, line=f"{work.name}: {len(stopped)} stopped", stopped=stopped)

    def _note_speed(self, account: Account, phase: str, tokens: float, folder: Path) -> None:
        """What it really took, for the estimates of the rest."""
        spent_s = account.report().by_phase.get(phase, 0.0)
        self.folder.note_speed(folder, tokens / spent_s if spent_s > 0 else None)


OpenSlots: TypeAlias = Callable[[Study, StudyFolder, TrainingRunner, Evaluator, Clock | None], Slots]
"""Opens the slots of a study, whose clocks start."""


@dataclass(slots=True)
class OneSlot:
    """This machine, which does one thing at a time."""

    slot: Slot
    budget_s: float
    """Of the whole study."""
    waiting: tuple[Work, float] | None = None

    @classmethod
    def open(
        cls, study: Study, folder: StudyFolder, runner: TrainingRunner, evaluator: Evaluator, clock: Clock | None
    ) -> "OneSlot":
        """Starts the study's ledger, or goes on with it. What a cluster charged before is not left any more."""
        path, budget_s = folder.path / LEDGER, seconds(study.budget)
        ledger = Ledger.start(
            path, budget_s=budget_s, run_id=study.study, charging=study.clock, clock=clock, reopens=True
        )  # fmt: skip
        ledger.rebudget(max(1e-3, budget_s - others_charged_s(folder.path, path)))
        slot = Slot(folder=folder, runner=runner, evaluator=evaluator, ledger=ledger, clock=clock)
        return cls(slot, budget_s)

    @property
    def left_s(self) -> float:
        """Seconds left."""
        return self.slot.ledger.left_s

    @property
    def free_s(self) -> float | None:
        """The same, unless work waits."""
        return None if self.waiting else self.left_s

    def start(self, work: Work, share_s: float) -> None:
        """Takes work, which `wait` does."""
        self.waiting = work, share_s

    def wait(self) -> Ended:
        """Does it."""
        assert self.waiting is not None, "work was given"
        (work, share_s), self.waiting = self.waiting, None
        return self.slot.do(work, share_s)

    def leave(self) -> None:
        """Charges the time from now on as idle."""
        self.slot.ledger.enter("idle")

    def stop(self) -> LedgerReport:
        """Stops the clock."""
        self.slot.ledger.stop()
        return spent(self.slot.folder.path, budget_s=self.budget_s)
