"""A Ray cluster, found by its address or started on this machine. Its slots are its GPUs, or without GPUs its machines.

    cluster = connect("auto")
    cluster.num_slots, cluster.num_gpus

Where it sits: answers of a model and trainings of a study are spread by it. Only `connect` imports Ray.
"""

import contextlib
import logging
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from core.errors import ClusterError

RESTARTS = 3
"""How often Ray starts a worker again after its death."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """An open connection."""

    ray: Any
    """The package."""
    is_own: bool
    """The connection was made here, and is closed here."""
    num_gpus: int

    @property
    def num_slots(self) -> int:
        """GPUs of the cluster, or without GPUs its machines."""
        return self.num_gpus or len([node for node in self.ray.nodes() if node["Alive"]])

    def resources(self, *, needs_gpu: bool = True) -> dict[str, int]:
        """What one worker takes."""
        return {"num_cpus": 1, "num_gpus": 1 if self.num_gpus and needs_gpu else 0}

    def close(self) -> None:
        """Ends the connection, and the cluster if it was started here."""
        if self.is_own:
            self.ray.shutdown()


def connect(address: str | None) -> Cluster:
    """Connects to a cluster.

    Args:
        address: As `ray.init` takes it; None: a cluster on this machine alone.

    Raises:
        ClusterError: Ray is not installed, or there is no cluster.
    """
    try:
        import ray
    except ImportError as e:
        raise ClusterError("Ray is not installed. pip install 'oneday-llm[ray]'.") from e
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    is_own = not ray.is_initialized()
    if is_own:
        try:
            with _sigterm_kept():
                ray.init(address=address, log_to_driver=False, include_dashboard=False, logging_level=logging.ERROR)
        except (ConnectionError, ValueError, RuntimeError) as e:
            raise ClusterError(f"`ray_address={address}`: no cluster there ({_first_line(e)}).") from e
    return Cluster(ray, is_own, int(ray.cluster_resources().get("GPU", 0)))


@contextlib.contextmanager
def _sigterm_kept() -> Iterator[None]:
    """Ray ends the process with exit code 15 on SIGTERM; ours ends it in order."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError, TypeError):  # not in the main thread; not set from Python
            signal.signal(signal.SIGTERM, before)


def death_cause(e: Exception) -> str:
    """The last line of a worker's traceback: the error that ended it, without its class."""
    lines = [line for line in str(e).splitlines() if line.strip()]
    return lines[-1].split("Error: ", 1)[-1] if lines else type(e).__name__


def _first_line(e: Exception) -> str:
    return next(iter(str(e).splitlines()), "") or type(e).__name__
