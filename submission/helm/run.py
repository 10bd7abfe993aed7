"""The real HELM in an environment of its own, run against a server of the challenge's contract.

    helm = install(Path(".helm"))
    run = HelmRun(helm=helm, url="http://127.0.0.1:8080", out=Path("runs/helm"), suite=read_suite("simple"), ...)
    run_helm(run)
    read_runs(run.results)

HELM needs other versions of datasets and numpy than Axolotl, so it gets its own virtual environment in `.helm`, made by
pip from requirements.txt (about 1 GB, one to three minutes). It asks the challenge's deployment `neurips/local` at
HELM_HTTP_MODEL_BASE_URL.

All files are below one folder: `benchmark_output` belongs to HELM (`scenarios` holds the data, `runs/SUITE` the results
that `oneday score` reads), `SUITE` to this program (the entries, the logs, results.json).

Where it sits: a served checkpoint -> **run** -> results, tables -> score.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from core.files import make_folder, naming, write_text
from submission.environment import Program, tool
from submission.errors import HelmError
from submission.helm.results import SCHEMA, RunLog, read_log
from submission.helm.suite import Suite

REQUIREMENTS = Path(__file__).parent / "requirements.txt"
PLUGIN = Path(__file__).parent / "plugin" / "challenge_scenarios.py"
MODEL = "neurips/local"
RESULTS = "results.json"
"""Written last: its presence marks a finished run."""

PROGRAM = Program(
    name="HELM", requirements=REQUIREMENTS, check=("helm-run", "--help"), error=HelmError, options=("--no-deps",)
)
_POLL_S = 0.2


@dataclass(frozen=True, slots=True)
class Helm:
    """HELM's environment, ready to use."""

    folder: Path

    def tool(self, name: str) -> Path:
        """The path of an executable in the environment."""
        return tool(self.folder, name)

    def variables(self) -> dict[str, str]:
        """Environment variables of HELM's tools: nltk's data is taken from a wheel instead of being downloaded."""
        found = sorted(self.folder.glob("lib/python*/site-packages/llama_index/core/_static/nltk_cache"))
        folders = [str(folder.absolute()) for folder in found] + [os.environ.get("NLTK_DATA", "")]
        return {"NLTK_DATA": os.pathsep.join(filter(None, folders))}


@dataclass(frozen=True, slots=True, kw_only=True)
class HelmRun:
    """What HELM runs, against which server, and where the results go."""

    helm: Helm
    url: str
    model: str
    """The model that answers there. A run of another model is not resumed."""
    out: Path
    suite: Suite
    num_instances: int
    """The most instances of each entry that does not set its own number."""
    num_threads: int = 4

    @property
    def folder(self) -> Path:
        """Our files of this suite."""
        return self.out / self.suite.name

    @property
    def results(self) -> Path:
        """HELM's files of this suite."""
        return self.out / "benchmark_output" / "runs" / self.suite.name

    @property
    def scenarios(self) -> Path:
        """HELM's data; files that are here are not downloaded."""
        return self.out / "benchmark_output" / "scenarios"

    @property
    def log(self) -> Path:
        """What helm-run printed."""
        return self.folder / "helm-run.log"

    def inputs(self) -> dict[str, object]:
        """What decides the results. A run with the same inputs is resumed."""
        text = "\n".join([self.suite.conf, *self.suite.entries])
        return {
            "entries_sha256": hashlib.sha256(text.encode()).hexdigest(),
            "model": self.model,
            "num_instances": self.num_instances,
        }


def is_installed(folder: Path) -> bool:
    """Whether the environment matches requirements.txt."""
    return PROGRAM.is_installed(folder)


def install(folder: Path, *, python: str = sys.executable) -> Helm:
    """Creates the environment, or uses the existing one.

    Raises:
        HelmError: the folder holds something else, or pip fails.
    """
    PROGRAM.install(folder, python=python)
    return Helm(folder)


def wait_for(url: str, *, patience_s: float) -> None:
    """Waits until the server answers /tokenize. Without it, HELM retries for minutes.

    Raises:
        HelmError: the server does not answer within `patience_s`.
    """
    until = time.monotonic() + patience_s
    body = json.dumps({"text": "one day", "truncation": True, "max_length": 16}).encode()
    while True:
        try:
            request = urllib.request.Request(f"{url}/tokenize", body, {"Content-Type": "application/json"})
            with urllib.request.urlopen(request, timeout=30) as reply:
                json.load(reply)["tokens"]
            return
        except (OSError, ValueError, KeyError, TypeError) as e:
            why = f"HTTP {e.code}" if isinstance(e, urllib.error.HTTPError) else str(e) or type(e).__name__
            if time.monotonic() >= until:
                raise HelmError(
                    f"{url}: no server that answers /tokenize ({why}). Start one: oneday serve `checkpoint=RUN`."
                ) from e
        time.sleep(_POLL_S)


