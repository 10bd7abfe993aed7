"""Behaviour in a real terminal: colours, NO_COLOR, completion, Ctrl-C."""

import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.ledger.ledger import Ledger
from harness.run import LEDGER
from oneday.cli.main import interrupts_kept
from tests.harness.test_history import step, tell

ONEDAY = [sys.executable, "-m", "oneday.cli"]


@pytest.fixture(autouse=True)
def handle_ctrl_c() -> Iterator[None]:
    """Restores the handling of Ctrl-C, which children of a background job would ignore."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def in_terminal(*command: str, **environment: str) -> str:
    """Runs a command with a terminal as stdout and stderr, and returns its output."""
    ours, theirs = pty.openpty()
    clean = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR")}
    done = subprocess.Popen(
        [*ONEDAY, *command], stdin=theirs, stdout=theirs, stderr=theirs, env={**clean, "TERM": "xterm", **environment}
    )
    os.close(theirs)
    seen = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        seen += part
    done.wait()
    os.close(ours)
    return seen.decode()


@pytest.fixture
def stopped(tmp_path: Path) -> Path:
    ledger = Ledger.start(tmp_path / LEDGER, budget_s=100.0)
    ledger.enter("train")
    tell(tmp_path, *(step(n, time.time(), loss=9.0 - n) for n in range(1, 8)))
    ledger.stop()
    return tmp_path


def test_colours_are_for_terminals_and_no_color_is_heeded(stopped: Path) -> None:
    assert "\x1b[34m" in in_terminal("watch", str(stopped), "--once")
    plain = in_terminal("watch", str(stopped), "--once", NO_COLOR="1")
    assert "\x1b[3" not in plain
    assert "7 of about 50" in plain


@pytest.mark.parametrize(
    ("line", "expected"), [("oneday re", "rehearse report reproduce"), ("oneday train --card a", "a100-40gb a100-80gb")]
)
def test_a_shell_completes_commands_and_values(line: str, expected: str) -> None:
    words = line.split()
    environment = {"COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1), "_ONEDAY_COMPLETE": "bash_complete"}
    done = subprocess.run(ONEDAY, env={**os.environ, **environment}, capture_output=True, text=True)
    assert [line.partition(",")[2] for line in done.stdout.splitlines()] == expected.split()


@pytest.mark.slow
def test_ctrl_c_while_the_base_model_is_asked_keeps_its_answers(tmp_path: Path, demo_base: Path) -> None:
    tasks = Path(__file__).parents[1] / "data" / "tasks"
    command = [
        *ONEDAY, "curate", "--tasks", str(tasks), "--base", str(demo_base), "--run", str(tmp_path / "run"), "--scale",
        "0.001", "--without", "lima,open-platypus,openbookqa,quac,cnn_dailymail,mathinstruct",
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as first:
        until = time.monotonic() + 120
        while time.monotonic() < until and not (tmp_path / "run" / "01_tasks" / "done.json").is_file():
            time.sleep(0.02)
        first.send_signal(signal.SIGINT)
        _, said = first.communicate(timeout=60)
    assert first.returncode == 3
    assert "Go on with the same command: oneday curate --tasks" in said
    assert "Traceback" not in said
    again = subprocess.run(command, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr


def test_ctrl_c_in_a_finaliser_is_not_lost() -> None:
    class Finalised:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGINT)

    def work() -> None:
        Finalised()
        time.sleep(20)

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt), interrupts_kept():
        work()
    assert time.monotonic() - began < 15
