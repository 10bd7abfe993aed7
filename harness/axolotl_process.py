"""The child process that runs Axolotl's training command, its environment, and the events that it reports.

    child = start_axolotl(config, log=..., environment=axolotl_environment(card))
    for event in follow(child, EventReader(path), until=deadline): ...

Where it sits: between its callers (supervise.py, budget/rehearse.py) and the plugin in the child.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Protocol

from core.files import naming
from core.threads import choose_waiting
from harness.budget.clock import uptime
from harness.budget.gpu_profile import GpuProfile
from harness.doctor.card import visible_device_environment
from harness.errors import TrainError
from harness.inside.events import Event, EventReader, Tick, TrainEnd, now


class Child(Protocol):
    """A running training process."""

    @property
    def pid(self) -> int:
        """Process id; the process leads its own process group."""

    def poll(self) -> int | None:
        """The exit code, or None while the process runs."""

    def wait(self, timeout: float | None = None) -> int:
        """Waits for the process to end; raises subprocess.TimeoutExpired."""


Launcher = Callable[[Path, Path, Mapping[str, str]], Child]
"""Starts a child from (config, log, environment). Tests pass a fork server that has already imported Axolotl."""


def axolotl_environment(card: GpuProfile, *, device: str = "") -> dict[str, str]:
    """Environment variables of an Axolotl process: offline, without telemetry, OpenMP variables of the user kept.

    Only the card `device` is visible, because Axolotl would spread a run over all of them. With telemetry on and no
    network, Axolotl hung at exit in 4 of 4 runs (measured).
    """
    environment = {
        "AXOLOTL_DO_NOT_TRACK": "1",
        "DO_NOT_TRACK": "1",
        "HF_HUB_OFFLINE": "1",
        "WANDB_MODE": "offline",
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONUNBUFFERED": "1",
        "PYTORCH_ALLOC_CONF": "expandable_segments:True",
        "NUMBA_DISABLE_JIT": "1",  # only Axolotl's packing uses numba, and the pack plan replaces it
    }
    defaults = {}
    if not card.is_gpu:
        defaults["OMP_NUM_THREADS"] = str(os.cpu_count() or 1)
        environment["CUDA_VISIBLE_DEVICES"] = ""
    elif device:
        environment |= visible_device_environment(device)
    environment |= {name: os.environ.get(name, value) for name, value in defaults.items()}
    environment |= {name: value for name, value in os.environ.items() if name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    choose_waiting(environment)
    return environment


def start_axolotl(config: Path, log: Path, environment: Mapping[str, str]) -> Child:
    """Starts `axolotl train` without its launcher, in its own process group, so that Ctrl-C reaches only the parent.

    The child inherits the file descriptors that were made inheritable, such as the run's lock.
    """
    source = str(Path(__file__).resolve().parent.parent)  # Axolotl silently skips a plugin that it cannot import
    path = os.pathsep.join(p for p in (source, os.environ.get("PYTHONPATH")) if p)
    with naming(log), log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "harness.inside.main", str(os.getpid()), str(config)],
            env={**os.environ, **environment, "PYTHONPATH": path},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            close_fds=False,
        )


def wait_or_kill(child: Child, *, timeout_s: float) -> int:
    """Waits `timeout_s` for the child to end, then kills its process group; returns the exit code."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        return child.wait(timeout=max(0.0, timeout_s))
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    return child.wait()


def request_stop(child: Child) -> None:
    """Sends SIGTERM, on which the plugin evaluates, saves and ends."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(child.pid, signal.SIGTERM)


def follow(
    child: Child, reader: EventReader, *, until: float, ends_with: type[Event] = TrainEnd, poll_s: float = 0.1
) -> Iterator[Event]:
    """Yields events as they arrive until one of type `ends_with`, the child's end, or `until` (uptime clock).

    Yields a `Tick` after every poll, so that the caller can check its clock and its signals.
    """
    while uptime() < until:
        for event in reader.read():
            yield event
            if isinstance(event, ends_with):
                return
        if child.poll() is not None:
            yield from reader.read()
            return
        yield Tick(**now())
        time.sleep(poll_s)


def error_from_log(log: Path, exit_code: int, *, plugin_registered: bool) -> TrainError:
    """An error with the last error line of the child's log."""
    if exit_code in (0, -signal.SIGKILL) and not plugin_registered:
        return TrainError(
            f"{log}: Axolotl ran without our plugin (it never registered). Check that oneday is installed."
        )
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.is_file() else []
    error_lines = [line.strip() for line in lines if "Error" in line or "error:" in line]
    last = error_lines[-1] if error_lines else (lines[-1].strip() if lines else "no output")
    mend = "Lower micro_batch_size or sequence_len." if "out of memory" in last.lower() else f"See {log}."
    return TrainError(f"Axolotl ended with exit code {exit_code}: {last[:300]} {mend}")
