"""`manifest.json` at the top of a run: everything that decided its result, section by section.

record(Path("runs/demo"), "train", {"recipe": ..., "card": "cpu"})
"""

import importlib.metadata
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.files import read_as, write_json

MANIFEST = "manifest.json"
PACKAGES = ("axolotl", "torch", "transformers", "peft", "bitsandbytes", "accelerate", "datasets", "tokenizers")


def versions() -> dict[str, str]:
    """Versions of the training packages; a package that is not installed is left out."""
    installed = {"oneday": importlib.metadata.version("oneday-llm"), "python": platform.python_version()}
    for name in PACKAGES:
        try:
            installed[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return installed


_MEND = "Restore it, or move it away: what it says is then unknown."


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeOrigins:
    """What the recorded recipe says of the base model."""

    base_model: str | None = None
    load_in_4bit: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainOrigins:
    """What the section `train` says of card and inputs."""

    card: str | None = None
    base_path: str | None = None
    mix_path: str | None = None
    recipe: RecipeOrigins = RecipeOrigins()


@dataclass(frozen=True, slots=True, kw_only=True)
class CurateOrigins:
    """What the section `curate` says of the base model."""

    base_path: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Origins:
    """Where a run comes from: the part of a manifest that later commands look up. The rest of it is a record."""

    train: TrainOrigins = TrainOrigins()
    curate: CurateOrigins = CurateOrigins()

    @property
    def base_path(self) -> str | None:
        """The base model of the training, else of the curation."""
        return self.train.base_path or self.curate.base_path


def read_origins(run: Path) -> Origins:
    """Reads the origins of a run; nothing is known of them if there is no manifest yet.

    Raises:
        StageError: The manifest is damaged.
    """
    return read_as(Origins, run / MANIFEST, mend=_MEND) if (run / MANIFEST).is_file() else Origins()


def read_manifest(run: Path) -> dict[str, dict[str, Any]]:
    """Every section of the manifest; empty if there is no manifest yet.

    Raises:
        StageError: damaged.
    """
    path = run / MANIFEST
    return read_as(dict[str, dict[str, Any]], path, mend=_MEND) if path.is_file() else {}


def record(run: Path, section: str, values: Mapping[str, object]) -> None:
    """Writes one section; the others stay as they are."""
    manifest = read_manifest(run) | {"versions": versions(), section: dict(values)}
    write_json(run / MANIFEST, manifest)
