"""`manifest.json` at the top of a run: everything that decided its result, section by section.

record(Path("runs/demo"), "train", {"recipe": ..., "card": "cpu"})
"""

import importlib.metadata
import platform
from collections.abc import Mapping
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


def read_manifest(run: Path) -> dict[str, dict[str, Any]]:
    """Every section of the manifest; empty if there is no manifest yet.

    Raises:
        StageError: damaged.
    """
    path = run / MANIFEST
    if not path.is_file():
        return {}
    return read_as(dict[str, dict[str, Any]], path, mend="Restore it, or move it away: what it says is then unknown.")


def record(run: Path, section: str, values: Mapping[str, object]) -> None:
    """Writes one section; the others stay as they are."""
    manifest = read_manifest(run) | {"versions": versions(), section: dict(values)}
    write_json(run / MANIFEST, manifest)
