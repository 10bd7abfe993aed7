"""Programs that only tests use, each in a virtual environment of its own. They are installed outside pytest.

    python -m tests.programs llama.cpp inspect

llama.cpp is compiled, which takes longer than a test may. Inspect needs newer versions of packages that this project's
requirements pin.
"""

import argparse
import sys
from pathlib import Path

import pytest

from submission.environment import Program
from submission.errors import SubmissionError
from submission.export.llama_cpp.program import LLAMA_CPP

ROOT = Path(__file__).parents[1]

INSPECT = Program(
    name="Inspect",
    requirements=ROOT / "tests" / "submission" / "server" / "inspect" / "requirements.txt",
    check=("python", "-c", "import inspect_ai"),
    error=SubmissionError,
)

PROGRAMS = {"llama.cpp": (LLAMA_CPP, ROOT / ".llama"), "inspect": (INSPECT, ROOT / ".inspect")}


def installed(name: str, target: str) -> Path:
    """The environment of a program; the test is skipped without it.

    Args:
        target: The target of the Makefile that installs it.
    """
    program, folder = PROGRAMS[name]
    if not program.is_installed(folder):
        pytest.skip(f"{program.name} is not installed in {folder.name}: `make {target}` installs it and runs this test")
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("names", nargs="+", choices=PROGRAMS)
    for name in parser.parse_args().names:
        program, folder = PROGRAMS[name]
        if not program.is_installed(folder):
            print(f"installing {program.name} in {folder.name}", file=sys.stderr, flush=True)
        try:
            program.install(folder)
        except SubmissionError as e:
            sys.exit(f"error: {e}")


if __name__ == "__main__":
    main()
