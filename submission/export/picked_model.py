"""The picked checkpoint of a run as exports need it: its files, its base, and the validation rows to compare on.

    model = picked_model(Path("runs/200k"), base=None, base_changed=False)
    model.folder, model.base, model.is_whole

Where it sits: picked checkpoint -> **picked model** -> export.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from core.encoding.table import read_rows
from core.errors import PredictionError, StageError
from core.files import read_as
from core.manifest import MANIFEST, read_manifest
from core.model.folder import check_model_folder, model_fingerprint, weight_files
from core.model.quantisation import Precision, Quantisation
from core.model.token_ids import IGNORED_LABEL, RowIds
from core.model.weight_file import opened
from core.run_folder import PICK, TRAIN
from harness.checkpoint.content import ADAPTER_FILES, MODEL_CONFIG, is_model
from harness.checkpoint.pick import PICKED, Picked, read_picked
from harness.checkpoint.trained_base import TrainedBase, check_same_base, find_trained_base, hub_name
from harness.supervise import DATA
from submission.errors import ExportError


@dataclass(frozen=True, slots=True, kw_only=True)
class PickedModel:
    """What is exported, and what it stands on."""

    picked: Picked
    folder: Path
    """The adapter's; of a run that trained all weights, the model's."""
    base: Path
    trained: TrainedBase
    reference: Path | None
    """The base in training, to compare with; None: not at hand."""

    @property
    def is_whole(self) -> bool:
        """All weights were trained."""
        return is_model([path.name for path in self.folder.iterdir()])

    @property
    def lora_adapter(self) -> Path | None:
        """The adapter's folder, if it is one."""
        return None if self.is_whole else self.folder

    @property
    def own(self) -> Path:
        """The adapter's base: the one in training, if it is at hand."""
        return self.reference or self.base

    @property
    def is_changed(self) -> bool:
        """The base is another one than in training."""
        return self.reference != self.base


def picked_model(run: Path, *, base: Path | None, base_changed: bool) -> PickedModel:
    """Finds the pick, its files and the base.

    Args:
        base: Overrides the base model that the pick names.
        base_changed: Allows a base other than the one in training.
    Raises:
        ExportError: nothing is picked, its files are damaged, or the base is missing.
        ConfigError: the base is another one than in training.
    """
    if not (run / PICK / PICKED).is_file() or not (run / MANIFEST).is_file():
        raise ExportError(f"{run}: nothing picked in it. Run `oneday train`, or `oneday pick {run}`.")
    picked = read_picked(run)
    base = base or Path(picked.base_model)
    if not base.is_dir():
        raise ExportError(f"{run}: its base model {base} is not here. Pass `base=FOLDER`.")
    check_model_folder(base)
    folder = run / PICK / picked.adapter
    try:
        _check_whole(folder)
    except (StageError, PredictionError) as e:
        raise ExportError(f"{folder}: not whole ({e}) `oneday pick {run}` writes it anew.") from e
    trained = find_trained_base(folder) or _as_picked(picked, base)
    check_same_base(trained, base, run, on_purpose=base_changed)
    places = [base, Path(picked.base_model)]
    reference = next((p for p in places if p.is_dir() and model_fingerprint(p) == trained.fingerprint), None)
    if trained.name is None and reference is not None:
        name, revision = hub_name(reference, _recipe_base(run))
        trained = replace(trained, name=name, revision=revision)
    return PickedModel(picked=picked, folder=folder, base=base, trained=trained, reference=reference)


def _check_whole(picked: Path) -> None:
    """Opens the weights of an adapter or of a model."""
    whole = picked.is_dir() and is_model([path.name for path in picked.iterdir()])
    read_as(dict[str, object], picked / (MODEL_CONFIG if whole else ADAPTER_FILES[1]), mend="")
    for shard in weight_files(picked) if whole else [picked / ADAPTER_FILES[0]]:
        with opened(shard):
            pass


def _as_picked(picked: Picked, base: Path) -> TrainedBase:
    """For a pick without a record of its base: the base that the picker measured it on."""
    import torch

    precision: Precision | None = "4bit" if picked.precision == "4bit" else None
    kept = Quantisation.of(precision, on_gpu=torch.cuda.is_available())
    return TrainedBase(quantisation=kept, fingerprint=model_fingerprint(base))


def validation_prompts(run: Path, num: int) -> list[tuple[int, ...]]:
    """The prompts of the first validation rows, as ids."""
    path = run / TRAIN / DATA / "validation.parquet"
    rows = validation_rows(run, num) if path.is_file() else []
    lengths = (next((n for n, label in enumerate(row.labels) if label != IGNORED_LABEL), 0) for row in rows)
    return [row.input_ids[:length] for row, length in zip(rows, lengths, strict=True) if length > 1]


def validation_rows(run: Path, num: int) -> list[RowIds]:
    """The first validation rows, as token ids."""
    path = run / TRAIN / DATA / "validation.parquet"
    if not path.is_file():
        raise ExportError(
            f"{path}: not there, so merged weights cannot be compared. Restore it, or pass `check=false`."
        )
    try:
        return read_rows(path)[:num]
    except (pa.ArrowException, OSError, KeyError) as e:
        why = next(iter(str(e).splitlines()), "")
        raise ExportError(f"{path}: cannot be read ({why}). Restore it, or pass `check=false`.") from e


def _recipe_base(run: Path) -> object:
    recipe = read_manifest(run).get("train", {}).get("recipe")
    return recipe.get("base_model") if isinstance(recipe, dict) else None
