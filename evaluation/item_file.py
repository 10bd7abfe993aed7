"""A file of questions: a path that may be a folder, bytes that may be gzipped.

    path = find(Path("tc_eval"), ("DRCD_test.json",))
    data = read_bytes(path)

Where it sits: below every suite that reads questions.
"""

import gzip
import zlib
from collections.abc import Sequence
from pathlib import Path

from evaluation.errors import EvaluationError


def find(path: Path, names: Sequence[str]) -> Path:
    """The path itself if it is a file; in a folder the first of `names` that is there, plain or gzipped.

    Raises:
        EvaluationError: neither.
    """
    if path.is_file():
        return path
    for name in names:
        for candidate in (path / name, path / f"{name}.gz"):
            if candidate.exists():
                return candidate
    if path.is_dir():
        raise EvaluationError(f"{path}: none of {', '.join(names)} in it. Give the file or its folder as items.")
    raise EvaluationError(f"{path}: no such file or folder. Check the path of the items.")


def read_bytes(path: Path) -> bytes:
    """The content, decompressed where the name ends in `.gz`.

    Raises:
        EvaluationError: unreadable.
    """
    try:
        data = path.read_bytes()
        return gzip.decompress(data) if path.suffix == ".gz" else data
    except (OSError, EOFError, zlib.error) as e:
        raise EvaluationError(f"{path}: cannot be read ({getattr(e, 'strerror', None) or e}). Check the file.") from e
