"""Reads the record of a finished run and compares a repetition with it, figure by figure.

    recorded = read_record(Path("runs/200k/manifest.json"))
    figures = compare_runs(recorded.run, Path("runs/again"))

The record is a run folder: `manifest.json` with recipe and hashes, `07_train/plan.jsonl` with the horizon of the
learning rate, `07_train/batches.jsonl` with every step's batch hash, learning rate and loss. On the same machine a
repetition is bit-identical; on another card its losses differ by rounding, and the bounds below say by how much they
may differ.

Where it sits: below `oneday reproduce`, which trains the repetition.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
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
"""Largest difference of a step's loss in nats, from bf16 sums in another order. An estimate: no two cards were compared
yet."""

BUDGET_FACTOR = 1.1
"""The budget of a repetition as a multiple of the original: it must reach the end of the plan on a slower machine."""

VALIDATION_BOUND = 0.005
"""Largest difference of a validation loss, in nats per answer token over all validation rows."""

SCORE_BOUND = 0.05
"""Largest difference of the served answers' mean score: one answer in twenty. An estimate, as `LOSS_BOUND`."""


class Verdict(StrEnum):
    """How a figure of the repetition compares with the recorded one."""

    EQUAL = "equal"
    WITHIN = "within bounds"
    DIFFERENT = "different"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A recorded figure and that of the repetition: one line of the table."""

    name: str
    before: str
    now: str
    verdict: Verdict
    bound: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainRecord:
    """The keys of a manifest's section `train` that a repetition needs."""

    recipe: Mapping[str, object]
    card: str
    clock: Literal["strict", "compute"]
    budget_s: Annotated[float, Field(gt=0)]
    train: str
    """SHA-256 of `train.jsonl`."""
    validation: str
    """SHA-256 of `validation.jsonl`."""
    base: str
    """Fingerprint of the base."""
    base_path: str = ""
    mix_path: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Manifest:
    train: TrainRecord
    versions: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """The recorded run that is repeated."""

    run: Path
    recipe: AxolotlConfig
    train: TrainRecord
    versions: Mapping[str, str]

    @property
    def plan(self) -> Path:
        """The logged learning rate schedule."""
        return self.run / TRAIN / SCHEDULE


def read_record(manifest: Path) -> Record:
    """The record beside a manifest.

    Raises:
        DataError: The file is not the manifest of a finished run, or the run's logs are missing.
    """
    run = manifest.parent
    try:
        checked = read_as(_Manifest, manifest, mend="")
        recipe = AxolotlConfig.model_validate(checked.train.recipe)
    except (StageError, OSError, ValidationError) as e:
        reason = (
            e.errors()[0]["msg"] if isinstance(e, ValidationError) else str(e).removeprefix(f"{manifest}: ").strip()
        )
        raise DataError(f"{manifest}: not the manifest of a trained run ({reason}). Give RUN/manifest.json.") from e
    record = Record(run=run, recipe=recipe, train=checked.train, versions=checked.versions)
    for needed in (record.plan, run / TRAIN / BATCHES, run / PICK / PICKED):
        if not needed.is_file():
            raise DataError(f"{needed}: no such file. Repeating a run needs its whole folder, not only the manifest.")
    read_picked(run)  # read now, so that a damaged file is reported before the repetition is trained
    read_batches(run / TRAIN / BATCHES)
    return record


def check_inputs(record: Record, *, mix: Path, base: Path) -> None:
    """Refuses a mix or a base that differs from the recorded one.

    Raises:
        DataError: The message names the file that differs.
    """
    check_base(record, base)
    for name, recorded in (("train", record.train.train), ("validation", record.train.validation)):
        path = mix / f"{name}.jsonl"
        if not path.exists():
            raise DataError(f"{path}: no such file. Give the mix with `mix=`.")
        _check_hash(path, file_sha256(path), recorded)


def check_base(record: Record, base: Path) -> None:
    """Refuses a base that differs from the recorded one; curation calls this before the base predicts for hours.

    Raises:
        DataError: The base is missing or differs.
    """
    if not base.exists():
        raise DataError(f"{base}: no such folder. Give the base with `base=`.")
    _check_hash(base, model_fingerprint(base), record.train.base)


def _check_hash(path: Path, now: str, recorded: str) -> None:
    if now != recorded:
        raise DataError(f"{path}: its hash is {now[:16]}…, the recorded one {recorded[:16]}…. Give the run's own.")


def check_plan_is_followed(record: Record) -> None:
    """Checks that the recorded run trained to the end of its schedule.

    Raises:
        ConfigError: The run was interrupted, or the schedule is missing.
    """
    if not is_plan(record.plan):
        raise ConfigError(f"{record.plan}: not a plan. Restore the file: without it the run cannot be repeated.")
    segments = list(read_jsonl(record.plan))
    if not segments or not str(segments[-1].get("reason", "")).startswith("end"):
        raise ConfigError(f"{record.plan}: the run was interrupted. Resume and finish it first.")


