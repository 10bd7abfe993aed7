"""The base that an adapter was trained on: which one, and how its weights were kept, in a file beside the adapter.

    trained = find_trained_base(Path("runs/200k/08_pick/adapter"))
    check_same_base(trained, base, adapter)

PEFT's own `adapter_config.json` says neither: the same adapter on an unquantised base, or on another one of the same
shape, loads without a word and is another model.

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
from harness.recipe import AxolotlConfig

TRAINED_BASE = "trained_base.json"

UNTOLD = "{folder}: nothing says how its base was kept in training; taken as not quantised."
"""A warning, to be ended with how to set it."""

_SNAPSHOTS = "snapshots"
"""In the hub's cache: models--OWNER--NAME/snapshots/COMMIT."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedBase:
    """What an adapter was trained on."""

    quantisation: Quantisation
    fingerprint: str
    """`model_fingerprint` of the base's folder."""
    name: str | None = None
    """On the hub; None: not known there. A folder of this machine is nobody else's business."""
    revision: str | None = None
    """Commit of the hub's repository, where it is known."""


def quantisation_in_training(recipe: AxolotlConfig, card: GpuProfile) -> Quantisation:
    """How Axolotl keeps the base under a recipe: only for `adapter: qlora` in 4 bits, NF4 with double quantisation."""
    is_half = card.bf16 and recipe.bf16 is not False
    return Quantisation(
        load_in_4bit=recipe.load_in_4bit and recipe.adapter == "qlora",
        compute_dtype="bfloat16" if is_half else "float32",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trained:
    """What of the manifest's `train` says it."""

    base: str | None = None
    base_path: str = ""
    quantisation: Quantisation | None = None
    recipe: Any = None
    card: Any = None

    def kept(self) -> Quantisation | None:
        """As recorded; of a run that is older than this record, from its recipe and card."""
        if self.quantisation is not None:
            return self.quantisation
        try:
            return quantisation_in_training(AxolotlConfig(**self.recipe), get_gpu_profile(self.card))
        except (ValidationError, ConfigError, TypeError):
            return None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Manifest:
    train: _Trained | None = None


def find_trained_base(adapter: Path) -> TrainedBase | None:
    """Beside the adapter, else in the manifest of the run that it lies in; None: nothing says it.

    Raises:
        StageError: the file that says it is damaged.
    """
    folder = adapter.resolve()
    if (folder / TRAINED_BASE).is_file():
        return read_as(TrainedBase, folder / TRAINED_BASE, mend="Restore it, or publish the adapter anew.")
    run = next((p for p in list(folder.parents)[:3] if (p / MANIFEST).is_file()), None)
    if run is None:
        return None
    mend = "Restore it, or move it away: what it says is then unknown."
    train = read_as(_Manifest, run / MANIFEST, mend=mend).train
    kept = train.kept() if train else None
    if train is None or train.base is None or kept is None:
        return None
    recipe = train.recipe if isinstance(train.recipe, Mapping) else {}
    name, revision = hub_name(Path(train.base_path), recipe.get("base_model"))
    return TrainedBase(quantisation=kept, fingerprint=train.base, name=name, revision=revision)


def write_trained_base(folder: Path, trained: TrainedBase) -> None:
    """Writes the file."""
    write_json(folder / TRAINED_BASE, asdict(trained))


def hub_name(base: Path, recipe_base: object) -> tuple[str | None, str | None]:
    """Name and commit of a base on the hub, as far as they are known.

    The hub's cache names both in its folders; else the recipe names the base, if the folder is called like it.
    """
    folder = base.resolve()
    cached = next((p for p in (folder, *folder.parents) if p.name.startswith("models--")), None)
    if cached is not None:
        commit = folder.name if folder.parent.name == _SNAPSHOTS else None
        return cached.name.removeprefix("models--").replace("--", "/", 1), commit
    named = str(recipe_base or "")
    return (named if "/" in named and named.rpartition("/")[2] == folder.name else None), None


def check_same_base(trained: TrainedBase | None, base: Path, adapter: Path, *, on_purpose: bool = False) -> None:
    """Refuses another base than the one in training: of the same shape, it would load and answer something else.

    Args:
        on_purpose: The user knows.
    Raises:
        ConfigError: it is another one.
    """
    if trained is None or on_purpose:
        return
    now = model_fingerprint(base)
    if now != trained.fingerprint:
        raise ConfigError(
            f"{base}: not the base that {adapter} was trained on (hash {now[:16]}…, on record "
            f"{trained.fingerprint[:16]}…). Give that one with `base=`, or pass `base_changed_on_purpose=true`."
        )
