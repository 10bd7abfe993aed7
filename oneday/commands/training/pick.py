"""`oneday pick`: picks among a run's checkpoints within its budget, or among those of any trainer."""

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import click

from core.errors import StageError
from core.files import read_as
from core.manifest import Origins, read_manifest, read_origins, record
from core.model.folder import check_model_folder
from core.model.quantisation import Precision, Quantisation
from core.run_folder import OUTPUT, PICK, TRAIN
from core.stage import Dropped, locked
from harness.budget.clock import uptime
from harness.budget.duration import pretty, seconds
from harness.budget.rehearse import rehearsed_base_loss
from harness.checkpoint.adapter import find_adapters
from harness.checkpoint.averaging import Averaging
from harness.checkpoint.content import EMA_WEIGHTS
from harness.checkpoint.pick import KINDS, Picked, pick
from harness.checkpoint.race import Race
from harness.checkpoint.scores import read_scores
from harness.checkpoint.seal import SEAL, Checkpoint, checkpoint_folders, inspect_all
from harness.checkpoint.timed_pick import PickJob, precision_name, timed_pick
from harness.checkpoint.trained_base import QUANTISATION_UNKNOWN, check_same_base, find_trained_base
from harness.data.dataset import read_dataset_rows
from harness.errors import BudgetError, CheckpointError, ConfigError
from harness.keys.objective import PAIRED
from harness.ledger.ledger import Ledger
from harness.recipe import AxolotlConfig
from harness.run import LEDGER
from harness.supervise import DATA
from oneday.bounded_process import run_within
from oneday.display.console import Console
from oneday.requests.training import PickRequest


def run_pick(request: PickRequest, console: Console, *, deadline: float | None = None) -> None:
    """Checks the options, measures within the time, publishes, and shows the comparison.

    Args:
        deadline: Deadline of a picking process on the uptime clock.
    """
    started_at = uptime()
    limit_s = seconds(request.time, field="time") if request.time else math.inf
    if request.dry_run:
        show_dry_run(request, console)
        return
    trained = (request.folder / TRAIN).is_dir()
    checkpoints, rejected = _checkpoints(request.folder, trained=trained)
    if request.validation:  # losses over the run's own rows say nothing about these
        checkpoints = [replace(checkpoint, validation_loss=None) for checkpoint in checkpoints]
    base, precision = _model(request, checkpoints, console, trained=trained)
    if request.scores:
        picked = _pick_by_scores(request, request.scores, base, precision, trained=trained)
        show_pick(picked, request.folder, console)
        return
    averaging = _averaging(request, checkpoints)
    measures = averaging.num_trials > 0 or any(c.validation_loss is None for c in checkpoints)
    if measures:
        _check_validation(request, trained=trained)
    alone = contextlib.nullcontext() if deadline else locked(request.folder)
    with alone, _charged(request, console, measures=measures, until=deadline) as (beat, must_end):
        job = PickJob(
            folder=request.folder,
            checkpoints=checkpoints,
            rejected=rejected,
            base=base,
            precision=precision,
            rows=read_dataset_rows(_validation(request), base) if measures else (),
            beta=_beta(request) if measures and _measures_its_own_rows(request, trained=trained) else None,
            seed=request.seed,
            averaging=averaging,
            base_loss=rehearsed_base_loss(request.folder) if _measures_its_own_rows(request, trained=trained) else None,
            until=min(started_at + limit_s, must_end),
        )
        picked = timed_pick(job, on_slice=lambda race: _show_slice(race, console), while_measuring=beat)
        if trained:
            record(request.folder, "pick", asdict(picked))
    show_pick(picked, request.folder, console)


def _pick_by_scores(
    request: PickRequest, path: Path, base: Path, precision: Precision | Quantisation | None, *, trained: bool
) -> Picked:
    """Picks the checkpoint of the highest score. Nothing is measured, so nothing is charged."""
    if not trained:
        raise ConfigError(f"`scores={path}` need the checkpoints of a run. Give the folder of one.")
    if request.average > 1 or request.average_of or request.validation:
        raise ConfigError(f"`scores={path}` decide alone. Leave `average=`, `average_of=` and `validation=` out.")
    with locked(request.folder):
        picked = pick(
            run=request.folder,
            output=request.folder / TRAIN / OUTPUT,
            base=base,
            precision=precision_name(precision),
            base_loss=rehearsed_base_loss(request.folder),
            criterion=read_scores(path),
        )
        record(request.folder, "pick", asdict(picked))
    return picked


def pick_within(request: PickRequest, *, deadline: float, beat: Callable[[], None]) -> int | None:
    """Runs `oneday pick` in a child process; returns its exit code, or None if it had to be killed."""
    return run_within("pick", "oneday.commands.training.pick:run_pick", request, deadline=deadline, beat=beat)


