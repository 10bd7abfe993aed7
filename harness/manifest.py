"""`manifest.json` at the top of a run: everything that decided its result, section by section.

record(Path("runs/demo"), "train", {"recipe": ..., "card": "cpu"})
"""

import importlib.metadata
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from curation.stage import read_json, write_json

PACKAGES = ("axolotl", "torch", "transformers", "peft", "bitsandbytes", "accelerate", "datasets", "tokenizers")


def versions() -> dict[str, str]:
    """The stack's versions; a package that is not installed is left out."""
    found = {"oneday": importlib.metadata.version("oneday-llm"), "python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def record(run: Path, section: str, values: Mapping[str, Any]) -> None:
    """Writes one section; the others stay as they are."""
    path = run / "manifest.json"
    manifest = read_json(path) if path.is_file() else {}
    manifest |= {"versions": versions(), section: dict(values)}
    write_json(path, manifest)
