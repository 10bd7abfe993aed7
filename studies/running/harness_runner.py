"""Trains with the harness: the machinery of `oneday train`, under an account of the study.

    runner = HarnessRunner(card=choice.card, folder=Path("runs/small"))
    runner.refusal(training)              # "kind dpo: ..." where the harness cannot train it

The declared length becomes a plan that the trainer follows, so that the learning rate ends where the length does and
not where the share of the budget ends.

Where it sits: the loop calls it; it calls the harness.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from core.encoding.long_example import LongExamples
from core.errors import OnedayError
from core.files import make_folder
from core.run_folder import PICK, TABLE, TRAIN
from core.stage import locked
from harness.axolotl_process import Launcher, start_axolotl
from harness.budget.gpu_profile import GpuProfile
from harness.budget.rehearse import Rehearsal, pack_plan, rehearse
from harness.budget.schedule import Segment, read_segments, write_segment
from harness.checkpoint.pick import ADAPTER, MODEL
from harness.checkpoint.trained_base import quantisation_in_training
from harness.data.dataset import described_dataset
from harness.job import TrainJob
from harness.ledger.account import Account
from harness.parent import Parent
from harness.recipe import check_card, with_attention
from harness.run import PAUSE, train
from harness.supervise import DATA, OnEvent
from studies.errors import StudyError
from studies.estimate import Measured, speed_key
from studies.graph import Training
from studies.identity import digest
from studies.recipe import recipe_of
from studies.running.folder import SHORT, weights_sha256
from studies.running.race import RaceJob, race_within
from studies.running.runner import Trained, TrainingWork, Weights
from studies.stage import Kind

PLAN, REHEARSALS, RACES, MERGED = "declared_length.jsonl", "rehearsals", "races", "merged"

NO_BUDGET_S = 1.0
"""Stands in a job whose account holds the real budget."""


@dataclass(slots=True)
class HarnessRunner:
    """Runs `oneday train`'s own machinery."""

    card: GpuProfile
    folder: Path
    """The study's."""
    device: str = ""
    launch: Launcher = start_axolotl
    on_event: OnEvent = lambda event, left_s: None
    _rehearsed: dict[str, tuple[Rehearsal, Path]] = field(default_factory=dict)
    """`speed_key` -> what was measured, and on which mix."""

    def refusal(self, training: Training) -> str:
        """Why the harness cannot train this; empty: it can."""
        try:
            check_card(recipe_of(training.stage, seed=training.seed), self.card)
        except OnedayError as e:
            return str(e).removeprefix(f"{training.stage.name}: ").rstrip(".")
        return ""

    def race_refusal(self, training: Training) -> str:
        """Why a training cannot be raced against others half-way; empty: it can."""
        if training.stage.kind is Kind.DPO:
            return "kind dpo: the losses of answers alone are compared, and it trains pairs"
        return "weights full: the losses of adapters alone are compared" if training.stage.weights == "full" else ""

    def prepare(self, training: Training, *, base: Path, mix: Path, tokens: int) -> Measured | None:
        """Rehearses one training of a kind, before the clock starts; or takes what was measured before.

        Raises:
            OnedayError: Axolotl does not train with these settings here.
        """
        key = speed_key(training)
        job, steps = self._job(training, base, mix, self.folder / REHEARSALS / digest(key)[:SHORT])
        if key not in self._rehearsed:
            self._rehearsed[key] = rehearse(replace(job, redo=True), launch=self.launch), mix
        found, _ = self._rehearsed[key]
        return Measured(
            tokens_per_s=tokens / steps / found.typical_step_s,
            start_s=found.prepare_s + found.load_s + found.eval_s + found.save_s + found.pick_reserve_s(),
            evaluation_s=found.usual_closing_s,
        )

    def train(self, work: TrainingWork, account: Account) -> Trained:
        """Trains, or goes on with what was interrupted.

        Raises:
            OnedayError: it failed, or its time ended before a checkpoint was whole.
            Interrupted: by a signal; the state is saved.
        """
        parent = Parent.of(run_of(work.parent)) if work.parent else None
        job, steps = self._job(work.training, self._base(parent or work.base, account), work.mix, work.folder)
        plan = work.folder / PLAN
        if not read_segments(plan):
            write_segment(plan, Segment(step=0, progress=0.0, horizon=steps, reason="declared length"))
        measured, mix = self._rehearsed[speed_key(work.training)]
        base_loss = measured.base_loss if mix == work.mix and parent is None else None
        result = train(
            replace(job, parent=parent, follow_plan=plan, pause_at=_pause_at(work, steps)),
            replace(measured, wall_s=0.0, base_loss=base_loss),
            launch=self.launch,
            on_event=self.on_event,
            ledger=account,
        )
        weights = _weights(work)
        return Trained(
            weights=Weights(path=weights, sha256=weights_sha256(weights)),
            step=result.steps,
            of_steps=steps,
            eval_loss=result.picked.validation_loss,
            is_paused=result.stop_reason == PAUSE,
            diverged=result.stop_reason == "not_finite",
        )

    def race(self, candidates: Mapping[str, TrainingWork], account: Account) -> Mapping[str, str]:
        """Which of these paused trainings are clearly worse: name -> why. Nobody, if there is no time to tell."""
        works = list(candidates.values())
        names = {work.training.swept: identity for identity, work in candidates.items()}
        first = works[0]
        training = first.training
        job = RaceJob(
            base=str(self._base(Parent.of(run_of(first.parent)) if first.parent else first.base, account)),
            quantisation=quantisation_in_training(recipe_of(training.stage, seed=training.seed), self.card),
            rows=str(described_dataset(first.folder / TRAIN / DATA).validation.path),
            adapters={work.training.swept: str(_weights(work).resolve()) for work in works},
            seed=training.seed,
            parent=os.getpid(),
        )
        folder = make_folder(self.folder / RACES / digest(sorted(candidates))[:SHORT])
        stopped = race_within(
            folder, job, self.card, device=self.device, deadline=account.deadline, beat=account.beat
        )  # fmt: skip
        return {names[name]: why for name, why in stopped.items()}

    def _base(self, parent: Parent | Path, account: Account) -> Path:
        """The model that a training starts from. All children of a parent share its merged weights.

        Raises:
            StudyError: the share of time ended before the weights were merged.
        """
        if isinstance(parent, Path):
            return parent
        folder = make_folder(self.folder / MERGED / parent.run.name).absolute()

        def check_time(done: int, total: int) -> None:
            account.beat()
            if account.left_s <= 0:
                raise StudyError(f"{folder}: its time ended before the weights of its parent were merged.")

        with locked(folder, patience_s=account.left_s):  # another slot may be merging them
            return parent.write_base(folder, on_progress=check_time)

    def _job(self, training: Training, base: Path, mix: Path, run: Path) -> tuple[TrainJob, int]:
        """The job, and its declared length in steps. Tables of rows are shared by all trainings of the study."""
        tables = make_folder(self.folder / TABLE)
        if not (make_folder(run) / TABLE).exists():
            (run / TABLE).symlink_to(tables.absolute(), target_is_directory=True)
        recipe = with_attention(recipe_of(training.stage, seed=training.seed), self.card, base)
        job = TrainJob(
            run=run,
            mix=mix,
            base=base,
            recipe=recipe,
            card=self.card,
            budget_s=NO_BUDGET_S,
            long_examples=LongExamples(training.stage.excess_length_strategy),
            device=self.device,
        )
        steps = pack_plan(recipe, job.dataset().lengths(), epochs=recipe.num_epochs)
        return job, max(1, steps.num_steps(recipe.gradient_accumulation_steps))


def run_of(weights: Weights) -> Path:
    """The run folder whose picked weights these are."""
    return weights.path.parent.parent


def _pause_at(work: TrainingWork, steps: int) -> int:
    """The step; 0: it does not pause, as a training of one step."""
    return 0 if work.pause_at is None or steps < 2 else max(1, round(work.pause_at * steps))


def _weights(work: TrainingWork) -> Path:
    return work.folder / PICK / (MODEL if work.training.stage.weights == "full" else ADAPTER)