def run_pick_within_its_time(request: PickRequest, console: Console) -> None:
    """Runs `run_pick`; if the time is limited, in a child process that is killed at the limit.

    Raises:
        click.exceptions.Exit: The child process ended, with this exit code.
        BudgetError: The child process was killed.
    """
    started_at = uptime()
    limit_s = seconds(request.time, field="time") if request.time else math.inf
    trained = (request.folder / TRAIN).is_dir()
    bounded = request.time is not None or (trained and (request.folder / LEDGER).is_file() and not request.uncharged)
    bounded = bounded and request.folder.is_dir()
    if request.dry_run or not bounded or not _will_measure(request, trained=trained):
        run_pick(request, console)
        return
    with locked(request.folder), _charged(request, console, measures=True) as (beat, deadline):
        code = pick_within(request, deadline=min(started_at + limit_s, deadline), beat=beat)
    if code is None:
        raise BudgetError(
            f"{request.folder}: the time was up before a checkpoint could be picked; the earlier pick stays. Give "
            "more with `time=`."
        )
    raise click.exceptions.Exit(code)


def _will_measure(request: PickRequest, *, trained: bool) -> bool:
    """Whether a checkpoint lacks a loss, by the seals alone: the picking process verifies the checkpoints."""
    if request.scores:
        return False
    if request.average > 1 or request.validation or not trained:
        return True
    seals = [path / SEAL for path in checkpoint_folders(request.folder / TRAIN / OUTPUT) if (path / SEAL).is_file()]
    return any(map(_lacks_loss, seals))


@dataclass(frozen=True, slots=True, kw_only=True)
class _SealedLoss:
    validation_loss: object = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _AdapterConfig:
    base_model_name_or_path: str | None = None


def _lacks_loss(seal: Path) -> bool:
    try:
        return read_as(_SealedLoss, seal).validation_loss is None
    except StageError:  # the checkpoint will be rejected
        return False


def show_dry_run(request: PickRequest, console: Console) -> None:
    """Shows what `oneday pick` would do."""
    folder = request.folder
    trained = (folder / TRAIN).is_dir()
    good, rejected = _checkpoints(folder, trained=trained) if folder.is_dir() else ([], [])
    known = sum(c.validation_loss is not None for c in good)
    ledger = Ledger.of_run(folder / LEDGER) if (folder / LEDGER).is_file() else None
    charged = "not charged: `uncharged=true`" if request.uncharged else "charged to the budget, if anything is measured"
    rows = [
        (
            "checkpoints",
            f"{len(good)} complete, {len(rejected)} not" if folder.is_dir() else f"{folder}: not there yet",
        ),
        ("known losses", f"{known}: measured by the trainer over all validation rows"),
        ("to be measured", _to_be_measured(request, len(good) - known)),
        ("averages", _averaging(request, good).described),
        ("time", charged + (f", of which {pretty(max(0.0, ledger.left_s))} are left" if ledger else "")),
        ("result", str(folder / PICK / "adapter")),
    ]
    console.table("oneday pick --dry-run: nothing is started", ("what", "value"), rows)
    console.result({"dry_run": True, "checkpoints": len(good), "known": known})


def _to_be_measured(request: PickRequest, num: int) -> str:
    if request.scores:
        return f"nothing: {request.scores} decides"
    return f"{num}, {f'within {request.time}' if request.time else 'on all rows'}"


def _averaging(request: PickRequest, checkpoints: Sequence[Checkpoint]) -> Averaging:
    has_moving = any((checkpoint.path / EMA_WEIGHTS).is_file() for checkpoint in checkpoints[-1:])
    return Averaging.of(request.average, request.average_of, has_moving=has_moving)


def _checkpoints(folder: Path, *, trained: bool) -> tuple[list[Checkpoint], list[Dropped]]:
    good, rejected = inspect_all(folder / TRAIN / OUTPUT) if trained else find_adapters(folder)
    if not good:
        reason = f"{rejected[0].id}: {rejected[0].detail}" if rejected else "there is none"
        mend = "Run `oneday train` first." if trained else "Give a run, or a folder of PEFT checkpoints."
        raise CheckpointError(f"{folder}: no complete checkpoint ({reason}). {mend}")
    return good, rejected


