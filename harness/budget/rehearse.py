"""The rehearsal measures the costs of start-up, a step, an evaluation and a save before the run's clock starts.

    measured = rehearse(job)
    measured.minimum_s()

It evaluates the base alone on the real validation file, trains two steps on the hardest batches of the run with the
real recipe and some steps on other batches, evaluates again, saves, reads the checkpoint back, loads it onto a new copy
of the base and generates a token. Its time is not charged, and only these figures are kept for the run.

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
from harness.axolotl_process import Launcher, axolotl_environment, error_from_log, start_axolotl
from harness.base_model import check_attention, check_embeddings, check_special_tokens, load_tokenizer
from harness.budget.clock import uptime
from harness.budget.duration import CLOSING_MARGIN, pretty
from harness.budget.few_steps import few_steps_warning
from harness.budget.flops import estimated_tokens_per_s
from harness.budget.gpu_profile import GpuProfile
from harness.budget.memory import ModelShape, memory_reductions
from harness.budget.schedule import Segment, write_segment
from harness.checkpoint.averaging import NO_AVERAGES, Averaging
from harness.checkpoint.seal import Checkpoint, checkpoint_folders, inspect
from harness.data.dataset import check_window
from harness.data.pack import PackPlan
from harness.doctor.card import check_gpu, check_torch, find_gpu
from harness.drive import ChildExit, ExitReason, drive
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
from harness.recipe import AxolotlConfig, has_flash_attn, with_attention

REHEARSAL = "rehearsal.json"

WORST_STEPS, TYPICAL_STEPS = 2, 6
"""Steps on the hardest batches, which measure the peak memory and warm up, and steps on other batches, which measure
the speed. Fewer of the latter run if they are slow."""

REHEARSAL_LIMIT_S = 3_600.0
"""Time after which a rehearsal is stopped."""

MAX_LOGIT_SHIFT = 0.05
"""Largest allowed change of a sample's logits when its packed neighbour changes, in standard deviations of the logits.
It covers the noise of half precision."""

NUM_VERIFIED = 2
"""Number of checkpoints whose hashes the pick has time to verify: the best and, if it is damaged, the next."""

PICKER_SLOWDOWN = 2.0
"""Assumed ratio of the picker's time for the validation rows to the trainer's, which packs them."""

CHILD_EXIT_S = 1.0
"""Time for the trainer's process to exit after its last save, and for the supervisor to notice."""

MAX_PLANNED_ROWS = 30_000_000
"""Rows times epochs. The batch order of a run holds all of them, which takes a few GB and minutes at this limit."""

