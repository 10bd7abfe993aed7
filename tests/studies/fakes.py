"""A runner and an evaluator without a trainer or a model: their results are functions of what they are given.

Time is the test's. What a real process would leave behind when it is killed, the fakes leave too.
"""

import hashlib
import math
import random
import statistics
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from core.errors import OnedayError
from core.files import file_sha256, write_json, write_text
from core.run_folder import OUTPUT, TRAIN
from harness.budget.clock import Clock
from harness.ledger.account import Account
from studies.arm import resolve_arms
from studies.estimate import Measured, Speeds, estimate
from studies.graph import Generation, Training, build_graph
from studies.identity import Known, data_key
from studies.running.building import Mix
from studies.running.folder import StudyFolder, weights_sha256
from studies.running.runner import GenerationWork, Responses, Trained, TrainingWork, Weights
from studies.running.survey import Context
from studies.selection import MetricRow
from studies.stage import Stage
from studies.study import Study, Suite


class Killed(BaseException):
    """The process is gone at this moment."""


class Machine:
    """A machine whose clock the test turns, and which can be killed at a chosen moment."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.moments = 0
        self.kill_at: int | None = None

    def clock(self) -> Clock:
        return Clock(up=lambda: self.now, wall=lambda: 1.7e9 + self.now, boot=lambda: "a")

    def moment(self) -> None:
        """Between any two writes of the fakes."""
        self.moments += 1
        if self.moments == self.kill_at:
            raise Killed

    def works(self, account: Account, seconds: float) -> bool:
        """Lets time pass, as far as the account reaches; false if it ended before the work did."""
        until = self.now + seconds
        in_time = until < account.deadline
        self.now = until if in_time else account.deadline
        account.beat()
        return in_time


def number(text: str) -> float:
    """In [0, 1), a function of the text."""
    return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) / 2**32


@dataclass
class FakeRunner:
    """Trains by writing a file whose content is decided by the training and its parent."""

    machine: Machine
    costs: Callable[[str], float]
    """Identity -> seconds it really takes; infinite: it hangs."""
    losses: Mapping[str, float] = field(default_factory=dict)
    """`learning_rate=1e-05` -> its validation loss; others have one of their own."""
    steps: int = 100
    refused: str = ""
    started: list[str] = field(default_factory=list)
    """Identities, in the order in which they were begun."""

    def refusal(self, training: Training) -> str:
        return self.refused

    def race_refusal(self, training: Training) -> str:
        return ""

    def prepare(self, training: Training, *, base: Path, mix: Path, tokens: int) -> Measured | None:
        return None

    def train(self, work: TrainingWork, account: Account) -> Trained:
        identity = work.training.identity
        self.started.append(identity)
        self.machine.moment()
        account.enter("train")
        cost = self.costs(identity)
        begun = work.folder / "checkpoint.json"
        done = 0.0
        if begun.is_file():
            done = float(begun.read_text().split(": ")[1].rstrip("}\n"))
        goal, started = work.pause_at or 1.0, self.machine.now
        finished = self.machine.works(account, max(0.0, (goal - done) * cost))
        share = goal if finished else done + (self.machine.now - started) / cost * 0.9
        self.machine.moment()
        if share <= 0.01:
            raise OnedayError(f"{identity[:8]}: its time ended before a checkpoint was whole.")
        write_json(begun, {"share": share})
        step = max(1, min(self.steps, round(self.steps * share)))
        state = {"global_step": step, "max_steps": self.steps}
        write_json(work.folder / TRAIN / OUTPUT / f"checkpoint-{step}" / "trainer_state.json", state)
        parent = work.parent.sha256 if work.parent else "base"
        folder = work.folder / "08_pick"
        write_text(folder / "weights.txt", f"{identity} {parent} {step} {work.training.stage.settings()}")
        self.machine.moment()
        return Trained(
            weights=Weights(path=folder, sha256=weights_sha256(folder)),
            step=step,
            of_steps=self.steps,
            eval_loss=self.losses.get(work.training.swept, round(1 + number(identity), 6)),
            is_paused=finished and work.pause_at is not None,
        )

    def race(self, candidates: Mapping[str, TrainingWork], account: Account) -> Mapping[str, str]:
        losses = {i: self.losses.get(work.training.swept, 1 + number(i)) for i, work in candidates.items()}
        best = min(losses.values())
        return {i: f"worse by {loss - best:.2f}" for i, loss in losses.items() if loss > best + 0.5}


@dataclass
class FakeEvaluator:
    """Answers with a text that the weights decide, and scores it by `metric`."""

    machine: Machine
    costs: Callable[[str], float]
    metric: Callable[[str, Generation], float | None]
    """(metric, generation) -> value."""
    generated: list[str] = field(default_factory=list)
    scored: list[str] = field(default_factory=list)
    weights: dict[str, str] = field(default_factory=dict)
    """Identity of a generation -> hash of the weights that it was given."""

    def not_run(self, suite: Suite, items: Path) -> str:
        return ""

    def generate(self, work: GenerationWork, account: Account) -> Responses:
        identity = work.generation.identity
        self.generated.append(identity)
        self.weights[identity] = work.weights.sha256 if work.weights else ""
        self.machine.moment()
        if not self.machine.works(account, self.costs(identity)):
            raise OnedayError(f"{identity[:8]}: its time ended before all items were answered.")
        path = work.folder / "responses.jsonl"
        write_text(path, f"{identity} {self.weights[identity]}\n")
        self.machine.moment()
        return Responses(path=path, sha256=file_sha256(path))

    def score(self, work: GenerationWork, responses: Responses, account: Account) -> Sequence[MetricRow]:
        self.machine.moment()
        self.scored.append(work.generation.identity)
        self.machine.works(account, 1.0)
        return [
            MetricRow(metric=f"{score}.accuracy", language=language, value=self.metric(score, work.generation))
            for score in work.suite.scores
            for language in work.generation.languages
        ]


def context_of(study: Study, folder: Path, *, rows: Mapping[str, str] | None = None) -> Context:
    """A context whose data and base are only names; `rows` gives some data other content."""
    arms = resolve_arms(study)
    keys = {
        data_key(stage, study, seed=arm.seed, template=arm.template): stage
        for arm in arms.values()
        for stage in arm.stages.values()
    }
    data = {key: f"{_contents(stage, rows or {})} {stage.data.model_dump_json()}" for key, stage in keys.items()}
    return Context(
        study=study,
        arms=arms,
        known=Known(bases={arm.base: f"weights of {arm.base}" for arm in arms.values()}, data=data),
        folder=StudyFolder(path=folder),
        mixes={key: Mix(path=folder / "mix", sha256=value) for key, value in data.items()},
        bases={arm.base: Path(arm.base) for arm in arms.values()},
        not_run={},
    )


def _contents(stage: Stage, rows: Mapping[str, str]) -> str:
    return "+".join(f"{name}:{rows.get(name, 'v1')}" for name in stage.data.names())


def random_costs(study: Study, seed: int, *, hangs: float) -> tuple[Callable[[str], float], Callable[[str], float]]:
    """Real costs of trainings and of generations: a third to four times the mean estimate; some hang."""
    graph = build_graph(study, resolve_arms(study), Known(), {})
    estimates = estimate(study, graph, Speeds())

    def costs(identities: Collection[str]) -> Callable[[str], float]:
        mean = statistics.fmean(estimates[identity].seconds for identity in identities)

        def cost(identity: str) -> float:
            draw = random.Random(f"{seed} {identity}")
            return math.inf if draw.random() < hangs else mean * draw.uniform(1 / 3, 4)

        return cost

    return costs(graph.trainings), costs(graph.generations)
