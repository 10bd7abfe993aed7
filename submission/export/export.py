"""Export: a run's picked adapter, merged weights, or the model of a run that trained all weights, with a model card.

    exported = export(Export(run=Path("runs/200k"), merge="bf16"))
    exported.agreement.top_1, exported.measured.num_same_answers

Where it sits: picked checkpoint -> **09_export**.
"""

import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from core.comparison import Comparison
from core.encoding.rendering import CHAT_TEMPLATE
from core.encoding.table import read_rows
from core.errors import PredictionError, StageError
from core.files import make_folder, naming, read_as, read_json, sync_directory, write_json, write_text
from core.manifest import MANIFEST, read_manifest
from core.model.folder import caps_attention, check_model_folder, model_fingerprint, weight_files
from core.model.language_model import LanguageModel
from core.model.libraries import quieten
from core.model.merge import TOKENIZER_FILES, Dtype, copy_those_there, merge
from core.model.quantisation import Precision, Quantisation
from core.model.token_ids import IGNORED_LABEL, RowIds
from core.model.weight_file import opened
from core.run_folder import EXPORT, PICK, TRAIN
from harness.base_model import licence_of
from harness.checkpoint.content import ADAPTER_FILES, MODEL_CONFIG, is_model
from harness.checkpoint.pick import PICKED, Picked, read_picked
from harness.checkpoint.trained_base import (
    TrainedBase,
    check_same_base,
    find_trained_base,
    hub_name,
    write_trained_base,
)
from harness.supervise import DATA
from submission.errors import ExportError
from submission.export.model_card import ALL_TRAINED, Told, model_card
from submission.export.other_program import NUM_PROMPTS, Measured, bound_of, check, measure

ADAPTER_FOLDER, MERGED_FOLDER, MODEL_FOLDER = "adapter", "merged", "model"
CHECKED_ROWS = 32
"""Of the validation set, on which merged weights are compared with base and adapter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """What is exported."""

    run: Path
    merge: Dtype | None = None
    """None: the adapter."""
    base: Path | None = None
    """Overrides the base model that the pick names."""
    base_changed: bool = False
    """The base may be another one than in training."""
    check: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Merged weights against base and adapter, over all positions of some validation rows."""

    num_positions: int
    largest_difference: float
    """Of a logit."""
    top_1: float
    """Share of positions at which both find the same token most likely."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """Where it lies."""

    folder: Path
    agreement: Agreement | None
    measured: Measured | None = None
    """The written folder, loaded by transformers and PEFT, against the run's server."""
    notes: tuple[str, ...] = ()
    """What the user should know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """What is exported, and what it stands on."""

    picked: Picked
    adapter: Path
    """The adapter's folder; of a run that trained all weights, the model's."""
    base: Path
    trained: TrainedBase
    reference: Path | None
    """The base in training, to compare with; None: not at hand."""

    @property
    def is_model(self) -> bool:
        """All weights were trained."""
        return is_model([path.name for path in self.adapter.iterdir()])

    @property
    def own(self) -> Path:
        """The adapter's base: the one in training, if it is at hand."""
        return self.reference or self.base

    @property
    def is_changed(self) -> bool:
        """The base is another one than in training."""
        return self.reference != self.base


