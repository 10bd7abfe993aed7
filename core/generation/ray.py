"""Any predictor on every worker of a Ray cluster: how a job outgrows one machine.

    predictor = RayPredictor(Engine(name="transformers", base=base), address="auto")

A worker answers whole shards and cuts its batches inside them, exactly as one machine would, so the number of workers
changes nothing but the time. When a worker dies, the next idle one asks its shard again; it is started anew as soon as
the cluster has room for it.
"""

import contextlib
import queue
import threading
from collections.abc import Sequence
from typing import Any, Protocol

from core.errors import ClusterError, OnedayError, PredictionError
from core.generation.cluster import RESTARTS, connect, death_cause
from core.generation.request import Answer, Predictor, Request

LONGEST_WAIT_S = 600.0
"""For a worker to come back when every one is gone."""


_CLOSED = "the Ray workers were ended while a shard was asked; what was answered is kept."


class Buildable(Protocol):
    """What a worker makes its predictor from: `core.generation.engine.Engine`. It must be picklable."""

    @property
    def name(self) -> str:
        """Of the predictor: `transformers`, ..."""

    def build(self) -> Predictor:
        """The predictor."""


class RayPredictor:
    """Shards out to workers.

    Args:
        engine: What each worker builds; model folders must lie at the same path on every machine.
        address: As `ray.init` takes it; None: a cluster on this machine alone.
        workers: None: one per GPU of the cluster, or without GPUs one per machine.
    Raises:
        PredictionError: Ray is not installed, there is no cluster, or a worker cannot build its engine.
    """

    keeps_answers = True

    def __init__(self, engine: Buildable, *, address: str | None = None, workers: int | None = None) -> None:
        try:
            self._cluster = connect(address)
        except ClusterError as e:
            raise PredictionError(f"`predictor=ray:…`: {e}") from e
        ray = self._ray = self._cluster.ray
        num = workers or self._cluster.num_slots
        actor = ray.remote(**self._cluster.resources(needs_gpu=engine.name == "transformers"), max_restarts=RESTARTS)(
            _Worker
        )
        self._actors = [actor.remote(engine) for _ in range(num)]
        self._idle: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._waits: list[threading.Thread] = []
        self._closed = False
        self.in_flight = num
        try:
            first = self._first_ready()
            self._revision = str(self._get(first.revision.remote()))
            self._limit = self._get(first.limit.remote())
        except ray.exceptions.RayActorError as e:  # its engine failed while it was built
            self.close()
            raise PredictionError(death_cause(e)) from e
        except BaseException:
            self.close()
            raise
        for a in self._actors:
            self._await(a)

    @property
    def revision(self) -> str:
        """The inner predictor's: answers from a cluster and from one machine are the same."""
        return self._revision

    def fits(self, prompt: str, max_new_tokens: int) -> bool:
        """Asked of a limit that the first worker sent over: a tokenizer and a number."""
        return self._limit is None or bool(self._limit(prompt, max_new_tokens))

    def complete(self, requests: Sequence[Request]) -> list[Answer]:
        """One shard, by the next idle worker.

        Raises:
            PredictionError: the worker died too often, or its engine failed.
        """
        for _ in range(RESTARTS + 1):
            try:
                actor = self._idle.get(timeout=LONGEST_WAIT_S)
            except queue.Empty:
                break
            if actor is None:
                raise PredictionError(_CLOSED)
            try:
                answers: list[Answer] = self._get(actor.complete.remote(tuple(requests)))
            except self._ray.exceptions.RayActorError:
                if self._closed:
                    raise PredictionError(_CLOSED) from None
                self._await(actor)
                continue
            except BaseException:
                self._idle.put(actor)
                raise
            self._idle.put(actor)
            return answers
        raise PredictionError(
            f"Ray workers died {RESTARTS + 1} times over one shard, or none came back in {LONGEST_WAIT_S:.0f} s. Look "
            "into the nodes' memory; what was answered is kept, and the same command goes on."
        )

    def _first_ready(self) -> Any:
        """The first worker that has built its engine."""
        builds = {a.revision.remote(): a for a in self._actors}
        ready, _ = self._ray.wait(list(builds), num_returns=1, timeout=LONGEST_WAIT_S)
        if not ready:
            raise PredictionError(
                f"no Ray worker was ready within {LONGEST_WAIT_S:.0f} s: the cluster has no free CPU (or GPU), or the "
                "model loads too slowly. `ray status` shows what is taken."
            )
        return builds[ready[0]]

    def _await(self, actor: Any) -> None:
        """Has a worker take shards from when its engine stands, at first and after a death.

        Not before: a call to a worker that found no place yet waits for one as long as there is none.
        """
        self._waits.append(threading.Thread(target=self._enlist, args=(actor,), daemon=True))
        self._waits[-1].start()

    def _enlist(self, actor: Any) -> None:
        with contextlib.suppress(self._ray.exceptions.RayError):
            self._ray.get(actor.revision.options(max_task_retries=-1).remote())
            self._idle.put(actor)

    def _get(self, reference: Any) -> Any:
        try:
            return self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as e:
            cause = e.cause if isinstance(e.cause, OnedayError) else None
            if cause is None:
                raise
            raise PredictionError(str(cause)) from e

    def close(self) -> None:
        """Ends the workers, and the cluster if it was started here."""
        self._closed = True
        for _ in range(self.in_flight):
            self._idle.put(None)
        for actor in self._actors:
            self._ray.kill(actor)
        for thread in self._waits:  # one that is still asking when Ray goes would bring the process down
            thread.join(timeout=30)
        self._cluster.close()


class _Worker:
    """What runs on a worker: an engine of its own."""

    def __init__(self, engine: Buildable) -> None:
        self._predictor = engine.build()

    def revision(self) -> str:
        return self._predictor.revision

    def limit(self) -> Any:
        return getattr(self._predictor, "limit", None)

    def complete(self, requests: Sequence[Request]) -> list[Answer]:
        return list(self._predictor.complete(requests))
