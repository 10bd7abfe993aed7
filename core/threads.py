"""How OpenMP's threads wait for each other: by spinning on idle cores, asleep on busy ones.

    choose_waiting(os.environ)          # before torch is loaded, or in the environment of a child

libgomp lets a waiting thread spin. Where other processes want the same cores, a spinning thread takes the time that
the thread it waits for would need; where they do not, a thread that sleeps costs the time of waking up. On two cores
each is up to twice as fast as the other on its own ground, and a limit on the spinning between the two was worse than
the better of them on either (`benchmarks/wait_policy.py`). So the load at the start decides. It changes no result.

Where it sits: at the bottom; the command line, the trainer's environment and the model loader use it.
"""

import os
import time
from collections.abc import MutableMapping

NUM_LOOKS, PAUSE_S = 3, 0.005
BUSY_SHARE = 0.5
"""Of the cores that others want, from which on waiting threads sleep. Source: measured with one and with two busy
processes on two cores, see `benchmarks/results/wait_policy.json`."""

CHOICES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
"""A user who sets one of these has chosen."""


def choose_waiting(environment: MutableMapping[str, str]) -> None:
    """Lets threads sleep if other processes use the cores now, unless the user has set a policy or a spin count."""
    if not set(CHOICES) & environment.keys() and wanted_by_others() >= BUSY_SHARE * (os.cpu_count() or 1):
        environment["OMP_WAIT_POLICY"] = "passive"


def wanted_by_others() -> int:
    """How many other threads of this machine run or wait for a core: the least of a few looks. 0 if it does not say."""
    looks = []
    for number in range(NUM_LOOKS):
        if number:
            time.sleep(PAUSE_S)
        looks.append(_runnable() - 1)
    return max(0, min(looks))


def _runnable() -> int:
    try:
        with open("/proc/loadavg") as file:
            return int(file.read().split()[3].split("/")[0])
    except (OSError, ValueError, IndexError):  # not Linux
        return 1