def compare_runs(before: Path, now: Path) -> list[Figure]:
    """Compares every figure of the recorded run with that of the repetition."""
    old, new = (read_manifest(run) for run in (before, now))
    picked = [read_picked(run) for run in (before, now)]
    steps = [read_batches(run / TRAIN / BATCHES) for run in (before, now)]
    common = sorted(set(steps[0]) & set(steps[1]))
    pairs = [(steps[0][n], steps[1][n]) for n in common]
    same = sum(a.batch == b.batch for a, b in pairs)
    rates = _max_difference((a.lr, b.lr) for a, b in pairs)
    losses = _max_difference((a.loss, b.loss) for a, b in pairs)
    measured = [{c.checkpoint: c.validation_loss for c in p.candidates} for p in picked]
    common_names = sorted(set(measured[0]) & set(measured[1]))
    validation = _max_difference((measured[0][name], measured[1][name]) for name in common_names)
    adapters = [file_sha256(_adapter(run, p)) for run, p in zip((before, now), picked, strict=True)]
    return [
        *_versions(old["versions"]),
        _compare_exactly("training rows", old["train"]["train"], new["train"]["train"]),
        _compare_exactly("validation rows", old["train"]["validation"], new["train"]["validation"]),
        _compare_exactly("base model", old["train"]["base"], new["train"]["base"]),
        _compare_exactly("pack plan", file_sha256(before / TRAIN / PACKS), file_sha256(now / TRAIN / PACKS)),
        _compare_exactly("steps", len(steps[0]), len(steps[1])),
        _compare_exactly(
            "batch hashes", f"{len(pairs)} of {len(steps[0])} steps", f"{same} equal", equal=same == len(steps[0])
        ),
        _compare_within("learning rates", len(pairs), rates, bound=0.0),
        _compare_within("losses of the steps", len(pairs), losses, bound=LOSS_BOUND),
        _compare_within("validation losses", len(common_names), validation, bound=VALIDATION_BOUND),
        _compare_exactly("picked", picked[0].checkpoint, picked[1].checkpoint),
        _compare_within(
            "its validation loss", 1, _max_difference([(picked[0].validation_loss, picked[1].validation_loss)]),
            bound=VALIDATION_BOUND,
        ),
        _compare_adapters(adapters, losses),
    ]  # fmt: skip


def compare_curations(before: Mapping[str, object], now: Mapping[str, object]) -> list[Figure]:
    """Compares two curations stage by stage, so that the first difference shows the stage that caused it.

    Args:
        before: Section `curate` of the recorded manifest.
        now: The same section of the repetition.
    """
    parts = {
        "task files": ("inputs", "01_tasks", "tasks"),
        "prompts for the base": ("inputs", "02_predictions", "tasks"),
        "predictions of the base": ("inputs", "03_scores", "predictions"),
        "scores of the predictions": ("inputs", "04_samples", "scores"),
        "sampled rows": ("inputs", "05_mix", "samples"),
        "mix: train.jsonl": ("outputs", "train.jsonl"),
        "mix: validation.jsonl": ("outputs", "validation.jsonl"),
    }
    return [_compare_exactly(name, _inside(before, path), _inside(now, path)) for name, path in parts.items()]


def _inside(section: Mapping[str, object], path: Sequence[str]) -> object:
    value: Any = section
    for key in path:
        value = value.get(key, {})
    return value or "not on record"


def compare_answers(before: Sequence[str], now: Sequence[str], scores: tuple[float, float]) -> list[Figure]:
    """Compares served answers to the same questions and their mean scores; texts may differ by rounding."""
    same = sum(a == b for a, b in zip(before, now, strict=True))
    score = _compare_within("their mean score", len(now), _max_difference([scores]), bound=SCORE_BOUND)
    verdict = Verdict.DIFFERENT if score.verdict is Verdict.DIFFERENT else Verdict.WITHIN
    texts = Figure(
        name="served answers", before=f"{len(before)} of them", now=f"{same} the same",
        verdict=Verdict.EQUAL if same == len(before) else verdict,
    )  # fmt: skip
    return [texts, replace(score, before=f"{scores[0]:.3f}", now=f"{scores[1]:.3f}")]


def _adapter(run: Path, picked: Picked) -> Path:
    return run / PICK / picked.adapter / "adapter_model.safetensors"


def _max_difference(pairs: Iterable[tuple[float, float]]) -> float:
    """The largest absolute difference of a pair; 0 without pairs."""
    return max((abs(float(a) - float(b)) for a, b in pairs), default=0.0)


def _versions(before: Mapping[str, str]) -> list[Figure]:
    installed = versions()
    return [
        _compare_exactly(f"version of {name}", v, installed.get(name, "not installed")) for name, v in before.items()
    ]


def _compare_exactly(name: str, before: object, now: object, *, equal: bool | None = None) -> Figure:
    same = before == now if equal is None else equal
    return Figure(
        name=name, before=_short(before), now=_short(now), verdict=Verdict.EQUAL if same else Verdict.DIFFERENT
    )


def _compare_within(name: str, num: int, difference: float, *, bound: float) -> Figure:
    verdict = Verdict.EQUAL if difference == 0 else Verdict.WITHIN if difference <= bound else Verdict.DIFFERENT
    return Figure(
        name=name, before=f"{num} of them", now=f"differ by up to {difference:.3g}" if difference else "the same",
        verdict=verdict, bound=f"{bound:g}" if bound else "",
    )  # fmt: skip


def _compare_adapters(hashes: Sequence[str], loss_difference: float) -> Figure:
    """Compares the bytes of the adapters; another card rounds differently, which is within bounds if the losses are."""
    same = hashes[0] == hashes[1]
    verdict = Verdict.EQUAL if same else Verdict.WITHIN if 0 < loss_difference <= LOSS_BOUND else Verdict.DIFFERENT
    return Figure(name="bytes of the adapter", before=_short(hashes[0]), now=_short(hashes[1]), verdict=verdict)


def _short(value: object) -> str:
    text = str(value)
    return f"{text[:12]}…" if len(text) == 64 else text
