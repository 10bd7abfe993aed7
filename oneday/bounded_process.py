"""Runs a command in a process with a deadline: python -P -m oneday.bounded_process JOB.json

    code = run_within("oneday.commands.pick:run_pick", request, deadline=ledger.deadline, beat=ledger.beat)

Loading a model cannot be interrupted from inside the process. Only killing the process keeps a deadline for certain.
The process that starts it holds the run's lock, charges its ledger, and kills it.

Where it sits: beside the command line; it has the same exit codes.
"""

import importlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from core.files import read_as
from harness.budget.clock import uptime
from harness.inside.main import end_with_parent
from oneday import child
from oneday.cli.main import exit_code
from oneday.cli.spelling import spelled
from oneday.display.console import Console
from oneday.requests.request import Request, arguments

KILL_S = 0.25
"""Time to kill a process and wait for its end."""

EXIT_GRACE_S = 3.0
"""Time for the process to publish and exit, before it is killed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundedJob:
    """The job file of a process."""

    command: str
    """As it is typed: `pick`."""
    runs: str
    """`module:function`; it is called with the request, the console and the deadline."""
    request: str
    """`module:class` of the request."""
    values: Mapping[str, object]
    deadline: float
    """Uptime at which the work must be finished. A duration would not include the time that importing takes."""
    parent: int
    """Process id of the starter. The process ends when the starter does."""


def run_within(command: str, runs: str, request: Request, *, deadline: float, beat: Callable[[], None]) -> int | None:
    """The exit code of a command's process, or None if it had to be killed.

    Args:
        beat: Called while the process runs.
    """
    until = deadline - KILL_S
    if uptime() >= until:
        return None
    job = BoundedJob(
        command=command,
        runs=runs,
        request=f"{type(request).__module__}:{type(request).__name__}",
        values=asdict(request),
        deadline=deadline - EXIT_GRACE_S,
        parent=os.getpid(),
    )
    with tempfile.TemporaryDirectory(prefix="oneday-") as folder:
        path = Path(folder) / "job.json"
        path.write_bytes(TypeAdapter(BoundedJob).dump_json(job))
        started = [sys.executable, "-P", "-m", "oneday.bounded_process", str(path)]
        # in its own session: Ctrl-C reaches only this process, which then kills the child
        process = subprocess.Popen(started, env=child.environment(), start_new_session=True)
        try:
            while (code := process.poll()) is None and uptime() < until:
                beat()
                time.sleep(0.05)
            return code
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()


def main(path: Path) -> int:
    """Does the work of a job file and returns the exit code."""
    job = read_as(BoundedJob, path)
    end_with_parent(job.parent)
    kind: type[Request] = _named(job.request)
    request = TypeAdapter(kind).validate_python(job.values)
    console = Console(json_line=getattr(request, "json", False), spelled=lambda text: spelled(text, kind))
    work = _named(job.runs)
    return exit_code(lambda: work(request, console, deadline=job.deadline), [*job.command.split(), *arguments(request)])


def _named(text: str) -> Any:
    module, _, name = text.partition(":")
    return getattr(importlib.import_module(module), name)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