def export(
    wanted: Export, *, command: str, on_progress: Callable[[int, int], None] = lambda done, total: None
) -> Exported:
    """Writes `09_export/adapter`, `merged` or `model`; what was there before goes when the new one is whole.

    Args:
        command: Stands in the model card.
    Raises:
        ExportError: nothing picked, or it cannot be merged.
        ConfigError: the base is another one than in training.
    """
    found = _found(wanted)
    manifest = _manifest(wanted.run)
    scores = _scores(wanted.run)
    if wanted.merge and found.is_model:
        raise ExportError(f"{wanted.run}: trained all weights, so there is nothing to merge. Leave `merge=` out.")
    name = MERGED_FOLDER if wanted.merge else MODEL_FOLDER if found.is_model else ADAPTER_FOLDER
    folder = wanted.run / EXPORT / name
    temporary = folder.with_name(f"{name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    make_folder(temporary)
    agreement: Agreement | None = None
    notes: tuple[str, ...] = ()
    if wanted.merge:
        agreement, notes = _merge(wanted, wanted.merge, found, temporary, on_progress)
    else:
        _copy(found, temporary)
    measured, more_notes = _measure(wanted, found, temporary) if wanted.check else (None, ())
    card = model_card(
        manifest,
        asdict(found.picked),
        name=wanted.run.resolve().name,
        base_name=_base_name(found, merged=bool(wanted.merge)),
        base_licence=licence_of(found.base if wanted.merge else found.own),
        quantisation=found.trained.quantisation,
        merged=ALL_TRAINED if found.is_model else wanted.merge,
        is_changed=found.is_changed,
        is_eager=caps_attention(found.base),
        agreement=asdict(agreement) if agreement else None,
        measured=measured,
        scores=scores,
        command=command,
    )
    write_text(temporary / "README.md", card)
    write_json(temporary / "manifest.json", _without_paths(manifest))
    _publish(temporary, folder)
    return Exported(folder=folder, agreement=agreement, measured=measured, notes=(*notes, *more_notes))


def _measure(wanted: Export, found: _Found, folder: Path) -> tuple[Measured | None, tuple[str, ...]]:
    """Loads the written folder by transformers and PEFT, and compares it with the run's server.

    Raises:
        ExportError: it is another model. Weights that were merged onto another base on purpose may be.
    """
    if found.is_model:
        return None, ()  # a copy of the run's own files
    if found.reference is None:
        return None, () if wanted.merge else ("not measured after writing: the base in training is not here",)
    prompts = _prompts(wanted.run)
    if not prompts:
        return None, ("not measured after writing: the run has no validation rows with prompts",)
    measured = measure(
        prompts,
        base=found.reference,
        lora_adapter=found.adapter,
        quantisation=found.trained.quantisation,
        exported=folder,
        is_merged=bool(wanted.merge),
    )
    if not (wanted.merge and found.is_changed):
        check(measured, bound_of(found.trained.quantisation, wanted.merge), folder)
    return measured, ()


def _prompts(run: Path) -> list[tuple[int, ...]]:
    """The prompts of the first validation rows, as ids."""
    path = run / TRAIN / DATA / "validation.parquet"
    rows = _validation(run, NUM_PROMPTS) if path.is_file() else []
    lengths = (next((n for n, label in enumerate(row.labels) if label != IGNORED_LABEL), 0) for row in rows)
    return [row.input_ids[:length] for row, length in zip(rows, lengths, strict=True) if length > 1]


def _merge(
    wanted: Export, dtype: Dtype, found: _Found, out: Path, on_progress: Callable[[int, int], None]
) -> tuple[Agreement | None, tuple[str, ...]]:
    """Merged weights, and how well they agree with the base in training and its adapter."""
    rows = _validation(wanted.run) if wanted.check else []
    quieten()
    kept = found.trained.quantisation
    merge(found.base, found.adapter, out, quantisation=kept, dtype=dtype, on_progress=on_progress)
    copy_those_there((CHAT_TEMPLATE,), found.adapter, out)  # the one that was trained with, in place of the base's
    if not rows:
        return None, ()
    if found.reference is None:
        return None, ("not compared with base and adapter: the base in training is not at hand",)
    before = _logits(found.reference, found.adapter, kept, rows)
    return compare(before, _logits(out, None, dtype, rows)), ()


def _copy(found: _Found, out: Path) -> None:
    """Copies the model, or adapter and tokenizer. The adapter's base is named by its hub name, or not at all."""
    if not found.is_model:
        copy_those_there(TOKENIZER_FILES, found.own, out)
    for path in filter(Path.is_file, found.adapter.iterdir()):  # a chat template beside the adapter replaces the base's
        with naming(out / path.name):
            shutil.copyfile(path, out / path.name)
    if found.is_model:
        return
    trained = found.trained
    config = read_json(out / "adapter_config.json")
    config |= {"base_model_name_or_path": trained.name, "revision": trained.revision}
    write_text(out / "adapter_config.json", json.dumps(config, indent=2, sort_keys=True) + "\n")
    write_trained_base(out, trained)


def _found(wanted: Export) -> _Found:
    """Finds the pick, its adapter and the base."""
    folder = wanted.run / PICK
    if not (folder / PICKED).is_file() or not (wanted.run / MANIFEST).is_file():
        raise ExportError(f"{wanted.run}: nothing picked in it. Run `oneday train`, or `oneday pick {wanted.run}`.")
    picked = read_picked(wanted.run)
    base = wanted.base or Path(picked.base_model)
    if not base.is_dir():
        raise ExportError(f"{wanted.run}: its base model {base} is not here. Pass `base=FOLDER`.")
    check_model_folder(base)
    adapter = folder / picked.adapter
    try:
        _check_whole(adapter)
    except (StageError, PredictionError) as e:
        raise ExportError(f"{adapter}: not whole ({e}) `oneday pick {wanted.run}` writes it anew.") from e
    trained = find_trained_base(adapter) or _as_picked(picked, base)
    check_same_base(trained, base, wanted.run, on_purpose=wanted.base_changed)
    places = [base, Path(picked.base_model)]
    reference = next((p for p in places if p.is_dir() and model_fingerprint(p) == trained.fingerprint), None)
    if trained.name is None and reference is not None:
        name, revision = hub_name(reference, _recipe_base(wanted.run))
        trained = replace(trained, name=name, revision=revision)
    return _Found(picked=picked, adapter=adapter, base=base, trained=trained, reference=reference)


def _check_whole(picked: Path) -> None:
    """Opens the weights of an adapter or of a model."""
    whole = picked.is_dir() and is_model([path.name for path in picked.iterdir()])
    read_as(dict[str, Any], picked / (MODEL_CONFIG if whole else ADAPTER_FILES[1]), mend="")
    for shard in weight_files(picked) if whole else [picked / ADAPTER_FILES[0]]:
        with opened(shard):
            pass


def _as_picked(picked: Picked, base: Path) -> TrainedBase:
    """For a pick without a record of its base: the base that the picker measured it on."""
    precision: Precision | None = "4bit" if picked.precision == "4bit" else None
    kept = Quantisation.of(precision, on_gpu=torch.cuda.is_available())
    return TrainedBase(quantisation=kept, fingerprint=model_fingerprint(base))


def _manifest(run: Path) -> dict[str, dict[str, Any]]:
    """The run's manifest, checked for what the model card needs."""
    manifest = read_manifest(run)
    read_as(Told, run / MANIFEST, mend=f"Restore it, or move it away and run `oneday pick {run}`.")
    return manifest


def _recipe_base(run: Path) -> object:
    recipe = read_manifest(run).get("train", {}).get("recipe")
    return recipe.get("base_model") if isinstance(recipe, dict) else None


def _base_name(found: _Found, *, merged: bool) -> str:
    """The base's hub name, else the name of its folder."""
    if found.is_changed and merged:
        return hub_name(found.base, None)[0] or found.base.resolve().name
    return found.trained.name or found.own.resolve().name


def _without_paths(value: Any) -> Any:
    """Reduces absolute paths to their last part: local paths are private, and hashes identify the content."""
    if isinstance(value, dict):
        return {k: _without_paths(v) for k, v in value.items() if k != "base_path"}
    if isinstance(value, list):
        return [_without_paths(v) for v in value]
    return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value


def _publish(temporary: Path, folder: Path) -> None:
    for path in temporary.iterdir():
        with path.open("rb") as f:
            os.fsync(f.fileno())
    old = folder.with_name(f"{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    temporary.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
    sync_directory(folder.parent)


def _validation(run: Path, num_rows: int = CHECKED_ROWS) -> list[RowIds]:
    """The validation rows, as token ids, on which merged weights are compared."""
    path = run / TRAIN / DATA / "validation.parquet"
    if not path.is_file():
        raise ExportError(
            f"{path}: not there, so merged weights cannot be compared. Restore it, or pass `check=false`."
        )
    try:
        return read_rows(path)[:num_rows]
    except (pa.ArrowException, OSError, KeyError) as e:
        why = next(iter(str(e).splitlines()), "")
        raise ExportError(f"{path}: cannot be read ({why}). Restore it, or pass `check=false`.") from e


def _scores(run: Path) -> list[dict[str, Any]]:
    """The comparison of base and tuned, if it was measured."""
    path = run / "10_scores" / "comparison.json"
    mend = f"oneday compare {run} `redo=true` measures anew."
    return [asdict(c) for c in read_as(list[Comparison], path, mend=mend)] if path.is_file() else []


def _logits(
    base: Path, adapter: Path | None, precision: Precision | Quantisation, rows: Sequence[RowIds]
) -> list[torch.Tensor]:
    """The logits of each row, shape [positions, vocabulary]."""
    model = LanguageModel.load(base, lora_adapter=adapter, precision=precision)
    found = []
    with torch.inference_mode():
        for row in rows:
            ids = torch.tensor([row.input_ids], device=model.device)
            found.append(model.model(input_ids=ids).logits[0].float().cpu())
    return found


def compare(before: Sequence[torch.Tensor], after: Sequence[torch.Tensor]) -> Agreement:
    """Compares logits of the same texts."""
    pairs = list(zip(before, after, strict=True))
    num = sum(len(a) for a, _ in pairs)
    same = sum(int((a.argmax(-1) == b.argmax(-1)).sum()) for a, b in pairs)
    largest = max(float((a - b).abs().max()) for a, b in pairs)
    return Agreement(num_positions=num, largest_difference=largest, top_1=same / num)