OnEvent = Callable[[Event], None]
PriceFinalModel = Callable[[Path], float]
"""Writes the final model of a checkpoint, and returns the seconds it took."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """The measured costs. Times are in seconds."""

    prepare_s: float
    """Finding the tokenised table and planning all of its batches, which the run does on its clock."""
    load_s: float
    """From the start of the process to the first step. The whole table is read, as in the run."""
    step_s: float
    """The slowest step."""
    eval_s: float
    save_s: float
    verify_s: float
    """Hashing one checkpoint, as the picker does for each."""
    peak_memory_gib: float | None
    """Peak of the memory reserved on the card; None on a CPU."""
    wall_s: float
    checkpoint_bytes: int = 0
    """Size of one checkpoint. The disk must hold all that are kept."""
    mean_step_s: float = 0.0
    """Mean of the warmed-up steps on ordinary batches; 0 if not measured."""
    usual_eval_s: float = 0.0
    """A warmed-up evaluation; 0 if not measured."""
    base_loss: float | None = None
    """Validation loss of the base without an adapter; None if not measured."""
    kernels: Mapping[str, Sequence[str]] | None = None
    """The kernels that ran in a step's forward pass. See harness/inside/kernels.py."""
    peak_by_phase_gib: Mapping[str, float] | None = None
    """Peak of the memory allocated on the card in `load`, `step`, `evaluation` and `save`."""
    final_model_s: float = 0.0
    """Writing the whole weights after the pick; 0 if the run does not."""
    few_steps: str = ""
    """A warning if the run has few steps, else empty. See harness/budget/few_steps.py."""

    @property
    def typical_step_s(self) -> float:
        """The step time that plans use."""
        return self.mean_step_s or self.step_s

    @property
    def usual_closing_s(self) -> float:
        """Usual seconds of an evaluation and a save."""
        return (self.usual_eval_s or self.eval_s) + self.save_s

    @classmethod
    def unmeasured(cls, recipe: AxolotlConfig, card: GpuProfile) -> "Rehearsal":
        """Assumed costs of a run without a rehearsal. The trainer measures the real ones during the run."""
        tokens = recipe.sequence_len * recipe.micro_batch_size * recipe.gradient_accumulation_steps
        speed = estimated_tokens_per_s(card, recipe)
        step_s = tokens / speed if speed else 1.0
        return cls(
            prepare_s=5.0, load_s=180.0 if card.is_gpu else 20.0, step_s=step_s, eval_s=0.0, save_s=0.0, verify_s=0.0,
            peak_memory_gib=None, wall_s=0.0,
        )  # fmt: skip

    def pick_reserve_s(self, averaging: Averaging = NO_AVERAGES) -> float:
        """Seconds to keep free for the picker and the final model.

        Trying averages adds loading the model, and measuring the loss of the base and the best checkpoint; each average
        adds reading its checkpoints, writing their mean, and measuring its loss.
        """
        trials = averaging.num_trials
        files_s = trials * (averaging.num + 1) * self.save_s  # a save writes more than is read here
        average_s = files_s + self.load_s + PICKER_SLOWDOWN * (2 + trials) * self.eval_s
        average_s = CLOSING_MARGIN * average_s if trials else 0.0
        return 0.5 + CLOSING_MARGIN * self.verify_s * NUM_VERIFIED + average_s + self.final_model_reserve_s

    @property
    def final_model_reserve_s(self) -> float:
        """Seconds to keep free for the final model."""
        return CLOSING_MARGIN * self.final_model_s

    def minimum_s(self, averaging: Averaging = NO_AVERAGES) -> float:
        """The shortest budget that ends with a verified checkpoint, with safety margins."""
        start_s = CLOSING_MARGIN * (self.load_s + self.prepare_s)
        closing_s = CLOSING_MARGIN * (self.eval_s + self.save_s)
        return math.ceil(start_s + 2 * self.step_s + 2 * closing_s + self.pick_reserve_s(averaging) + CHILD_EXIT_S)

    def describe(self) -> str:
        """The costs in one line."""
        return (
            f"data {pretty(self.prepare_s)}, start {pretty(self.load_s)}, step {self.typical_step_s:.3f} s (slowest "
            f"{self.step_s:.3f}), evaluation {self.eval_s:.2f} s, save {self.save_s:.2f} s"
            f"{f', final model {pretty(self.final_model_s)}' if self.final_model_s else ''}"
        )


def rehearse(
    job: TrainJob,
    *,
    launch: Launcher = start_axolotl,
    on_event: OnEvent = lambda event: None,
    price_final_model: PriceFinalModel | None = None,
) -> Rehearsal:
    """Measures the costs of a job, or returns those that an earlier rehearsal of the same job measured.

    Args:
        price_final_model: Called with the saved checkpoint, for a job that writes a final model.
    Raises:
        DataError: The mix cannot be trained on.
        TrainError: Axolotl does not train with this recipe on this machine.
    """
    with locked(job.run):
        stage = Stage(job.run / PLAN, inputs=job.inputs(), redo=job.redo)
        if stage.is_done:
            return read_as(Rehearsal, stage.path(REHEARSAL))
        _check_flash_attn(job.recipe)
        check_gpu(job.card, find_gpu() if job.card.is_gpu else None, shared=job.shared_card)
        check_torch(job.card)
        return _measure(job, stage, launch, on_event, price_final_model)