def _model(
    request: PickRequest, checkpoints: list[Checkpoint], console: Console, *, trained: bool
) -> tuple[Path, Precision | Quantisation | None]:
    """Base and precision: those of the request, else those that the run or the adapter records.

    Raises:
        ConfigError: There is no base, or it is not the one in training.
    """
    adapter = checkpoints[0].path
    origins = read_origins(request.folder) if trained else Origins()
    named = origins.base_path or read_as(_AdapterConfig, adapter / "adapter_config.json").base_model_name_or_path
    if request.base is None and not Path(named or "not named").is_dir():
        raise ConfigError(
            f"{request.folder}: its base model, {named or 'not named'}, is not a local folder. Pass `base=FOLDER`."
        )
    base = check_model_folder(request.base or Path(str(named)))
    recorded = find_trained_base(adapter)
    check_same_base(recorded, base, request.folder, on_purpose=request.base_changed_on_purpose)
    if request.precision is not None:
        return base, request.precision
    if recorded is not None:
        return base, recorded.quantisation
    if not trained:
        unknown = QUANTISATION_UNKNOWN.format(folder=request.folder)
        console.say(f"warning: {unknown} `precision=4bit` measures and publishes them in NF4.")
    return base, "4bit" if trained and origins.train.recipe.load_in_4bit else None


def _check_validation(request: PickRequest, *, trained: bool) -> None:
    if request.validation is None and not trained:
        raise ConfigError("`validation=` is missing. Give the rows to measure on, such as a mix's validation.jsonl.")


def _measures_its_own_rows(request: PickRequest, *, trained: bool) -> bool:
    """Whether the run's own base is measured on the run's own validation rows."""
    return trained and request.validation is None and not request.base_changed_on_purpose


def _beta(request: PickRequest) -> float | None:
    """The beta of a run that trained on pairs; None: it did not.

    Raises:
        ConfigError: Its loss is another one than is measured here.
    """
    recipe = read_manifest(request.folder).get("train", {}).get("recipe")
    if not isinstance(recipe, dict) or (recipe.get("further") or {}).get("rl") not in PAIRED:
        return None
    beta = AxolotlConfig(**recipe).measured_beta
    if beta is None:
        raise ConfigError(
            f"{request.folder}: of pairs, only the plain loss of rl: dpo is measured here, without keys dpo_. Leave "
            "`average=` out, and train with an evaluation at every save."
        )
    return beta


def _validation(request: PickRequest) -> Path:
    return request.validation or request.folder / TRAIN / DATA / "validation.parquet"


@contextlib.contextmanager
def _charged(
    request: PickRequest, console: Console, *, measures: bool, until: float | None = None
) -> Iterator[tuple[Callable[[], None], float]]:
    """Charges the time of measuring to the run's ledger, if it has one; yields its heartbeat and deadline (uptime).

    Raises:
        BudgetError: The budget is used up.
    """
    path = request.folder / LEDGER
    if until is not None:
        yield (lambda: None), until
        return
    if not (measures and path.is_file()):
        yield (lambda: None), math.inf
        return
    ledger = Ledger.of_run(path)
    if request.uncharged:
        started_at = uptime()
        yield (lambda: None), math.inf
        ledger.note_not_charged("pick", uptime() - started_at)
        return
    used_up = BudgetError(
        f"{request.folder}: its budget of {pretty(ledger.budget_s)} is used up. Pick with `uncharged=true`: then the "
        "time is only noted in the ledger."
    )
    if ledger.is_closed and ledger.left_s <= 0:
        raise used_up
    with ledger.working("pick"):  # this charges the downtime of a killed run, if downtime counts
        if ledger.left_s <= 0:
            raise used_up
        console.say(f"charged to the budget: {pretty(ledger.left_s)} of {pretty(ledger.budget_s)} are left")
        yield ledger.beat, ledger.deadline


def _show_slice(race: Race, console: Console) -> None:
    console.say(f"{race.num_rows:>6} of {race.total_rows} rows: {len(race.active)} checkpoints left")


def show_pick(picked: Picked, folder: Path, console: Console) -> None:
    """Shows all candidates with their losses, and the rejected checkpoints."""
    rows = []
    for c in picked.candidates:
        doubt = f" ± {c.standard_error:.4f}" if c.standard_error else ""
        measured = c.measured_by if c.num_rows is None else f"{c.measured_by}, {c.num_rows} rows"
        measured += "" if c.score is None else f"; score {c.score:.4g}"
        verdict = f"picked: {c.verdict}" if c.checkpoint == picked.checkpoint else c.verdict
        rows.append((c.checkpoint, f"{c.validation_loss:.4f}{doubt}", measured, verdict))
    rows += [(r.id, "-", "-", f"rejected: {r.detail}") for r in picked.rejected]
    console.table(picked.rule, ("checkpoint", "validation loss", "measured by", "verdict"), rows)
    if picked.seconds:
        console.say(f"measured in {pretty(picked.seconds)}")
    if picked.better_than_base is False:
        console.alarm(f"NOT better than the base, whose validation loss is {picked.base_loss:.4f}")
    console.say(f"{KINDS[picked.kind]}: {folder / PICK / picked.kind}")
    console.result(
        {
            "picked": picked.checkpoint, "step": picked.step, "validation_loss": picked.validation_loss,
            "base_validation_loss": picked.base_loss, "better_than_base": picked.better_than_base,
            "seconds": picked.seconds,
        }
    )  # fmt: skip
