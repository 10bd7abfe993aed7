"""One clock for every process of a run: seconds since the machine started, suspend included.

    >>> uptime() <= uptime()
    True

Setting the system time does not move it, and all processes of a machine read the same value, so that a deadline can be
handed from the supervisor to the trainer. Only a reboot starts it again; `boot_id` tells.

Where it sits: under the ledger, the supervisor and what runs in the trainer.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def uptime() -> float:
    """Seconds since boot. Off Linux: Python's monotonic clock, which may stand still while a machine sleeps."""
    boottime = getattr(time, "CLOCK_BOOTTIME", None)
    return time.clock_gettime(boottime) if boottime is not None else time.monotonic()


def boot_id() -> str:
    """Names this boot; empty where the system does not say."""
    return _BOOT_ID.read_text().strip() if _BOOT_ID.is_file() else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """The three readings of a ledger record. Passed in, so that tests own the time."""

    up: Callable[[], float] = uptime
    wall: Callable[[], float] = time.time
    boot: Callable[[], str] = boot_id
