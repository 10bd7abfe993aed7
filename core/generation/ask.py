"""The asking loop: requests in shards, answers stored as they come, a killed run asks nothing twice.

Where it sits: prompts -> **ask** -> predictions; a predictor answers, the store keeps.
"""

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Self

from core.errors import PredictionError
from core.generation.answer_store import AnswerStore
from core.generation.request import REFUSED_BY_SERVER, SHARD_SIZE, Answer, Predictor, Refused, Request


@dataclass(slots=True)
class _Shard:
    requests: tuple[Request, ...]
    keys: tuple[str, ...]
    names: tuple[str, ...]
    """What answers are found by: with a store the keys, so that equal questions are asked once."""
    asked: dict[str, Request]
    future: Future[Sequence[Answer]] | None
    answers: dict[str, Answer] = field(default_factory=dict)
    """Filled when they arrive; what another shard asked stands there."""

    @property
    def waits(self) -> bool:
        return self.future is not None


def ask(
    requests: Iterable[Request], predictor: Predictor, store: AnswerStore | None
) -> Iterator[tuple[Request, str, Answer]]:
    """Every request with its key and answer, in order; asks only what the store does not hold.

    Args:
        requests: Shards of `SHARD_SIZE` are cut from it.
        store: None: nothing is stored, each shard is asked as it comes.
    """
    window: deque[_Shard] = deque()
    pending: set[str] = set()
    refused: dict[str, Refused] = {}
    with _Executor(predictor.in_flight) as executor:
        for batch in _batched(requests, SHARD_SIZE):
            keys = tuple(r.key(predictor.revision) for r in batch)
            names = keys if store is not None else tuple(map(str, range(len(batch))))
            missing = {
                name: r
                for name, r in zip(names, batch, strict=True)
                if store is None or not (name in pending or name in refused or name in store)
            }
            future = executor.submit(predictor.complete, tuple(missing.values())) if missing else None
            if store is not None:
                pending |= missing.keys()
            window.append(_Shard(requests=batch, keys=keys, names=names, asked=missing, future=future))
            while sum(shard.waits for shard in window) >= predictor.in_flight:
                _collect(window, store, pending, refused)
                yield from _ready(window, store, refused)
        while window:
            _collect(window, store, pending, refused)
            yield from _ready(window, store, refused)


def _collect(
    window: Iterable[_Shard], store: AnswerStore | None, pending: set[str], refused: dict[str, Refused]
) -> None:
    """Waits for one shard at least and stores what has come; if one failed, the others in flight are kept first.

    A refusal is no answer: it is not stored, so that a mended server is asked again.
    """
    waiting = [shard for shard in window if shard.future]
    wait([shard.future for shard in waiting if shard.future], return_when=FIRST_COMPLETED)
    if any(shard.future and shard.future.done() and shard.future.exception() for shard in waiting):
        wait([shard.future for shard in waiting if shard.future])
    failure: BaseException | None = None
    for shard in waiting:
        if shard.future is None or not shard.future.done():
            continue
        failure = failure or shard.future.exception()
        if shard.future.exception() is None:
            answers = shard.future.result()
            assert len(answers) == len(shard.asked), f"{len(answers)} answers to {len(shard.asked)} requests"
            shard.answers = dict(zip(shard.asked, answers, strict=True))
            if store is not None:
                refused |= {name: a for name, a in shard.answers.items() if isinstance(a, Refused)}
                accepted = {name: a for name, a in shard.answers.items() if isinstance(a, str)}
                if accepted:
                    store.add(accepted)
                elif len(store) == 0:
                    failure = failure or _all_refused(shard.answers.values())
                pending -= shard.asked.keys()
        shard.future = None
    if failure:
        raise failure


def _all_refused(answers: Iterable[Answer]) -> PredictionError | None:
    """A server that takes none of its first prompts would take none of the others."""
    said = [a for a in answers if isinstance(a, Refused)]
    if not said or any(a.reason != REFUSED_BY_SERVER for a in said):
        return None
    return PredictionError(
        f"the server refused all of the first {len(said)} prompts ({said[0].detail or 'without a word'}). Check its "
        "limits and `model=`."
    )


def _ready(
    window: deque[_Shard], store: AnswerStore | None, refused: Mapping[str, Refused]
) -> Iterator[tuple[Request, str, Answer]]:
    """Takes answered shards off the front. A question that an earlier shard asked is answered by then."""
    while window and not window[0].waits:
        shard = window.popleft()
        for request, key, name in zip(shard.requests, shard.keys, shard.names, strict=True):
            if store is None:
                yield request, key, shard.answers[name]
            else:
                yield request, key, refused[key] if key in refused else store[key]


class _Executor:
    """Threads if an engine takes several shards at once, else the caller's own thread."""

    def __init__(self, in_flight: int) -> None:
        self._pool = ThreadPoolExecutor(in_flight) if in_flight > 1 else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        interrupted = kind is not None and not issubclass(kind, Exception)
        if self._pool:  # Ctrl-C does not wait for an engine; closing the predictor ends its calls
            self._pool.shutdown(wait=not interrupted, cancel_futures=True)

    def submit(
        self, complete: Callable[[Sequence[Request]], Sequence[Answer]], requests: Sequence[Request]
    ) -> Future[Sequence[Answer]]:
        if self._pool:
            return self._pool.submit(complete, requests)
        done: Future[Sequence[Answer]] = Future()
        done.set_result(complete(requests))
        return done


def _batched(requests: Iterable[Request], size: int) -> Iterator[tuple[Request, ...]]:
    """`itertools.batched` for Python 3.11."""
    iterator = iter(requests)
    while shard := tuple(itertools.islice(iterator, size)):
        yield shard
