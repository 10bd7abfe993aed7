"""The child: Axolotl's own training command, its environment, and the events it reports.

    child = start_axolotl(config, log=..., environment=axolotl_environment(card))
    for event in follow(child, EventReader(path), until=deadline): ...

Where it sits: between the supervisor (run.py, rehearse.py) and the plugin.
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
from core.threads import wait_briefly
from harness.budget.clock import uptime
from harness.budget.gpu_profile import GpuProfile
from harness.doctor.card import only
from harness.errors import TrainError
from harness.inside.events import Event, EventReader, Tick, TrainEnd, now


class Child(Protocol):
    """A running training process."""

    @property
    def pid(self) -> int:
        """Leader of its own process group."""

    def poll(self) -> int | None:
        """Its exit code, or None while it runs."""

    def wait(self, timeout: float | None = None) -> int:
        """Waits for the end; raises subprocess.TimeoutExpired."""


Launcher = Callable[[Path, Path, Mapping[str, str]], Child]
"""(config, log, environment) -> child. Tests pass a fork server that has Axolotl imported already."""


def axolotl_environment(card: GpuProfile, *, device: str = "") -> dict[str, str]:
    """Quiet, offline, quick to start, and fit for a machine that others use. How OpenMP works is the user's, if said.

    Only the card `device` is seen: Axolotl would spread a run over all.

    Telemetry is off: with it on and no network, Axolotl hung at exit in 4 of 4 runs (measured).
    """
    environment = {
        "AXOLOTL_DO_NOT_TRACK": "1",
        "DO_NOT_TRACK": "1",
        "HF_HUB_OFFLINE": "1",
        "WANDB_MODE": "offline",
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONUNBUFFERED": "1",
        "PYTORCH_ALLOC_CONF": "expandable_segments:True",
        "NUMBA_DISABLE_JIT": "1",  # for Axolotl's packing, which never runs: batches are those of the pack plan
    }
    defaults = {}
    if not card.is_gpu:
        defaults["OMP_NUM_THREADS"] = str(os.cpu_count() or 1)
        environment["CUDA_VISIBLE_DEVICES"] = ""
    elif device:
        environment |= only(device)
    environment |= {name: os.environ.get(name, value) for name, value in defaults.items()}
    environment |= {name: value for name, value in os.environ.items() if name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    wait_briefly(environment)
    return environment


def start_axolotl(config: Path, log: Path, environment: Mapping[str, str]) -> Child:
    """`axolotl train` without its launcher, in a process group of its own, so that Ctrl-C reaches us alone.

    It inherits the descriptors that were made inheritable: of a run, its lock.
    """
    source = str(Path(__file__).resolve().parent.parent)  # our plugin must be importable, or Axolotl goes on without it
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


def end(child: Child, *, patience_s: float) -> int:
    """Waits `patience_s` for the child to end by itself, then kills its whole group; returns the exit code."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        return child.wait(timeout=max(0.0, patience_s))
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    return child.wait()


def ask_to_stop(child: Child) -> None:
    """SIGTERM: the plugin evaluates, saves and ends."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(child.pid, signal.SIGTERM)


def follow(
    child: Child, reader: EventReader, *, until: float, ends_with: type[Event] = TrainEnd, poll_s: float = 0.1
) -> Iterator[Event]:
    """Events as they come; ends with an event of the kind `ends_with`, with the child, or at `until` (uptime clock).

    Yields a `Tick` now and then, so that the caller can look at its clock and its signals.
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


def failure(log: Path, exit_code: int, *, alive: bool) -> TrainError:
    """What the log says, in one line."""
    if exit_code in (0, -signal.SIGKILL) and not alive:
        return TrainError(
            f"{log}: Axolotl ran without our plugin (it never registered). Check that oneday is installed."
        )
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.is_file() else []
    telling = [line.strip() for line in lines if "Error" in line or "error:" in line]
    last = telling[-1] if telling else (lines[-1].strip() if lines else "no output")
    mend = "Lower micro_batch_size or sequence_len." if "out of memory" in last.lower() else f"See {log}."
    return TrainError(f"Axolotl ended with exit code {exit_code}: {last[:300]} {mend}")