def _measure(
    job: TrainJob, stage: Stage, launch: Launcher, on_event: OnEvent, price_final_model: PriceFinalModel | None
) -> Rehearsal:
    started = uptime()
    work = stage.path(SCRATCH)
    shutil.rmtree(work, ignore_errors=True)
    settings, prepare_s, warning = _settings(job, work)
    at_the_end = job.recipe.model_copy(update={"eval_steps": settings.num_steps})  # once, besides that of the base
    write_config(work / "axolotl.yml", at_the_end, settings, job.card)
    reader, log = EventReader(settings.events), work / "axolotl.log"
    spawned = uptime()
    child = launch(work / "axolotl.yml", log, axolotl_environment(job.card, device=job.device))
    child_exit = drive(
        child,
        reader,
        until=settings.deadline,
        max_silence_s=lambda events: REHEARSAL_LIMIT_S,
        on_event=on_event,
        ends_with=CheckpointTest,
    )
    if child_exit.reason is not ExitReason.BY_ITSELF:
        error = error_from_log(log, child_exit.exit_code, plugin_registered=PluginRegistered in child_exit.events)
        raise MemoryFullError(_memory_message(job, error)) if "out of memory" in str(error).lower() else error
    events = child_exit.events
    base_loss = _base_loss(events.get(BaseLoss), job.base)
    _check_isolation(events.get(Isolation), job.recipe)
    _check_finite(events.get(NotFinite), job.recipe)
    _check_proof(child_exit, log, job.base)
    checkpoint = checkpoint_folders(settings.output_dir)
    if not checkpoint:
        raise TrainError(f"{log}: the rehearsal saved no checkpoint. See the log.")
    verify_started = uptime()
    inspected = inspect(checkpoint[0])
    if not isinstance(inspected, Checkpoint):
        raise TrainError(f"{checkpoint[0]}: {inspected}. The disk does not keep what is written to it; see {log}.")
    verify_s = round(uptime() - verify_started, 4)
    checkpoint_bytes = _check_disk(job, checkpoint[0])
    final_model_s = price_final_model(checkpoint[0]) if price_final_model and job.writes_final_model else 0.0
    begun, measured, kernels = events.get(TrainBegin), events.get(TrainEnd), events.get(Kernels)
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
        final_model_s=round(final_model_s, 3),
        mean_step_s=measured.mean_step_s,
        usual_eval_s=measured.usual_eval_s,
        base_loss=base_loss,
        few_steps=warning,
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
    """The batch order of a recipe for rows of these lengths. A recipe's `max_steps` count instead of the epochs.

    Raises:
        ConfigError: Rows times epochs exceed `MAX_PLANNED_ROWS`.
    """
    if recipe.max_steps is None:
        return _pack_plan(recipe, lengths, epochs)
    num_batches = recipe.max_steps * recipe.gradient_accumulation_steps
    in_first = len(_pack_plan(recipe, lengths, min(1.0, MAX_PLANNED_ROWS / len(lengths))).micro_batches)
    return _pack_plan(recipe, lengths, math.ceil(num_batches / in_first) + 1).first(num_batches)


def planned(recipe: AxolotlConfig, packs: PackPlan) -> AxolotlConfig:
    """The recipe with the steps between evaluations that a batch order implies."""
    accumulation = recipe.gradient_accumulation_steps
    return recipe.planned(packs.steps_per_epoch(accumulation), packs.num_steps(accumulation))


def _pack_plan(recipe: AxolotlConfig, lengths: Sequence[int], epochs: float) -> PackPlan:
    if epochs * len(lengths) > MAX_PLANNED_ROWS:
        raise ConfigError(
            f"num_epochs {epochs:g} of {len(lengths):,} rows exceed {MAX_PLANNED_ROWS:,} rows, the most that can be "
            f"planned. Lower num_epochs to {MAX_PLANNED_ROWS // len(lengths)} or less: the budget ends such a run."
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
            "flash-attn --no-build-isolation), or set auto or sdpa: torch's own kernel computes the same."
        )


def _memory_message(job: TrainJob, error: TrainError) -> str:
    """The trainer's message, followed by settings that need less memory."""
    reductions = memory_reductions(job.recipe, ModelShape.of(job.base), job.card)
    message = str(error).split(" Lower micro_batch_size")[0].rstrip(".") + "."
    if not reductions:
        return f"{message} No smaller setting is known: use a card with more memory."
    settings = "; or ".join(str(reduction) for reduction in reductions[:3])
    return f"{message} These settings are computed to need less: {settings}. `auto_fit=true` applies the first."


