"""The rehearsal: what start-up, a step, an evaluation and a save cost here, measured before the clock starts.

    measured = rehearse(job)
    measured.minimum_s()

It evaluates the real validation file on the base alone, trains two steps on the hardest batches of the run with the
real recipe, then some as they come, evaluates again, saves, reads the checkpoint back, loads it onto a fresh base and
lets that generate a token. Its time is not charged and nothing of it is kept for the run but these figures.

Where it sits: recipe + mix -> **rehearsal** -> run.
"""

import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from core.files import naming, read_as, write_json
from core.run_folder import PLAN
from core.stage import SCRATCH, Stage, Summary, locked
from harness.axolotl_document import RunSettings, write_config
from harness.axolotl_process import Launcher, axolotl_environment, failure, start_axolotl
from harness.base_model import check_embeddings, load_tokenizer
from harness.budget.clock import uptime
from harness.budget.duration import CLOSING_MARGIN, pretty
from harness.budget.few_steps import few_steps_warning
from harness.budget.flops import estimated_tokens_per_s
from harness.budget.gpu_profile import GpuProfile
from harness.budget.memory import ModelShape, memory_reductions
from harness.budget.schedule import Segment, write_segment
from harness.checkpoint.seal import Checkpoint, checkpoint_folders, inspect
from harness.dataset import check_window
from harness.doctor.card import check_gpu, check_torch, find_gpu
from harness.drive import Ended, Ending, drive
from harness.errors import ConfigError, DataError, MemoryFullError, TrainError
from harness.inside.events import (
    BaseLoss,
    CheckpointTest,
    Event,
    EventReader,
    Isolation,
    Kernels,
    NotFinite,
    PluginRegistered,
    TrainBegin,
    TrainEnd,
)
from harness.job import TrainJob
from harness.pack import PackPlan
from harness.recipe import AxolotlConfig, has_flash_attn

REHEARSAL = "rehearsal.json"

WORST_STEPS, TYPICAL_STEPS = 2, 6
"""The worst ones tell the memory that is needed and warm up; the others, fewer if they are slow, the speed."""

REHEARSAL_LIMIT_S = 3_600.0
"""After that a rehearsal is given up."""

MAX_LOGIT_SHIFT = 0.05
"""By how much of their deviation logits may move with what stands before their sample: the noise of half precision."""

NUM_VERIFIED = 2
"""Checkpoints whose hashes the pick has time for: the best one's and, if that is damaged, the next."""

PICKER_SLOWDOWN = 2.0
"""By how much a pass over the validation rows may take longer in the picker than in the trainer, which packs them."""

CHILD_EXIT_S = 1.0
"""For the child to end after its last save, and for us to see it."""

MAX_PLANNED_ROWS = 30_000_000
"""Rows, each counted once an epoch: the plan of a run holds them all, in a few GB and minutes."""

