"""Finds the descendants of a process by the parent of each process, because some kernels do not list children.

This module imports only the standard library.
"""

import contextlib
from collections import defaultdict
from pathlib import Path


def descendants(pid: int) -> list[int]:
    """Returns the process ids of all descendants, the deepest first."""
    children = defaultdict(list)
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            after_name = path.read_text(errors="replace").rpartition(")")[2].split()
            if after_name[0] not in ("Z", "X"):
                children[int(after_name[1])].append(int(path.parent.name))
    pids: list[int] = []
    waiting = [pid]
    while waiting:
        child_pids = children[waiting.pop()]
        pids += child_pids
        waiting += child_pids
    return pids[::-1]