def _check_disk(job: TrainJob, checkpoint: Path) -> int:
    """Returns a checkpoint's size in bytes.

    Raises:
        TrainError: The disk has no room for all checkpoints that are kept and the one that is being written.
    """
    size = sum(path.stat().st_size for path in checkpoint.iterdir())
    needed, free = size * (job.recipe.save_total_limit + 1), shutil.disk_usage(job.run).free
    if needed > free:
        raise TrainError(
            f"{job.run}: {job.recipe.save_total_limit} checkpoints of {size / 2**30:.2f} GiB and the one that is being "
            f"written do not fit on the disk ({free / 2**30:.1f} GiB free). Free some space, or lower save_total_limit."
        )
    return size


def rehearsed_base_loss(run: Path) -> float | None:
    """The base's validation loss from a run's rehearsal; None if it was not measured."""
    path = run / PLAN / REHEARSAL
    return read_as(Rehearsal, path).base_loss if path.is_file() else None


def _base_loss(event: BaseLoss | None, base: Path) -> float | None:
    """The base's validation loss; None if the trainer did not measure it.

    Raises:
        DataError: The loss is not finite, so the base cannot be trained.
    """
    if event is None:
        return None
    loss = event.validation_loss
    if not math.isfinite(loss):
        raise DataError(
            f"{base}: its validation loss is {loss}: its weights hold numbers that are not finite, or they overflow in "
            "this precision. Fetch the model again, or use another one."
        )
    return loss


def _check_finite(event: NotFinite | None, recipe: AxolotlConfig) -> None:
    """Refuses a recipe whose loss is not finite after the first steps."""
    if event is not None:
        raise TrainError(
            f"the loss was {event.loss} after {event.step} steps of the rehearsal. "
            f"Lower learning_rate, which is {recipe.learning_rate:g}, or raise warmup_steps."
        )


def _check_proof(child_exit: ChildExit, log: Path, base: Path) -> None:
    """Refuses a run whose checkpoint could not be loaded onto the base, or made it generate nothing."""
    proof = child_exit.events.get(CheckpointTest)
    if proof is None and child_exit.exit_code != 0:
        raise error_from_log(log, child_exit.exit_code, plugin_registered=True)
    if proof is not None and proof.failed:
        raise TrainError(
            f"{base}: the rehearsal's checkpoint cannot be used with this base ({proof.failed[:300].rstrip('.')}). The "
            "run was not started: correct the base or the recipe first."
        )


def _check_isolation(event: Isolation | None, recipe: AxolotlConfig) -> None:
    """Refuses a recipe whose packed samples attend to each other."""
    if event and not event.moved <= MAX_LOGIT_SHIFT * event.spread:
        raise TrainError(
            f"attn_implementation {recipe.attn_implementation} lets packed samples attend to each other (logits with "
            f"standard deviation {event.spread:.2f} change by {event.moved:.2f}). Use sdpa, or sample_packing: false."
        )


def _settings(job: TrainJob, work: Path) -> tuple[RunSettings, float, str]:
    """The settings for a few of the job's batches, the seconds for the data, and a warning if the run has few steps."""
    tokenizer = load_tokenizer(job.base)
    check_attention(job.base, with_attention(job.recipe, job.card, job.base).attn_implementation)
    check_embeddings(job.base, tokenizer)
    check_special_tokens(job.base, tokenizer, job.recipe.further.get("special_tokens") or {})
    job.dataset()  # tokenises the mix if no earlier command did; the run then finds the table, so this is not timed
    started = uptime()
    dataset = job.dataset()
    lengths = dataset.lengths()
    recipe = job.recipe
    all_packs = pack_plan(recipe, lengths, epochs=recipe.num_epochs)
    prepare_s = uptime() - started
    check_window(dataset, job.base, recipe.overrides_of_model_config)
    packs = all_packs.rehearsal(
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
    warning = few_steps_warning(recipe, lengths, all_packs.num_steps(recipe.gradient_accumulation_steps))
    return settings, prepare_s, warning
