"""`axolotl train`, ended with its supervisor: python -m harness.inside.main SUPERVISOR_PID CONFIG

A supervisor that is killed -9 leaves an orphan that holds the run's lock. The kernel sends it SIGTERM instead: while it
imports and loads that ends it, in training the plugin evaluates, saves and ends.

Where it sits: the child's first lines, before Axolotl is imported.
"""

import contextlib
import ctypes
import os
import runpy
import signal
import sys

_PR_SET_PDEATHSIG = 1


def end_with_parent(parent: int) -> None:
    """Asks for SIGTERM when the parent dies; ends at once if it is dead already. Linux alone has it."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        raise SystemExit(1)


if __name__ == "__main__":
    end_with_parent(int(sys.argv.pop(1)))
    runpy.run_module("axolotl.cli.train", run_name="__main__", alter_sys=True)
