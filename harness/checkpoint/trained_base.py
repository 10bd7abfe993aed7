"""The base that an adapter was trained on, and its quantisation in training, recorded in a file beside the adapter.

    trained = find_trained_base(Path("runs/200k/08_pick/adapter"))
    check_same_base(trained, base, adapter)

PEFT's `adapter_config.json` records neither: on an unquantised base, or on another base of the same shape, the adapter
loads without a warning and gives another model.

Where it sits: the picker writes it; serve, compare and export read it.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from core.files import read_as, write_json
from core.manifest import MANIFEST
from core.model.folder import model_fingerprint
from core.model.quantisation import Quantisation
from harness.budget.gpu_profile import GpuProfile, get_gpu_profile
from harness.errors import ConfigError
from harness.keys.weights import Weights
from harness.recipe import AxolotlConfig

TRAINED_BASE = "trained_base.json"

QUANTISATION_UNKNOWN = "{folder}: the quantisation of its base in training is not recorded; no quantisation is assumed."
"""A warning, to which the caller appends how to set the quantisation."""

_SNAPSHOTS = "snapshots"
"""Folder in the hub's cache, whose paths are models--OWNER--NAME/snapshots/COMMIT."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedBase:
    """The base that an adapter was trained on."""

    quantisation: Quantisation
    fingerprint: str
    """`model_fingerprint` of the base's folder."""
    name: str | None = None
    """Name on the hub; None if it is unknown. Local paths are not recorded, because adapters are published."""
    revision: str | None = None
    """Commit of the hub's repository, if it is known."""


def quantisation_in_training(recipe: AxolotlConfig, card: GpuProfile) -> Quantisation:
    """How Axolotl loads the base: NF4 with double quantisation for QLoRA, in 8 bits if asked, else unquantised."""
    is_half = card.bf16 and recipe.bf16 is not False
    return Quantisation(
        load_in_4bit=recipe.weights is Weights.QLORA,
        load_in_8bit=recipe.weights is Weights.LORA_8BIT,
        compute_dtype="bfloat16" if is_half else "float32",
    )


def base_precision(recipe: AxolotlConfig) -> str:
    """How `picked.json` calls the base's precision: `4bit`, `8bit` or `16bit`."""
    return {Weights.QLORA: "4bit", Weights.LORA_8BIT: "8bit"}.get(recipe.weights, "16bit")


@dataclass(frozen=True, slots=True, kw_only=True)
class _TrainSection:
    """The keys of the manifest's section `train` that describe the base."""

    base: str | None = None
    base_path: str = ""
    quantisation: Quantisation | None = None
    recipe: Any = None
    card: Any = None

    def find_quantisation(self) -> Quantisation | None:
        """The recorded quantisation; for a run of an older version, that of its recipe and card."""
        if self.quantisation is not None:
            return self.quantisation
        try:
            return quantisation_in_training(AxolotlConfig(**self.recipe), get_gpu_profile(self.card))
        except (ValidationError, ConfigError, TypeError):
            return None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Manifest:
    train: _TrainSection | None = None


def find_trained_base(adapter: Path) -> TrainedBase | None:
    """Reads the file beside the adapter, else the manifest of the run that contains it; None if neither records it.

    Raises:
        StageError: The file or the manifest is damaged.
    """
    folder = adapter.resolve()
    if (folder / TRAINED_BASE).is_file():
        return read_as(TrainedBase, folder / TRAINED_BASE, mend="Restore it, or publish the adapter again.")
    run = next((p for p in list(folder.parents)[:3] if (p / MANIFEST).is_file()), None)
    if run is None:
        return None
    mend = "Restore it, or move it away: the base is then unknown."
    train = read_as(_Manifest, run / MANIFEST, mend=mend).train
    quantisation = train.find_quantisation() if train else None
    if train is None or train.base is None or quantisation is None:
        return None
    recipe = train.recipe if isinstance(train.recipe, Mapping) else {}
    name, revision = hub_name(Path(train.base_path), recipe.get("base_model"))
    return TrainedBase(quantisation=quantisation, fingerprint=train.base, name=name, revision=revision)


def write_trained_base(folder: Path, trained: TrainedBase) -> None:
    """Writes the file beside the adapter."""
    write_json(folder / TRAINED_BASE, asdict(trained))


def hub_name(base: Path, recipe_base: object) -> tuple[str | None, str | None]:
    """Name and commit of a base on the hub, each None if it is unknown.

    Both are in the folder names of the hub's cache; outside it, the recipe's name is used if it ends in the folder's.
    """
    folder = base.resolve()
    cached = next((p for p in (folder, *folder.parents) if p.name.startswith("models--")), None)
    if cached is not None:
        commit = folder.name if folder.parent.name == _SNAPSHOTS else None
        return cached.name.removeprefix("models--").replace("--", "/", 1), commit
    named = str(recipe_base or "")
    return (named if "/" in named and named.rpartition("/")[2] == folder.name else None), None


def check_same_base(trained: TrainedBase | None, base: Path, adapter: Path, *, on_purpose: bool = False) -> None:
    """Refuses a base other than the one in training, with which the adapter would load but give another model.

    Args:
        on_purpose: The user wants another base.
    Raises:
        ConfigError: The base is another one.
    """
    if trained is None or on_purpose:
        return
    now = model_fingerprint(base)
    if now != trained.fingerprint:
        raise ConfigError(
            f"{base}: not the base that {adapter} was trained on (its hash is {now[:16]}…, the recorded one "
            f"{trained.fingerprint[:16]}…). Give that one with `base=`, or pass `base_changed_on_purpose=true`."
        )
