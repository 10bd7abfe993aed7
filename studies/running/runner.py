"""What a study asks of those that train, generate and score: two small protocols, and what goes in and out.

    trained = runner.train(TrainingWork(training=..., base=..., mix=..., parent=None, folder=...), account)
    responses = evaluator.generate(GenerationWork(...), account)

A runner answers by its account's deadline, whatever happens inside it. Work holds paths and values only, so that it can
be sent to another machine.

Where it sits: a slot (slot.py) calls it; harness_runner.py and evaluator.py carry it out, tests pass fakes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias

from core.model.quantisation import Precision
from harness.ledger.account import Account
from studies.estimate import Measured
from studies.graph import Generation, Training
from studies.selection import MetricRow
from studies.study import Suite


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """What a training wrote."""

    path: Path
    """A folder."""
    sha256: str
    """Of its files, see `weights_sha256`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingWork:
    """One training to be done."""

    training: Training
    base: Path
    mix: Path
    """A folder with train.jsonl and validation.jsonl."""
    parent: Weights | None
    """What it starts from; None: the base."""
    folder: Path
    """Its run folder. What an earlier, interrupted call left there is gone on with."""
    name: str = ""
    """As a person calls it."""
    tokens: int = 0
    """Of all its passes, from declared sizes."""
    pause_at: float | None = None
    """Stop after this share of the declared length, to be gone on with later."""

    @property
    def key(self) -> str:
        """Names its account."""
        return self.training.identity


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """How a training ended."""

    weights: Weights
    step: int
    of_steps: int
    """The declared length."""
    eval_loss: float | None
    is_paused: bool = False
    """It stopped where it was told to, and can be gone on with."""
    diverged: bool = False
    """It stopped because its loss was not finite."""

    @property
    def is_cut(self) -> bool:
        """It ended before its declared length, by its share of the budget or because it diverged."""
        return not self.is_paused and self.step < self.of_steps


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationWork:
    """The responses of one checkpoint to one suite."""

    generation: Generation
    suite: Suite
    items: Path
    base: Path
    weights: Weights | None
    """None: the base itself is asked."""
    run: Path | None
    """The run folder of its training."""
    template: str
    precision: Precision | None
    """None: as the run was trained; of the base, the model's default."""
    checkpoint: Mapping[str, object]
    """Stands in every response: name, hash, study, arms, stage."""
    folder: Path
    name: str = ""
    """As a person calls it."""
    tokens: int = 0
    """Of all responses, from declared sizes."""

    @property
    def key(self) -> str:
        """Names its account."""
        return self.generation.identity


def race_key(arm: str) -> str:
    """Names the account of an arm's race."""
    return f"race-{arm}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RaceWork:
    """The comparison of an arm's paused candidates."""

    arm: str
    candidates: Mapping[str, TrainingWork]
    """By identity."""

    @property
    def key(self) -> str:
        """Names its account."""
        return race_key(self.arm)

    @property
    def name(self) -> str:
        """As a person calls it."""
        return f"race of the candidates of {self.arm}"


Work: TypeAlias = TrainingWork | GenerationWork | RaceWork


@dataclass(frozen=True, slots=True, kw_only=True)
class Responses:
    """What was generated."""

    path: Path
    sha256: str


class Rehearser(Protocol):
    """Knows what can be trained, and measures it."""

    def refusal(self, training: Training) -> str:
        """Why it cannot train this; empty: it can. Asked before the clock starts."""

    def race_refusal(self, training: Training) -> str:
        """Why it cannot race this training half-way; empty: it can. Asked before the clock starts."""

    def prepare(self, training: Training, *, base: Path, mix: Path, tokens: int) -> Measured | None:
        """Measures one training of a kind (`speed_key`), before the clock starts; None: nothing is measured.

        Args:
            tokens: Of all its passes, from declared sizes.
        """


class TrainingRunner(Rehearser, Protocol):
    """Trains."""

    def train(self, work: TrainingWork, account: Account) -> Trained:
        """Trains, or goes on with what was interrupted. Returns by the account's deadline.

        Raises:
            OnedayError: it failed, or its time ended before a checkpoint was whole.
            Interrupted: by a signal; the state is saved.
        """

    def race(self, candidates: Mapping[str, TrainingWork], account: Account) -> Mapping[str, str]:
        """Which of these paused trainings are clearly worse by validation loss: name -> why."""


class Evaluator(Protocol):
    """Generates and scores."""

    def not_run(self, suite: Suite, items: Path) -> str:
        """Why a suite cannot be run here; empty: it can. Asked before the clock starts."""

    def generate(self, work: GenerationWork, account: Account) -> Responses:
        """Generates, or goes on with what was interrupted. Returns by the account's deadline.

        Raises:
            OnedayError: it failed, or its time ended before all items were answered.
        """

    def score(self, work: GenerationWork, responses: Responses, account: Account) -> Sequence[MetricRow]:
        """The metrics of these responses; None where one did not run."""
