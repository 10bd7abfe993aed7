"""The command line as a process of its own: this program's code, whatever lies in the folder it is started from.

    subprocess.Popen(command("serve", "--port", "0"), env=environment())

`python -m` alone looks into the working directory first: in a checkout that another version was started from, or in a
container with one mounted, that is somebody else's code.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent


def command(*arguments: str) -> list[str]:
    """`oneday` with these arguments."""
    return [sys.executable, "-P", "-m", "oneday.cli", *arguments]


def environment() -> Mapping[str, str]:
    """Ours, with this program to be found first."""
    path = os.pathsep.join(part for part in (str(SOURCE), os.environ.get("PYTHONPATH")) if part)
    return {**os.environ, "PYTHONPATH": path}
