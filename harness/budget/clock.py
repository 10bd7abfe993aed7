"""The clock of every process of a run: seconds since the machine booted, including time in suspend.

    >>> uptime() <= uptime()
    True

Setting the system time does not change it, and all processes of a machine read the same value, so that the supervisor
can pass a deadline to the trainer. Only a reboot resets it; `boot_id` tells boots apart.

Where it sits: the ledger, the supervisor and the trainer read it.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def uptime() -> float:
    """Seconds since boot. Outside Linux this is Python's monotonic clock, which may stop while the machine sleeps."""
    boottime = getattr(time, "CLOCK_BOOTTIME", None)
    return time.clock_gettime(boottime) if boottime is not None else time.monotonic()


def boot_id() -> str:
    """Identifier of this boot; empty where the system has none."""
    return _BOOT_ID.read_text().strip() if _BOOT_ID.is_file() else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """The three readings of a ledger record. It is passed in, so that tests can control the time."""

    up: Callable[[], float] = uptime
    wall: Callable[[], float] = time.time
    boot: Callable[[], str] = boot_id
