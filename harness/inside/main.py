"""Runs `axolotl train` and ends it if its supervisor dies: python -m harness.inside.main SUPERVISOR_PID CONFIG

Without this, a supervisor that is killed with SIGKILL leaves an orphan that holds the run's lock. The kernel sends the
child SIGTERM: during imports and loading this ends it, during training the plugin evaluates, saves and ends.

Where it sits: the first lines of the child process, before it imports Axolotl.
"""

import contextlib
import ctypes
import os
import runpy
import signal
import sys

_PR_SET_PDEATHSIG = 1


def end_with_parent(parent: int) -> None:
    """Requests SIGTERM for the death of the parent, and exits if it is already dead. Only Linux can send it."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        raise SystemExit(1)


if __name__ == "__main__":
    end_with_parent(int(sys.argv.pop(1)))
    runpy.run_module("axolotl.cli.train", run_name="__main__", alter_sys=True)
