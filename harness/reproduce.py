"""The same run again, from its record, and figure by figure whether it came out the same.

    recorded = read_record(Path("runs/200k/manifest.json"))
    figures = compare_runs(recorded.run, Path("runs/again"))

The record is a run folder: `manifest.json` with recipe and hashes, `07_train/plan.jsonl` with the learning rate's
horizon, `07_train/batches.jsonl` with every step's batch hash, rate and loss. On one machine a repetition is equal to
the last bit; on another card its losses differ by rounding, and the bounds below say how much is still the same run.

Where it sits: a finished run -> **another like it** -> a table.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from core.errors import StageError
from core.files import file_sha256, read_as, read_jsonl
from core.manifest import read_manifest, versions
from core.model.folder import model_fingerprint
from core.run_folder import PICK, TRAIN
from harness.budget.schedule import is_plan
from harness.checkpoint.pick import PICKED, Picked, read_picked
from harness.errors import ConfigError, DataError
from harness.inside.batch_log import read_batches
from harness.recipe import AxolotlConfig
from harness.supervise import BATCHES, PACKS, SCHEDULE

LOSS_BOUND = 0.02
"""Nats, of a step: bf16 sums in another order. An estimate until two cards were compared."""

BUDGET_FACTOR = 1.1
"""A repetition gets so much more time: it follows the plan to its end, and no two machines are equally fast."""

VALIDATION_BOUND = 0.005
"""Nats per answer token, over all validation rows: what the picker takes for equal."""


SCORE_BOUND = 0.05
"""Mean score of the served answers, in [0, 1]: one answer of twenty. An estimate until two cards were compared."""


class Verdict(StrEnum):
    """How a figure of the repetition stands to the one on record."""

    EQUAL = "equal"
    WITHIN = "within bounds"
    DIFFERENT = "different"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One line of the table."""

    name: str
    before: str
    now: str
    verdict: Verdict
    bound: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What is to be repeated."""

    run: Path
    recipe: AxolotlConfig
    train: Mapping[str, Any]
    """The section of the manifest."""
    versions: Mapping[str, str]

    @property
    def plan(self) -> Path:
        """The logged plan."""
        return self.run / TRAIN / SCHEDULE


def read_record(manifest: Path) -> Record:
    """The record beside a manifest.

    Raises:
        DataError: no manifest of a finished run, or its logs are not beside it.
    """
    run = manifest.parent
    try:
        checked = read_as(_Manifest, manifest, mend="")
        recipe = AxolotlConfig(**checked.train.recipe)
    except (StageError, OSError, ValidationError) as e:
        why = e.errors()[0]["msg"] if isinstance(e, ValidationError) else str(e).removeprefix(f"{manifest}: ").strip()
        raise DataError(f"{manifest}: no manifest of a trained run ({why}). Give RUN/manifest.json.") from e
    found = Record(run=run, recipe=recipe, train=asdict(checked.train), versions=checked.versions)
    for needed in (found.plan, run / TRAIN / BATCHES, run / PICK / PICKED):
        if not needed.is_file():
            raise DataError(f"{needed}: not there. A run is repeated from its whole folder, not from a manifest alone.")
    read_picked(run)  # what is compared at the end is read now: a day later is too late to hear of a damaged file
    read_batches(run / TRAIN / BATCHES)
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class _Train:
    """What of `train` a repetition needs."""

    recipe: Mapping[str, Any]
    card: str
    clock: Literal["strict", "compute"]
    budget_s: Annotated[float, Field(gt=0)]
    train: str
    validation: str
    base: str
    base_path: str = ""
    mix_path: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Manifest:
    train: _Train
    versions: Mapping[str, str]


def check_inputs(record: Record, *, mix: Path, base: Path) -> None:
    """Refuses rows or a base other than those on record: nothing could come out the same.

    Raises:
        DataError: names the one that differs.
    """
    check_base(record, base)
    for name in ("train", "validation"):
        path = mix / f"{name}.jsonl"
        if not path.exists():
            raise DataError(f"{path}: not there. Give the mix with `mix=`.")
        _check(path, file_sha256(path), record.train[name])


def check_base(record: Record, base: Path) -> None:
    """The base alone: before it is asked for hours.

    Raises:
        DataError: it is another one.
    """
    if not base.exists():
        raise DataError(f"{base}: not there. Give the base with `base=`.")
    _check(base, model_fingerprint(base), record.train["base"])


def _check(path: Path, now: str, recorded: str) -> None:
    if now != recorded:
        raise DataError(f"{path}: hash {now[:16]}…, on record {recorded[:16]}…. Give what the run had.")


def check_plan_is_followed(record: Record) -> None:
    """A plan whose day was cut short by a signal is no whole one.

    Raises:
        ConfigError: it is not.
    """
    if not is_plan(record.plan):
        raise ConfigError(f"{record.plan}: no plan. Restore the file: without it the run cannot be repeated.")
    segments = list(read_jsonl(record.plan))
    if not segments or not str(segments[-1].get("reason", "")).startswith("end"):
        raise ConfigError(f"{record.plan}: the run did not come to its end. Go on with it first.")


def compare_runs(before: Path, now: Path) -> list[Figure]:
    """Every figure of the record with that of the repetition."""
    old, new = (read_manifest(run) for run in (before, now))
    picked = [read_picked(run) for run in (before, now)]
    steps = [read_batches(run / TRAIN / BATCHES) for run in (before, now)]
    common = sorted(set(steps[0]) & set(steps[1]))
    pairs = [(steps[0][n], steps[1][n]) for n in common]
    same = sum(a.batch == b.batch for a, b in pairs)
    rates = _apart((a.lr, b.lr) for a, b in pairs)
    losses = _apart((a.loss, b.loss) for a, b in pairs)
    measured = [{c.checkpoint: c.validation_loss for c in p.candidates} for p in picked]
    kept = sorted(set(measured[0]) & set(measured[1]))
    validation = _apart((measured[0][name], measured[1][name]) for name in kept)
    adapters = [file_sha256(_adapter(run, p)) for run, p in zip((before, now), picked, strict=True)]
    return [
        *_versions(old["versions"]),
        _exact("training rows", old["train"]["train"], new["train"]["train"]),
        _exact("validation rows", old["train"]["validation"], new["train"]["validation"]),
        _exact("base model", old["train"]["base"], new["train"]["base"]),
        _exact("pack plan", file_sha256(before / TRAIN / PACKS), file_sha256(now / TRAIN / PACKS)),
        _exact("steps", len(steps[0]), len(steps[1])),
        _exact("batch hashes", f"{len(pairs)} of {len(steps[0])} steps", f"{same} equal", equal=same == len(steps[0])),
        _near("learning rates", len(pairs), rates, bound=0.0),
        _near("losses of the steps", len(pairs), losses, bound=LOSS_BOUND),
        _near("validation losses", len(kept), validation, bound=VALIDATION_BOUND),
        _exact("picked", picked[0].checkpoint, picked[1].checkpoint),
        _near(
            "its validation loss", 1, _apart([(picked[0].validation_loss, picked[1].validation_loss)]),
            bound=VALIDATION_BOUND,
        ),
        _bytes(adapters, losses),
    ]  # fmt: skip


def compare_curations(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[Figure]:
    """Stage by stage, so that the first difference shows where two curations parted.

    Args:
        before, now: `curate` of each manifest.
    """
    parts = {
        "task files": ("inputs", "01_tasks", "tasks"),
        "what the base was asked": ("inputs", "02_predictions", "tasks"),
        "what it answered": ("inputs", "03_scores", "predictions"),
        "how that was scored": ("inputs", "04_samples", "scores"),
        "rows drawn": ("inputs", "05_mix", "samples"),
        "mix: train.jsonl": ("outputs", "train.jsonl"),
        "mix: validation.jsonl": ("outputs", "validation.jsonl"),
    }
    return [_exact(name, _inside(before, path), _inside(now, path)) for name, path in parts.items()]


def _inside(section: Mapping[str, Any], path: Sequence[str]) -> Any:
    found: Any = section
    for key in path:
        found = found.get(key, {})
    return found or "not on record"


def compare_answers(before: Sequence[str], now: Sequence[str], scores: tuple[float, float]) -> list[Figure]:
    """Served answers to the same questions, and their mean scores. Texts may part by rounding if the scores do not."""
    same = sum(a == b for a, b in zip(before, now, strict=True))
    score = _near("their mean score", len(now), _apart([scores]), bound=SCORE_BOUND)
    near = Verdict.DIFFERENT if score.verdict is Verdict.DIFFERENT else Verdict.WITHIN
    texts = Figure(
        name="served answers", before=f"{len(before)} of them", now=f"{same} the same",
        verdict=Verdict.EQUAL if same == len(before) else near,
    )  # fmt: skip
    return [texts, replace(score, before=f"{scores[0]:.3f}", now=f"{scores[1]:.3f}")]


def _adapter(run: Path, picked: Picked) -> Path:
    return run / PICK / picked.adapter / "adapter_model.safetensors"


def _apart(pairs: Iterable[tuple[float, float]]) -> float:
    """The largest difference."""
    return max((abs(float(a) - float(b)) for a, b in pairs), default=0.0)


def _versions(before: Mapping[str, str]) -> list[Figure]:
    here = versions()
    return [_exact(f"version of {name}", version, here.get(name, "not installed")) for name, version in before.items()]


def _exact(name: str, before: object, now: object, *, equal: bool | None = None) -> Figure:
    same = before == now if equal is None else equal
    return Figure(
        name=name, before=_short(before), now=_short(now), verdict=Verdict.EQUAL if same else Verdict.DIFFERENT
    )


def _near(name: str, num: int, apart: float, *, bound: float) -> Figure:
    verdict = Verdict.EQUAL if apart == 0 else Verdict.WITHIN if apart <= bound else Verdict.DIFFERENT
    return Figure(
        name=name, before=f"{num} of them", now=f"apart by {apart:.3g}" if apart else "the same", verdict=verdict,
        bound=f"{bound:g}" if bound else "",
    )  # fmt: skip


def _bytes(hashes: Sequence[str], losses: float) -> Figure:
    """The adapter's own bytes: another card rounds otherwise, which is within bounds if the losses are."""
    same = hashes[0] == hashes[1]
    verdict = Verdict.EQUAL if same else Verdict.WITHIN if 0 < losses <= LOSS_BOUND else Verdict.DIFFERENT
    return Figure(name="bytes of the adapter", before=_short(hashes[0]), now=_short(hashes[1]), verdict=verdict)


def _short(value: object) -> str:
    text = str(value)
    return f"{text[:12]}…" if len(text) == 64 else text
