"""SIGTERM acts like Ctrl-C at any point of a command: exit code 3 and one line that says how to continue."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from oneday.demo.demo import DEMO_BASE, RECIPE
from submission.environment import _INSTALLED
from submission.helm import run as helm
from tests.conftest import copy_run, write_small_mix
from tests.curation.test_curate import DATA as NI_TASKS
from tests.submission.server.scripted_server import scripted

ONEDAY = [sys.executable, "-P", "-m", "oneday.cli"]
PATIENCE_S = 120.0


@pytest.fixture(scope="module")
def finished(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_run(finished_run, tmp_path_factory.mktemp("finished") / "run")


@contextlib.contextmanager
def started(command: Sequence[object], folder: Path) -> Iterator["subprocess.Popen[str]"]:
    """Starts a command in a session of its own with its output in files, and kills the session afterwards."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONUNBUFFERED": "1"}
    with (folder / "out").open("w") as out, (folder / "err").open("w") as err:
        child = subprocess.Popen(
            [*ONEDAY, *map(str, command)], stdout=out, stderr=err, text=True, env=environment, start_new_session=True,
            # a background job of a shell ignores Ctrl-C, and its children inherit that
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )  # fmt: skip
    try:
        yield child
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def wait_until(there: Callable[[], bool], child: "subprocess.Popen[str]", folder: Path) -> None:
    until = time.monotonic() + PATIENCE_S
    while not there():
        assert child.poll() is None, (folder / "err").read_text()
        assert time.monotonic() < until, (folder / "err").read_text()
        time.sleep(0.02)


def catches_sigterm(pid: int) -> bool:
    """Returns whether the process has installed its handler of SIGTERM."""
    status = Path(f"/proc/{pid}/status").read_text()
    caught = next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(caught >> (signal.SIGTERM - 1) & 1)


def says(text: str) -> Callable[[Path], bool]:
    return lambda folder: text in (folder / "err").read_text() + (folder / "out").read_text()


def holds(pattern: str) -> Callable[[Path], bool]:
    return lambda folder: any(folder.glob(pattern))


def at_once(folder: Path) -> bool:
    """Returns True at once, while the command still imports."""
    return True


@dataclass(frozen=True)
class Case:
    """A command, and the moment at which it gets the signal."""

    name: str
    command: Callable[[Path, Path], Sequence[object]]
    """The arguments of the command, from a temporary folder and a finished run."""
    moment: Callable[[Path], bool]


def own_mix(folder: Path) -> list[object]:
    mix = write_small_mix(folder / "run" / "05_mix")
    return ["--mix", mix, "--config", RECIPE, "--base", DEMO_BASE, "--card", "cpu"]


