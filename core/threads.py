"""How OpenMP's threads wait for each other: they spin briefly and then sleep.

    wait_briefly(os.environ)          # before torch is loaded, or in the environment of a child

libgomp lets a waiting thread spin 300,000 times. On cores that other processes use, that made a training step up to
ten times slower and a generated token up to fifty times. Threads that sleep at once (`OMP_WAIT_POLICY=passive`) double
the time of a step on idle cores. A limit of 10,000 costs 10 % there and bounds the loss on busy cores
(`benchmarks/wait_policy.py`).

Where it sits: at the bottom; the command line, the trainer's environment and the model loader use it.
"""

from collections.abc import MutableMapping

SPIN_COUNT = 10_000
"""Source: measured on two cores with the demo's base, see `benchmarks/results/wait_policy.json`."""


def wait_briefly(environment: MutableMapping[str, str]) -> None:
    """Limits how long threads spin, unless the user has set a policy or a spin count."""
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & environment.keys():
        environment["GOMP_SPINCOUNT"] = str(SPIN_COUNT)
