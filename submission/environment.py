"""Another program in a virtual environment of its own, which pip makes when it is first needed.

    HELM = Program(name="HELM", requirements=path, check=("helm-run", "--help"), error=HelmError)
    HELM.install(Path(".helm"))
    tool(Path(".helm"), "helm-run")

Such a program needs other versions of packages than this project, or takes minutes to compile.

Where it sits: below helm/run.py and export/llama_cpp/program.py.
"""

import hashlib
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from submission.errors import SubmissionError

_INSTALLED = "oneday-requirements.sha256"


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What is installed, and how to see that it runs."""

    name: str
    requirements: Path
    check: tuple[str, ...]
    """A command of the environment that succeeds if the program is whole."""
    error: type[SubmissionError]
    options: tuple[str, ...] = ()
    """For pip install."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """Environment variables of pip, where the user has not set them."""

    def is_installed(self, folder: Path) -> bool:
        """Whether the environment matches the requirements."""
        marker = folder / _INSTALLED
        return marker.is_file() and marker.read_text() == self._digest()

    def _digest(self) -> str:
        return hashlib.sha256(self.requirements.read_bytes()).hexdigest()

    def install(self, folder: Path, *, python: str = sys.executable) -> None:
        """Creates the environment unless it is there. The marker is written last, so an aborted attempt is repeated.

        Raises:
            SubmissionError: the folder holds something else, or pip fails. Its class is `error`.
        """
        if self.is_installed(folder):
            return
        is_other = folder.exists() and not (folder / "pyvenv.cfg").is_file()
        if is_other and (not folder.is_dir() or any(folder.iterdir())):
            raise self.error(f"{folder}: is there and is no virtual environment. Pass another `environment=`.")
        if not tool(folder, "pip").is_file():
            self._run([python, "-m", "venv", str(folder)], folder)
        pip = [str(tool(folder, "python")), "-m", "pip", "install", "--no-input", "--disable-pip-version-check"]
        self._run([*pip, "--quiet", *self.options, "-r", str(self.requirements)], folder)
        self._run([str(tool(folder, self.check[0])), *self.check[1:]], folder)
        (folder / _INSTALLED).write_text(self._digest())

    def _run(self, command: Sequence[str], folder: Path) -> None:
        variables = {**self.variables, **os.environ}
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, env=variables
            )
        except OSError as e:
            raise self.error(f"{self.name} cannot be installed in {folder}: {command[0]}: {e.strerror}.") from e
        if done.returncode:
            lines = (done.stderr + done.stdout).strip().splitlines() or ["no output"]
            errors = [line for line in lines if line.startswith("ERROR")]
            raise self.error(
                f"{self.name} cannot be installed in {folder}: {(errors or lines)[-1].strip()[:300].rstrip('.')}. "
                "Check network and space and run it again, or pass `environment=` of one that has it."
            )


def tool(folder: Path, name: str) -> Path:
    """The path of an executable in an environment."""
    return (folder / "bin" / name).absolute()