def run_helm(run: HelmRun, *, on_progress: Callable[[RunLog], None] = lambda log: None) -> RunLog:
    """Runs helm-run and helm-summarize; resumes an interrupted run with the same inputs.

    Returns:
        The content of helm-run's log. Failed runs are listed in it; they do not discard the others.
    Raises:
        HelmError: HELM could not start, or produced no result.
    """
    goes_on = _prepare(run)
    conf = run.folder / "entries.conf"
    write_text(conf, run.suite.conf)
    # HELM runs in `out`: its perturbations look for benchmark_output in the working directory.
    command = [
        *(str(run.helm.tool("helm-run")), "--conf-paths", str(conf.absolute()), "--models-to-run", MODEL),
        *("--suite", run.suite.name, "--max-eval-instances", str(run.num_instances), "-n", str(run.num_threads)),
        *("--plugins", str(PLUGIN), "--disable-cache", *(["--skip-completed-runs"] if goes_on else [])),
        *(["--run-entries", *run.suite.entries] if run.suite.entries else []),
    ]
    code = _follow(command, run, run.log, lambda: on_progress(_log(run.log)))
    log = _log(run.log)
    if not list(run.results.glob("*/stats.json")):
        raise HelmError(f"helm-run ended with exit code {code} and no result: {reason(log, run.log)}")
    summary = run.folder / "helm-summarize.log"
    show = [str(run.helm.tool("helm-summarize")), "--suite", run.suite.name, "--schema-path", str(SCHEMA)]
    if code := _follow(show, run, summary, lambda: None):
        raise HelmError(f"helm-summarize ended with exit code {code}: {_last_line(summary)} See {summary}.")
    return log


def _prepare(run: HelmRun) -> bool:
    """Whether an unfinished run with the same inputs exists; removes any other run of this program."""
    marker, inputs = run.folder / "inputs.json", json.dumps(run.inputs(), indent=1)
    if marker.is_file() and marker.read_text() == inputs and not (run.folder / RESULTS).is_file():
        return True
    for old in (run.results, run.folder):
        if old.is_dir() and any(old.iterdir()):
            if not marker.is_file():
                raise HelmError(f"{old}: is there and was not made by oneday helm. Pass another `out=`.")
            shutil.rmtree(old)
    make_folder(run.folder)
    write_text(marker, inputs)
    return False


def _environment(run: HelmRun) -> Mapping[str, str]:
    """This process's environment without PYTHON* variables, and without a proxy for local requests."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    local = ",".join(filter(None, (os.environ.get("no_proxy") or os.environ.get("NO_PROXY"), "127.0.0.1,localhost")))
    return {
        **kept, **run.helm.variables(), "HELM_HTTP_MODEL_BASE_URL": run.url, "NO_PROXY": local, "no_proxy": local,
        "TOKENIZERS_PARALLELISM": "false", "PYTHONUNBUFFERED": "1",
    }  # fmt: skip


def _follow(command: Sequence[str], run: HelmRun, log: Path, on_tick: Callable[[], None]) -> int:
    """Runs one of HELM's tools to its end; Ctrl-C ends the tool too."""
    with naming(log), log.open("ab") as output:
        process = subprocess.Popen(
            command,
            cwd=run.out,
            env=_environment(run),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            while True:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    return process.wait(timeout=1.0)
                on_tick()
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _log(path: Path) -> RunLog:
    with path.open(encoding="utf-8", errors="replace") as lines:
        return read_log(lines)


def reason(log: RunLog, path: Path) -> str:
    """Why HELM failed and what to do: the error of the first failed run, else the last line of the log."""
    failed = next(iter(log.failed.items()), None)
    said = (f"{failed[0]}: {failed[1]}" if failed else _last_line(path))[:300].rstrip(".")
    mend = (
        "HELM could not download it: give it a network, or `scenarios=FOLDER` with the data. " if _OFFLINE(said) else ""
    )
    return f"{said}. {mend}See {path}."


_OFFLINE = re.compile("urlopen error|ConnectionError|Max retries exceeded").search


def _last_line(path: Path) -> str:
    lines = [line.strip() for line in path.read_text(encoding="utf-8", errors="replace").splitlines()]
    return next((line for line in reversed(lines) if line), "no output")[:300]