# Of the commands that only import and compute, `plan` stands for all: the handler is set before a command begins.
CASES = [
    Case(
        "curate", lambda p, run: ["curate", "--tasks", NI_TASKS, "--base", DEMO_BASE, "--run", p / "run"],
        holds("run/01_tasks/done.json"),
    ),
    Case("demo", lambda p, run: ["demo", "--run", p / "run"], holds("run/answers.jsonl")),
    Case("train", lambda p, run: ["train", "--budget", "10m", *own_mix(p)], says("rehearsal: ")),
    Case(
        "train after the rehearsal", lambda p, run: ["train", "--budget", "10m", "--no-rehearsal", *own_mix(p)],
        holds("run/07_train/axolotl.log"),
    ),
    Case("plan", lambda p, run: ["plan", "--card", "rtx4090", "--dry-run"], at_once),
    Case(
        "pick", lambda p, run: ["pick", run / "07_train" / "output", "--validation", run / "05_mix/train.jsonl",
                                "--base", DEMO_BASE, "--time", "10m"],
        at_once,
    ),
    Case("compare", lambda p, run: ["compare", run, "--redo", "--questions", "8"], says("base against tuned: 8")),
    Case("doctor", lambda p, run: ["doctor", "--run", p], says("doctor ")),
    Case(
        "reproduce", lambda p, run: ["reproduce", run / "manifest.json", "--run", p / "again", "--questions", "2"],
        says("rehearsal: "),
    ),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_sigterm_ends_a_command_in_order(case: Case, tmp_path: Path, finished: Path) -> None:
    with started(case.command(tmp_path, finished), tmp_path) as child:
        wait_until(lambda: catches_sigterm(child.pid), child, tmp_path)
        wait_until(lambda: case.moment(tmp_path), child, tmp_path)
        child.send_signal(signal.SIGTERM)
        code = child.wait(timeout=PATIENCE_S)
        left_behind = processes_of(child.pid)
    assert_interrupted(code, tmp_path)
    assert left_behind == []


def processes_of(session: int) -> list[str]:
    """Returns the live processes of a session."""
    listed = subprocess.run(["ps", "-o", "stat=,args=", "-s", str(session)], capture_output=True, text=True).stdout
    return [line for line in listed.splitlines() if not line.startswith("Z")]


def children_of(pid: int) -> list[str]:
    return subprocess.run(["ps", "-o", "args=", "--ppid", str(pid)], capture_output=True, text=True).stdout.splitlines()


def assert_interrupted(code: int, folder: Path) -> None:
    said = (folder / "err").read_text()
    assert code == 3, said
    assert said.splitlines()[-1].startswith("interrupted: "), said
    assert said.count("interrupted: ") == 1, said
    assert "Go on with the same command: oneday " in said.splitlines()[-1]
    assert "Traceback" not in said, said


@pytest.mark.slow
def test_helm_and_what_it_started_end_too(tmp_path: Path) -> None:
    place = tmp_path / "helm"
    (place / "bin").mkdir(parents=True)
    for tool in ("python", "helm-run", "helm-summarize"):
        (place / "bin" / tool).write_text(f"#!/bin/sh\necho running > {tmp_path}/running\nsleep 300\n")
        (place / "bin" / tool).chmod(0o755)
    (place / _INSTALLED).write_text(helm.PROGRAM._digest())
    assert helm.is_installed(place)
    with scripted(lambda prompt: " yes") as server:
        command = ["helm", "--url", server.url, "--environment", place, "--out", tmp_path / "results"]
        with started(command, tmp_path) as child:
            wait_until((tmp_path / "running").is_file, child, tmp_path)
            child.send_signal(signal.SIGTERM)
            code = child.wait(timeout=PATIENCE_S)
    assert_interrupted(code, tmp_path)
    listed = subprocess.run(["ps", "-eo", "args="], capture_output=True, text=True).stdout
    assert str(place / "bin") not in listed


@pytest.mark.slow
def test_ctrl_c_in_a_terminal_reaches_all_and_is_one_line(tmp_path: Path, finished: Path) -> None:
    """The signal goes to the whole group, as from a terminal; the parent ends the process of the timed pick."""
    rows = finished / "05_mix" / "train.jsonl"
    output = finished / "07_train" / "output"
    pick = ["pick", output, "--validation", rows, "--base", DEMO_BASE, "--time", "10m"]
    with started(pick, tmp_path) as child:
        wait_until(lambda: len(processes_of(child.pid)) + len(children_of(child.pid)) > 1, child, tmp_path)
        os.killpg(child.pid, signal.SIGINT)
        code = child.wait(timeout=PATIENCE_S)
        assert children_of(child.pid) == []
    assert_interrupted(code, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["serving on", "ready"])
def test_a_server_drains_and_ends_well(tmp_path: Path, moment: str) -> None:
    with started(["serve", "--checkpoint", DEMO_BASE, "--port", "0"], tmp_path) as child:
        wait_until(lambda: says(moment)(tmp_path), child, tmp_path)
        time.sleep(0.5)
        child.send_signal(signal.SIGTERM)
        code = child.wait(timeout=PATIENCE_S)
    assert code == 0, (tmp_path / "err").read_text()
    assert "Traceback" not in (tmp_path / "err").read_text()


@pytest.mark.slow
def test_who_watches_is_let_go(tmp_path: Path) -> None:
    from harness.ledger.ledger import Ledger
    from harness.run import LEDGER

    ledger = Ledger.start(tmp_path / LEDGER, budget_s=1_000.0)
    ledger.enter("train")
    with started(["watch", tmp_path], tmp_path) as child:
        until = time.monotonic() + PATIENCE_S
        while "budget left" not in (tmp_path / "out").read_text() and time.monotonic() < until:
            ledger.beat()
            time.sleep(0.1)
        child.send_signal(signal.SIGTERM)
        assert child.wait(timeout=PATIENCE_S) == 0


def test_an_interrupt_while_a_dataclass_is_made_has_the_exit_code_of_any_other(tmp_path: Path) -> None:
    """CPython would end `python -m` by SIGINT, for the interrupt passes through an `exec` of text."""
    (tmp_path / "interrupted.py").write_text(
        "import sys\n"
        "from oneday.cli.main import exit_code\n"
        "sys.exit(exit_code(lambda: exec('raise KeyboardInterrupt'), ['plan']))\n"
    )
    path = f"{tmp_path}:{Path(__file__).parents[2]}"
    done = subprocess.run(
        [sys.executable, "-m", "interrupted"], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}
    )
    assert (done.returncode, "interrupted: finished stages are kept." in done.stderr) == (3, True), done.stderr
