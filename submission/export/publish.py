"""A written folder takes its place at once, and names no folder of this machine.

    publish(Path("09_export/merged.tmp"), Path("09_export/merged"))

Where it sits: the last step of an export.
"""

import os
import shutil
from pathlib import Path
from typing import Any

from core.files import sync_directory


def without_paths(value: Any) -> Any:
    """Reduces absolute paths to their last part: local paths are private, and hashes identify the content."""
    if isinstance(value, dict):
        return {k: without_paths(v) for k, v in value.items() if k != "base_path"}
    if isinstance(value, list):
        return [without_paths(v) for v in value]
    return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value


def publish(temporary: Path, folder: Path) -> None:
    """Writes all files to disk, then renames the folder; what was there before is removed afterwards."""
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
