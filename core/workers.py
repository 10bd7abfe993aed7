"""Workers: a function over many items in several processes, with results in the order of the items.

    for result in ordered_map(score_chunk, chunks, workers=2, build=build_scorer, spec=parameters):
        ...

The order never depends on the number of workers, so neither do a stage's bytes.

Where it sits: under the stages that compute (scores, candidates).
"""

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from functools import cache, partial
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
Tool = TypeVar("Tool")
Spec = TypeVar("Spec")


def default_workers() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0))


def ordered_map(
    work: Callable[[Tool, Item], Result],
    items: Iterable[Item],
    *,
    build: Callable[[Spec], Tool],
    spec: Spec,
    workers: int,
) -> Iterator[Result]:
    """`work(tool, item)` of every item, in order.

    Args:
        work: A module-level function.
        items: Read as they are needed; at most two per worker are in memory.
        build: Builds the tool of a process from `spec`, once per process.
        workers: Number of processes; 1 works in this process.
    """
    if workers <= 1:
        tool = build(spec)
        yield from (work(tool, item) for item in items)
        return
    context = multiprocessing.get_context("spawn")  # a fork would copy a loaded model's threads
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_start, initargs=(build, spec)) as pool:
        window: deque[Future[Result]] = deque()
        for item in items:
            window.append(pool.submit(_call, work, item))
            if len(window) >= 2 * workers:
                yield window.popleft().result()
        while window:
            yield window.popleft().result()


_build: Callable[[], Any]
"""Builds this worker's tool on its first item. An error at the worker's start would break the pool instead of reaching
the user."""


def _start(build: Callable[[Any], Any], spec: Any) -> None:
    global _build
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal reaches all; the pool ends its workers
    _build = cache(partial(build, spec))


def _call(work: Callable[[Any, Any], Any], item: Any) -> Any:
    return work(_build(), item)