OnEvent = Callable[[Event], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """Measured costs. Seconds."""

    prepare_s: float
    """Finding the tokenised table and planning every batch of it, as the run does on its clock."""
    load_s: float
    """From the start of the process to the first step; the whole table is read, as in the run."""
    step_s: float
    """The slowest."""
    eval_s: float
    save_s: float
    verify_s: float
    """Hashing one checkpoint: what the picker does to each."""
    peak_memory_gib: float | None
    """Reserved on the card; None on a CPU."""
    wall_s: float
    checkpoint_bytes: int = 0
    """Of one: the disk must hold all that are kept."""
    mean_step_s: float = 0.0
    """Of rows as they come, warmed up; 0: not measured."""
    usual_eval_s: float = 0.0
    """Of an evaluation that finds everything warm; 0: not measured."""
    base_loss: float | None = None
    """Validation loss of the base without an adapter; None: not measured."""
    kernels: Mapping[str, Sequence[str]] | None = None
    """What ran in a step's forward pass. See harness/kernels.py."""
    peak_by_phase_gib: Mapping[str, float] | None = None
    """Allocated on the card at most, in `load`, `step`, `evaluation` and `save`."""
    few_steps: str = ""
    """What a person should know of a run that is over after a few. See harness/few_steps.py."""

    @property
    def typical_step_s(self) -> float:
        """What a plan reckons with."""
        return self.mean_step_s or self.step_s

    @property
    def usual_closing_s(self) -> float:
        """An evaluation and save in the course of a run."""
        return (self.usual_eval_s or self.eval_s) + self.save_s

    @classmethod
    def unmeasured(cls, recipe: AxolotlConfig, card: GpuProfile) -> "Rehearsal":
        """Guesses, for a run that is not rehearsed: the trainer learns what things cost as it goes."""
        tokens = recipe.sequence_len * recipe.micro_batch_size * recipe.gradient_accumulation_steps
        speed = estimated_tokens_per_s(card, recipe)
        step_s = tokens / speed if speed else 1.0
        return cls(
            prepare_s=5.0, load_s=180.0 if card.is_gpu else 20.0, step_s=step_s, eval_s=0.0, save_s=0.0, verify_s=0.0,
            peak_memory_gib=None, wall_s=0.0,
        )  # fmt: skip

    def pick_reserve_s(self, average: int = 0) -> float:
        """Kept free for the picker; and, to try an average, for loading the model and measuring three adapters."""
        tries = CLOSING_MARGIN * (self.load_s + PICKER_SLOWDOWN * 3 * self.eval_s) if average > 1 else 0.0
        return 0.5 + CLOSING_MARGIN * self.verify_s * NUM_VERIFIED + tries

    def minimum_s(self, average: int = 0) -> float:
        """The shortest budget that ends with a verified checkpoint: data, start, one step, evaluation, save, pick."""
        start = CLOSING_MARGIN * (self.load_s + self.prepare_s)
        closing = CLOSING_MARGIN * (self.eval_s + self.save_s)
        picking = self.pick_reserve_s(average)
        return math.ceil(start + 2 * self.step_s + 2 * closing + picking + CHILD_EXIT_S)

    def describe(self) -> str:
        """The figures, for a person."""
        return (
            f"data {pretty(self.prepare_s)}, start {pretty(self.load_s)}, step {self.typical_step_s:.3f} s (slowest "
            f"{self.step_s:.3f}), evaluation {self.eval_s:.2f} s, save {self.save_s:.2f} s"
        )


def rehearse(job: TrainJob, *, launch: Launcher = start_axolotl, on_event: OnEvent = lambda event: None) -> Rehearsal:
    """Measures, or returns what the same job measured before.

    Raises:
        DataError: the mix cannot be trained on.
        TrainError: Axolotl does not train with this recipe here.
    """
    with locked(job.run):
        stage = Stage(job.run / PLAN, inputs=job.inputs(), redo=job.redo)
        if stage.is_done:
            return read_as(Rehearsal, stage.path(REHEARSAL))
        _check_flash_attn(job.recipe)
        check_gpu(job.card, find_gpu() if job.card.is_gpu else None, shared=job.shared_card)
        check_torch(job.card)
        return _measure(job, stage, launch, on_event)


def _measure(job: TrainJob, stage: Stage, launch: Launcher, on_event: OnEvent) -> Rehearsal:
    started = uptime()
    work = stage.path(SCRATCH)
    shutil.rmtree(work, ignore_errors=True)
    settings, prepare_s, note = _settings(job, work)
    write_config(work / "axolotl.yml", job.recipe, settings, job.card)
    reader, log = EventReader(settings.events), work / "axolotl.log"
    spawned = uptime()
    child = launch(work / "axolotl.yml", log, axolotl_environment(job.card, device=job.device))
    ending = drive(
        child,
        reader,
        until=settings.deadline,
        silence_s=lambda seen: REHEARSAL_LIMIT_S,
        on_event=on_event,
        ends_with=CheckpointTest,
    )
    if ending.how is not Ended.BY_ITSELF:
        error = failure(log, ending.exit_code, alive=PluginRegistered in ending.seen)
        raise MemoryFullError(_what_would_fit(job, error)) if "out of memory" in str(error).lower() else error
    seen = ending.seen
    base_loss = _base_loss(seen.last(BaseLoss), job.base)
    _check_isolation(seen.last(Isolation), job.recipe)
    _check_finite(seen.last(NotFinite), job.recipe)
    _check_proof(ending, log, job.base)
    checkpoint = checkpoint_folders(settings.output_dir)
    if not checkpoint:
        raise TrainError(f"{log}: the rehearsal saved no checkpoint. See the log.")
    before = uptime()
    whole = inspect(checkpoint[0])
    if not isinstance(whole, Checkpoint):
        raise TrainError(f"{checkpoint[0]}: {whole}. The disk does not keep what is written to it; see {log}.")
    verify_s = round(uptime() - before, 4)
    checkpoint_bytes = _check_disk(job, checkpoint[0])
    begun, measured, kernels = seen.last(TrainBegin), seen.last(TrainEnd), seen.last(Kernels)
    assert begun is not None, "a child that ended by itself has begun"
    assert measured is not None, "and it has said so"
    rehearsal = Rehearsal(
        prepare_s=round(prepare_s, 3),
        load_s=round(begun.up - spawned, 3),
        step_s=measured.step_s,
        eval_s=measured.eval_s,
        save_s=measured.save_s,
        verify_s=verify_s,
        peak_memory_gib=measured.peak_memory_gib,
        wall_s=round(uptime() - started, 3),
        checkpoint_bytes=checkpoint_bytes,
        mean_step_s=measured.mean_step_s,
        usual_eval_s=measured.usual_eval_s,
        base_loss=base_loss,
        few_steps=note,
        kernels=kernels.paths if kernels else None,
        peak_by_phase_gib=measured.peak_by_phase_gib,
    )
    with naming(stage.path("axolotl.log")):
        shutil.copy(log, stage.path("axolotl.log"))
    shutil.rmtree(work)
    write_json(stage.path(REHEARSAL), asdict(rehearsal))
    stage.finish(Summary(details=asdict(rehearsal)))
    return rehearsal


def pack_plan(recipe: AxolotlConfig, lengths: Sequence[int], *, epochs: float) -> PackPlan:
    """The recipe's micro-batches.

    Raises:
        ConfigError: more passes over the rows than can be planned.
    """
    if epochs * len(lengths) > MAX_PLANNED_ROWS:
        raise ConfigError(
            f"num_epochs {epochs:g} of {len(lengths):,} rows exceed {MAX_PLANNED_ROWS:,} rows, the most that can be "
            f"planned. Lower num_epochs to {MAX_PLANNED_ROWS // len(lengths)} or less: the budget ends the run, not the number of epochs."
        )
    return PackPlan.make(
        lengths,
        capacity=recipe.sequence_len,
        bins_per_batch=recipe.micro_batch_size,
        epochs=epochs,
        seed=recipe.seed,
        packed=recipe.sample_packing,
    )


def _check_flash_attn(recipe: AxolotlConfig) -> None:
    if recipe.attn_implementation == "flash_attention_2" and not has_flash_attn():
        raise ConfigError(
            "attn_implementation flash_attention_2: the flash-attn package is not installed. Install it (pip install "
            "flash-attn --no-build-isolation), or take auto or sdpa: torch's own kernel computes the same."
        )


def _what_would_fit(job: TrainJob, error: TrainError) -> str:
    """The trainer's words, and the settings that need less."""
    less = memory_reductions(job.recipe, ModelShape.of(job.base), job.card)
    said = str(error).split(" Lower micro_batch_size")[0].rstrip(".") + "."
    if not less:
        return f"{said} No smaller setting is known: take a card with more memory."
    return f"{said} Computed to need less: {'; or '.join(str(s) for s in less[:3])}. `auto_fit=true` takes the first."


def _check_disk(job: TrainJob, checkpoint: Path) -> int:
    """Refuses a disk without room for all checkpoints that are kept, and the one being written; returns one's bytes."""
    size = sum(path.stat().st_size for path in checkpoint.iterdir())
    need, free = size * (job.recipe.save_total_limit + 1), shutil.disk_usage(job.run).free
    if need > free:
        raise TrainError(
            f"{job.run}: {job.recipe.save_total_limit} checkpoints of {size / 2**30:.2f} GiB and one in the making do "
            f"not fit on the disk ({free / 2**30:.1f} GiB free). Free some, or lower save_total_limit."
        )
    return size


def rehearsed_base_loss(run: Path) -> float | None:
    """The base's validation loss as a run's rehearsal measured it; None if it did not."""
    path = run / PLAN / REHEARSAL
    return read_as(Rehearsal, path).base_loss if path.is_file() else None


def _base_loss(found: BaseLoss | None, base: Path) -> float | None:
    """The base's own validation loss; None from a trainer that does not measure it.

    Raises:
        DataError: it is not finite, so that nothing can be trained on it.
    """
    if found is None:
        return None
    loss = found.validation_loss
    if not math.isfinite(loss):
        raise DataError(
            f"{base}: its validation loss is {loss}: its weights hold numbers that are not finite, or they overflow in "
            "this precision. Fetch the model again, or take another one."
        )
    return loss


def _check_finite(found: NotFinite | None, recipe: AxolotlConfig) -> None:
    """Refuses a recipe whose first steps already lead to a loss that is not finite."""
    if found is not None:
        raise TrainError(
            f"the loss was {found.loss} after {found.step} steps of the rehearsal. "
            f"Lower learning_rate, which is {recipe.learning_rate:g}, or give it a longer warm-up."
        )


def _check_proof(ending: Ending, log: Path, base: Path) -> None:
    """Refuses a run whose checkpoint could not be loaded onto the base, or made it generate nothing."""
    proof = ending.seen.last(CheckpointTest)
    if proof is None and ending.exit_code != 0:
        raise failure(log, ending.exit_code, alive=True)
    if proof is not None and proof.failed:
        raise TrainError(
            f"{base}: what the rehearsal saved cannot be used on it ({proof.failed[:300].rstrip('.')}). Nothing was "
            "trained yet: mend the base or the recipe first."
        )


def _check_isolation(found: Isolation | None, recipe: AxolotlConfig) -> None:
    """Refuses a recipe whose packed samples see each other."""
    if found and not found.moved <= MAX_LOGIT_SHIFT * found.spread:
        raise TrainError(
            f"attn_implementation {recipe.attn_implementation} lets packed samples see each other here (logits of "
            f"deviation {found.spread:.2f} move by {found.moved:.2f}). Use sdpa, or sample_packing: false."
        )


def _settings(job: TrainJob, work: Path) -> tuple[RunSettings, float, str]:
    """The job on a few of its batches, with the whole validation file; the time that data took; a note on the run."""
    check_embeddings(job.base, load_tokenizer(job.base))
    job.dataset()  # tokenises the mix, unless an earlier command has: not a cost of the run, which finds it
    started = uptime()
    dataset = job.dataset()
    lengths = dataset.lengths()
    recipe = job.recipe
    whole = pack_plan(recipe, lengths, epochs=recipe.num_epochs)
    prepare_s = uptime() - started
    check_window(dataset, job.base, recipe.overrides_of_model_config)
    packs = whole.rehearsal(
        lengths,
        worst=WORST_STEPS * recipe.gradient_accumulation_steps,
        typical=TYPICAL_STEPS * recipe.gradient_accumulation_steps,
        seed=recipe.seed,
    )
    work.mkdir(parents=True)
    packs.write(work / "packs.jsonl")
    num_steps = packs.num_steps(recipe.gradient_accumulation_steps)
    write_segment(work / "plan.jsonl", Segment(step=0, progress=0.0, horizon=num_steps, reason="rehearsal"))
    settings = RunSettings(
        base_model=job.base.resolve(),
        train_file=dataset.train.path.resolve(),
        validation_file=dataset.validation.path.resolve(),
        output_dir=(work / "output").resolve(),
        events=(work / "metrics.jsonl").resolve(),
        plan=(work / "plan.jsonl").resolve(),
        packs=(work / "packs.jsonl").resolve(),
        batches=(work / "batches.jsonl").resolve(),
        num_steps=num_steps,
        deadline=uptime() + REHEARSAL_LIMIT_S,
        rehearsal=True,
    )
    note = few_steps_warning(recipe, lengths, whole.num_steps(recipe.gradient_accumulation_steps))
    return settings, prepare_s, note
