"""Runs `oneday pick` in a process with a deadline: python -P -m oneday.pick_process JOB.json

Loading a model cannot be interrupted from inside the process. Only killing the process keeps a deadline for certain.
`pick_within` (oneday/commands/training/pick.py) writes the job, holds the lock, charges the ledger, kills it.

Where it sits: beside the command line; it has the same exit codes.
"""

import sys
from pathlib import Path

from core.files import read_as
from harness.inside.main import end_with_parent
from oneday.cli.main import exit_code
from oneday.cli.spelling import spelled
from oneday.commands.training.pick import PickProcess, run_pick
from oneday.display.console import Console
from oneday.requests.request import arguments


def main(path: Path) -> int:
    """Picks and returns the exit code."""
    job = read_as(PickProcess, path)
    end_with_parent(job.parent)
    console = Console(json_line=job.request.json, spelled=lambda text: spelled(text, type(job.request)))
    return exit_code(
        lambda: run_pick(job.request, console, deadline=job.deadline), ["pick", *arguments(job.request)]
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
