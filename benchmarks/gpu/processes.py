"""What a process has started, and what that has started: by parent, for some kernels do not list children.

Only the standard library is imported.
"""

import contextlib
from collections import defaultdict
from pathlib import Path


def descendants(pid: int) -> list[int]:
    """The deepest first."""
    children = defaultdict(list)
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            after_name = path.read_text(errors="replace").rpartition(")")[2].split()
            if after_name[0] not in ("Z", "X"):
                children[int(after_name[1])].append(int(path.parent.name))
    found: list[int] = []
    waiting = [pid]
    while waiting:
        of = children[waiting.pop()]
        found += of
        waiting += of
    return found[::-1]
