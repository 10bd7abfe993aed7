"""`oneday train` and `oneday pick`: from options to a job, from events to lines."""

import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from curation.language_model import check_model_folder
from curation.stage import read_json
from harness.axolotl_config import AxolotlConfig, check_card, find_recipe, read_recipe
from harness.axolotl_process import Launcher, start_axolotl
from harness.budget import pretty, seconds
from harness.card import get_card
from harness.dataset import read_mix
from harness.errors import CheckpointError, ConfigError, DataError, MemoryFullError
from harness.ledger import Charging, Ledger, LedgerReport
from harness.memory import ModelShape, smaller
from harness.pick import PICK, Picked
from harness.rehearse import Rehearsal, TrainJob, rehearse
from harness.run import LEDGER, TRAIN, TrainResult, pick_from_run, train
from harness.schedule import check_plan
from oneday.console import Console

ENDINGS = {
    "deadline": "stopped for the deadline",
    "epochs": "all epochs done",
    "plan": "the followed plan ended",
    "killed": "the trainer was too slow to close and was ended at the deadline",
    "signal": "stopped by a signal",
    "not_finite": "stopped at a loss that is not finite; the best checkpoint before it is kept",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainRequest:
    """The options of `oneday train`, as given."""

    mix: Path | None
    config: Path
    card: str
    budget: str
    base: Path | None
    run: Path | None
    clock: str
    follow_plan: Path | None
    dry_run: bool
    redo: bool
    auto_fit: bool = False


def run_train(request: TrainRequest, console: Console, *, launch: Launcher = start_axolotl) -> None:
    """Checks, rehearses, trains, picks."""
    recipe = read_recipe(find_recipe(request.config))
    card = get_card(request.card)
    budget_s = seconds(request.budget)
    check_card(recipe, card)
    if request.dry_run:
        show_dry_run(request, recipe, budget_s, console)
        return
    job = training_job(request, recipe, budget_s)
    result = rehearse_and_train(job, console, launch=launch, auto_fit=request.auto_fit)
    show_training(result, console)
    console.result(
        {
            "run": str(job.run), "steps": result.steps, "because": result.because,
            "tokens_per_s": result.tokens_per_s, "picked": result.picked.checkpoint,
            "validation_loss": result.picked.validation_loss, "charged_s": result.ledger.charged_s,
            "overshoot_s": result.ledger.overshoot_s,
        }
    )  # fmt: skip


def training_job(request: TrainRequest, recipe: AxolotlConfig, budget_s: float) -> TrainJob:
    """The job that the options describe.

    Raises:
        OnedayError: no mix, an empty one, or no base model.
    """
    if request.mix is None:
        raise DataError("--mix is missing. Give the folder that `oneday curate` wrote, for example runs/200k/05_mix.")
    read_mix(request.mix / "train.jsonl")
    read_mix(request.mix / "validation.jsonl")
    if request.follow_plan is not None:
        check_plan(request.follow_plan)
    run = request.run or (request.mix.parent if request.mix.name not in ("", "..") else request.mix.resolve().parent)
    return TrainJob(
        run=run,
        mix=request.mix,
        base=find_base(request.base, request.mix, recipe),
        recipe=recipe,
        card=get_card(request.card),
        budget_s=budget_s,
        redo=request.redo,
        charging=charging_of(request.clock),
        follow_plan=request.follow_plan,
    )


def charging_of(name: str) -> Charging:
    """`--clock`.

    Raises:
        ConfigError: neither strict nor compute.
    """
    if name not in list(Charging):
        raise ConfigError(f"--clock {name[:40]}: unknown. Use strict or compute.")
    return Charging(name)


def run_detached(request: TrainRequest, console: Console) -> None:
    """Checks the options here, then starts the same command in a session of its own."""
    recipe = read_recipe(find_recipe(request.config))
    check_card(recipe, get_card(request.card))
    job = training_job(request, recipe, seconds(request.budget))
    job.run.mkdir(parents=True, exist_ok=True)
    log = job.run / "train.log"
    command = [sys.executable, "-m", "oneday.cli", *(argument for argument in sys.argv[1:] if argument != "--detach")]
    with log.open("ab") as output:
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    console.say(f"training goes on as process {child.pid}; its output: {log}")
    console.say(f"look: oneday ledger {job.run}    stop with everything saved: kill {child.pid}")
    console.result({"pid": child.pid, "log": str(log), "run": str(job.run)})


def run_ledger(run: Path, console: Console) -> None:
    """The day as a table and a bar."""
    report = Ledger.of_run(run / LEDGER).report()
    show_ledger(report, console)
    console.say(bar(report))
    names = ("budget_s", "charged_s", "overshoot_s", "downtime_past_deadline_s", "by_phase", "resumes")
    console.result({name: getattr(report, name) for name in names} | {"not_charged": report.not_charged})


BAR_WIDTH = 60
SIGNS = {"load": "l", "pack": "p", "train": "█", "evaluate": "e", "save": "s", "pick": "k", "idle": "i", "down": "·"}


def bar(report: LedgerReport) -> str:
    """The budget as one line; a phase too short for a sign of its own has none."""
    signs = "".join(
        SIGNS[phase] * round(BAR_WIDTH * spent / report.budget_s) for phase, spent in report.by_phase.items()
    )
    shown = ", ".join(f"{SIGNS[phase]} {phase}" for phase in report.by_phase)
    return f"[{signs[:BAR_WIDTH]:<{BAR_WIDTH}}] {shown}"


def find_base(given: Path | None, mix: Path, recipe: AxolotlConfig) -> Path:
    """`--base`, else the model that curation asked, else the recipe's if it is a local folder.

    Raises:
        OnedayError: none of them, or it is no model folder.
    """
    if given is not None:
        return check_model_folder(given).resolve()
    manifest = mix.resolve().parent / "manifest.json"
    curated = read_json(manifest).get("curate", {}).get("base_path") if manifest.is_file() else None
    if curated:
        return check_model_folder(Path(curated))
    if recipe.base_model and Path(recipe.base_model).is_dir():
        return check_model_folder(Path(recipe.base_model)).resolve()
    named = f"{recipe.base_model} is no local folder" if recipe.base_model else "the recipe names none"
    raise ConfigError(f"no base model: {named}. Download one and pass --base FOLDER.")


def rehearse_and_train(
    job: TrainJob, console: Console, *, launch: Launcher = start_axolotl, auto_fit: bool = False
) -> TrainResult:
    """The rehearsal, uncharged, then the run."""
    console.say("rehearsal: two steps, an evaluation and a save on the longest rows (not charged to the budget)")
    if auto_fit:
        job, measured = rehearse_until_it_fits(job, console, launch=launch)
    else:
        measured = rehearse(job, launch=launch)
    show_rehearsal(measured, job, console)
    display = TrainingDisplay(console, job.recipe)
    return train(job, measured, launch=launch, on_event=display)


def rehearse_until_it_fits(
    job: TrainJob, console: Console, *, launch: Launcher = start_axolotl
) -> tuple[TrainJob, Rehearsal]:
    """Takes the next smaller setting as long as memory is too small. What was taken stands in the job, hence on record.

    Raises:
        MemoryFullError: nothing smaller is known.
    """
    while True:
        try:
            return job, rehearse(job, launch=launch)
        except MemoryFullError as e:
            less = smaller(job.recipe, ModelShape.of(job.base), job.card)
            if not less:
                raise
            console.say(f"{str(e).split(' Computed')[0]}\n--auto-fit takes {less[0]}")
            job = replace(job, recipe=job.recipe.model_copy(update=less[0].changes), redo=True)


class TrainingDisplay:
    """Turns events into one status line."""

    def __init__(self, console: Console, recipe: AxolotlConfig) -> None:
        self._console = console
        self._last: dict[str, Any] | None = None
        self._step_line = "starting Axolotl"
        self._best: float | None = None

    def __call__(self, event: dict[str, Any], left_s: float) -> None:
        """Shows one event."""
        name = event["event"]
        if name == "step":
            self._step_line = self._describe(event)
        elif name == "evaluate":
            loss = float(event["validation_loss"])
            better = self._best is None or loss < self._best
            self._best = loss if better else self._best
            mark = " (best so far)" if better else ""
            self._console.say(f"step {event['step']:>6}  validation loss {loss:.4f}{mark}, {event['seconds']:.1f} s")
        elif name in ("stopping", "not_finite", "disk_full", "restart", "train_begin"):
            self._console.say(self._sentence(event))
        self._console.status(f"{self._step_line} | budget left {pretty(max(0.0, left_s))}")

    def _sentence(self, event: dict[str, Any]) -> str:
        if event["event"] == "restart":
            return f"the trainer {event['because']}; it is started again from the last whole checkpoint"
        if event["event"] == "disk_full":
            return f"step {event['step']:>6}  the disk is full: not saved; training goes on with the checkpoints it has"
        if event["event"] == "train_begin":
            return "training" if event["step"] == 0 else f"training goes on from step {event['step']}"
        if event["event"] == "stopping":
            return f"step {event['step']:>6}  stopping because of the {event['because']}: last evaluation and save"
        return f"step {event['step']:>6}  the loss is {event['loss']}: stopping; the best checkpoint is kept"

    def _describe(self, event: dict[str, Any]) -> str:
        speed = ""
        if self._last and event["t"] > self._last["t"] and event["tokens"] > self._last["tokens"]:
            speed = f" | {(event['tokens'] - self._last['tokens']) / (event['t'] - self._last['t']):,.0f} tokens/s"
        self._last = event
        return f"step {event['step']:>6} of about {event['horizon']} | loss {float(event['loss']):.4f}{speed}"


def show_rehearsal(measured: Rehearsal, job: TrainJob, console: Console) -> None:
    """What was measured."""
    memory = f", peak memory {measured.peak_memory_gib:.1f} GiB" if measured.peak_memory_gib is not None else ""
    console.say(
        f"measured: {measured.describe()}{memory}; the shortest budget is "
        f"{pretty(measured.minimum_s(job.recipe.save_total_limit))}"
    )


def show_training(result: TrainResult, console: Console) -> None:
    """Where the day went, and what was picked."""
    if result.was_done:
        console.say(f"{result.run}: training is done already; nothing was computed")
    show_ledger(result.ledger, console)
    picked = result.picked
    rows = read_json(result.run / TRAIN / "summary.json")["tallies"]["row"]
    if rows["dropped"]:
        console.say(f"rows: {rows['kept']} of {rows['read']}; longer than sequence_len: {rows['dropped']['too_long']}")
    console.say(
        f"{result.steps} steps, {result.tokens_per_s:,.0f} tokens/s while training; {ENDINGS[result.because]}; "
        f"picked {picked.checkpoint} of {len(picked.candidates)}, validation loss {picked.validation_loss:.4f}"
    )
    console.say(f"LoRA adapter: {result.run / PICK / 'adapter'}")


def show_ledger(report: LedgerReport, console: Console) -> None:
    """The budget by phase."""
    rows = [(phase, f"{spent:.1f}", f"{spent / report.budget_s:.1%}") for phase, spent in report.by_phase.items()]
    rows.append(("charged", f"{report.charged_s:.1f}", f"{report.charged_s / report.budget_s:.1%}"))
    if report.downtime_past_deadline_s:
        rows.append(("down past the deadline", f"{report.downtime_past_deadline_s:.1f}", "not charged"))
    rows += [(what, f"{spent:.1f}", "not charged") for what, spent in (report.not_charged or {}).items()]
    console.table(
        f"budget {pretty(report.budget_s)}, over by {report.overshoot_s:.1f} s", ("phase", "s", "share"), rows
    )


def show_dry_run(request: TrainRequest, recipe: AxolotlConfig, budget_s: float, console: Console) -> None:
    """What `oneday train` would do, from the options alone."""
    rows_per_step = recipe.micro_batch_size * recipe.gradient_accumulation_steps
    tokens = rows_per_step * recipe.sequence_len
    num_rows = len(read_mix(request.mix / "train.jsonl")) if request.mix else None
    lines = [
        ("recipe", str(request.config)),
        ("card", f"{request.card}, {get_card(request.card).memory_gib:g} GiB"),
        ("base model", str(request.base or recipe.base_model or "the one that curation asked")),
        ("mix", f"{request.mix}, {num_rows} rows" if request.mix else "not given: --mix runs/200k/05_mix"),
        ("run folder", str(request.run or (request.mix.resolve().parent if request.mix else "the mix's run"))),
        ("budget", f"{pretty(budget_s)} from the start of training to the published pick"),
        ("LoRA", f"r {recipe.lora_r}, alpha {recipe.lora_alpha}, dropout {recipe.lora_dropout}, all linear layers"),
        ("batch", f"{rows_per_step} packed rows of {recipe.sequence_len} = {tokens:,} tokens a step"),
        ("optimizer", f"{recipe.optimizer}, weight decay {recipe.weight_decay}"),
        ("learning rate", f"{recipe.learning_rate:g}, {recipe.lr_scheduler}, warm-up {recipe.warmup_steps} steps"),
        ("NEFTune alpha", f"{recipe.neftune_noise_alpha}"),
        ("epochs", f"at most {recipe.num_epochs:g}; the budget may end it earlier"),
        ("checkpoints", f"every {recipe.eval_steps} steps with an evaluation; {recipe.save_total_limit} kept"),
        ("then", "rehearse (not charged), train, evaluate, save, pick by validation loss"),
    ]  # fmt: skip
    console.table("oneday train --dry-run: nothing is started", ("what", "value"), lines)
    console.result({"dry_run": True, "budget_s": budget_s, "recipe": recipe.model_dump(), "card": request.card})


def run_pick(run: Path, *, base: Path | None, console: Console) -> None:
    """Picks again over a run's checkpoints."""
    manifest = read_json(run / "manifest.json") if (run / "manifest.json").is_file() else {}
    trained = manifest.get("train", {})
    if not (run / TRAIN).is_dir():
        raise CheckpointError(f"{run}: no {TRAIN} in it. Run `oneday train` first.")
    recorded = trained.get("base_path") or manifest.get("curate", {}).get("base_path")
    found = base or (Path(recorded) if recorded else None)
    if found is None:
        raise ConfigError(f"{run}: its manifest names no base model. Pass --base FOLDER.")
    four_bit = trained.get("recipe", {}).get("load_in_4bit", True)
    show_pick(pick_from_run(run, base=check_model_folder(found), four_bit=four_bit), run, console)


def show_pick(picked: Picked, run: Path, console: Console) -> None:
    """All candidates with their losses, and what was rejected."""
    rows = [
        (
            c.checkpoint,
            str(c.step),
            f"{c.validation_loss:.4f}",
            c.measured_by,
            "picked" * (c.checkpoint == picked.checkpoint),
        )
        for c in picked.candidates
    ]
    rows += [(r.id, "-", "-", "-", f"rejected: {r.detail}") for r in picked.rejected]
    console.table(picked.rule, ("checkpoint", "step", "validation loss", "measured by", ""), rows)
    console.say(f"LoRA adapter: {run / PICK / 'adapter'}")
    console.result({"picked": picked.checkpoint, "step": picked.step, "validation_loss": picked.validation_loss})
