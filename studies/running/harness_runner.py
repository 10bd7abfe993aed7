"""Trains with the harness: the machinery of `oneday train`, under an account of the study.

    runner = HarnessRunner(card=choice.card, folder=Path("runs/small"))
    runner.refusal(training)              # "kind dpo: ..." where the harness cannot train it

The declared length becomes a plan that the trainer follows, so that the learning rate ends where the length does and
not where the share of the budget ends.

Where it sits: the loop calls it; it calls the harness.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from core.encoding.long_example import LongExamples
from core.errors import OnedayError
from core.files import make_folder
from core.run_folder import PICK, TABLE
from harness.axolotl_process import Launcher, start_axolotl
from harness.budget.gpu_profile import GpuProfile
from harness.budget.rehearse import Rehearsal, pack_plan, rehearse
from harness.budget.schedule import Segment, read_segments, write_segment
from harness.checkpoint.pick import ADAPTER
from harness.job import TrainJob
from harness.recipe import AxolotlConfig, check_card, with_attention
from harness.run import train
from harness.supervise import OnEvent
from studies.document import validated
from studies.estimate import Measured, speed_key
from studies.graph import Training
from studies.identity import digest
from studies.running.folder import SHORT, weights_sha256
from studies.running.runner import Trained, TrainingWork, Weights
from studies.stage import Kind, Stage

PLAN, REHEARSALS = "declared_length.jsonl", "rehearsals"

NO_BUDGET_S = 1.0
"""Stands in a job whose account holds the real budget."""

_SAME = (
    "lora_r", "lora_alpha", "lora_dropout", "learning_rate", "lr_scheduler", "micro_batch_size",
    "gradient_accumulation_steps", "sequence_len", "sample_packing", "optimizer", "weight_decay", "max_grad_norm",
    "neftune_noise_alpha", "gradient_checkpointing", "eval_steps",
)  # fmt: skip
"""Keys of a stage that a recipe has under the same name."""


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
        stage = training.stage
        if stage.kind not in (Kind.SFT, Kind.FEEDBACK):
            return f"kind {stage.kind}: the harness trains kind sft alone so far"
        if stage.weights == "full":
            return "weights full: the harness trains lora and qlora alone so far"
        if training.parent is not None:
            return "it has a parent: the harness starts from a base alone so far"
        if (stage.adam_beta1, stage.adam_beta2) != (0.9, 0.999):
            return "adam_beta1 and adam_beta2: the harness trains with 0.9 and 0.999 alone so far"
        try:
            check_card(recipe_of(stage, seed=training.seed), self.card)
        except OnedayError as e:
            return str(e)
        return ""

    def prepare(self, training: Training, *, base: Path, mix: Path, tokens: int) -> Measured | None:
        """Rehearses one training of a kind, before the clock starts; or reads what an earlier call measured.

        Raises:
            OnedayError: Axolotl does not train with these settings here.
        """
        key = speed_key(training)
        job, steps = self._job(training, base, mix, self.folder / REHEARSALS / digest(key)[:SHORT])
        found = rehearse(replace(job, redo=True), launch=self.launch)
        self._rehearsed[key] = found, mix
        return Measured(
            tokens_per_s=tokens / steps / found.typical_step_s,
            start_s=found.prepare_s + found.load_s + found.eval_s + found.save_s + found.pick_reserve_s(),
            evaluation_s=found.usual_closing_s,
        )

    def train(self, work: TrainingWork) -> Trained:
        """Trains, or goes on with what was interrupted.

        Raises:
            OnedayError: it failed, or its time ended before a checkpoint was whole.
            Interrupted: by a signal; the state is saved.
        """
        assert work.pause_at is None, "a study with halving is refused"
        job, steps = self._job(work.training, work.base, work.mix, work.folder)
        plan = work.folder / PLAN
        if not read_segments(plan):
            write_segment(plan, Segment(step=0, progress=0.0, horizon=steps, reason="declared length"))
        measured, mix = self._rehearsed[speed_key(work.training)]
        result = train(
            replace(job, follow_plan=plan),
            replace(measured, wall_s=0.0, base_loss=measured.base_loss if mix == work.mix else None),
            launch=self.launch,
            on_event=self.on_event,
            ledger=work.account,
        )
        weights = work.folder / PICK / ADAPTER
        return Trained(
            weights=Weights(path=weights, sha256=weights_sha256(weights)),
            step=result.steps,
            of_steps=steps,
            eval_loss=result.picked.validation_loss,
        )

    def race(self, candidates: Mapping[str, TrainingWork]) -> Mapping[str, str]:
        """Never called: it pauses no training."""
        raise AssertionError("a study with halving is refused")

    def _job(self, training: Training, base: Path, mix: Path, run: Path) -> tuple[TrainJob, int]:
        """The job, and its declared length in steps. Tables of rows are shared by all trainings of the study."""
        stage = training.stage
        tables = make_folder(self.folder / TABLE)
        if not (make_folder(run) / TABLE).exists():
            (run / TABLE).symlink_to(tables.absolute(), target_is_directory=True)
        recipe = with_attention(recipe_of(stage, seed=training.seed), self.card, base)
        job = TrainJob(
            run=run,
            mix=mix,
            base=base,
            recipe=recipe,
            card=self.card,
            budget_s=NO_BUDGET_S,
            long_examples=LongExamples(stage.excess_length_strategy),
            device=self.device,
        )
        steps, epochs = _length(recipe, job.dataset().lengths(), stage)
        warmup = stage.warmup_steps if stage.warmup_steps is not None else round(stage.warmup_ratio * steps)
        changes = {"num_epochs": epochs, "warmup_steps": warmup}
        return replace(job, recipe=recipe.model_copy(update=changes)), steps


def _length(recipe: AxolotlConfig, lengths: Sequence[int], stage: Stage) -> tuple[int, float]:
    """(optimizer steps, epochs that hold them) of the declared length."""
    accumulation = recipe.gradient_accumulation_steps
    if stage.num_epochs is not None:
        return max(1, pack_plan(recipe, lengths, epochs=stage.num_epochs).num_steps(accumulation)), stage.num_epochs
    assert stage.max_steps is not None, "a stage has one of both lengths"
    per_pass = pack_plan(recipe, lengths, epochs=1.0).num_steps(accumulation)
    return stage.max_steps, float(math.ceil(stage.max_steps / max(1, per_pass)))


def recipe_of(stage: Stage, *, seed: int) -> AxolotlConfig:
    """A stage as a recipe.

    Raises:
        StudyError: a value that the harness does not take.
    """
    settings = stage.settings()
    keys: dict[str, Any] = {key: settings[key] for key in _SAME if key in settings}
    modules = list(stage.lora_target_modules)
    keys |= {"lora_target_modules": modules} if modules else {"lora_target_linear": True}
    keys |= {
        "adapter": stage.weights,
        "load_in_4bit": stage.weights == "qlora",
        "attn_implementation": "auto",
        "eval_sample_packing": stage.packs,
        "pad_to_sequence_len": stage.packs,
        "num_epochs": stage.num_epochs or 1.0,
        "warmup_steps": stage.warmup_steps or 0,
        "cosine_min_lr_ratio": stage.lr_end,
        "seed": seed,
        **stage.axolotl,
    }
    return validated(AxolotlConfig, keys, stage.name)
