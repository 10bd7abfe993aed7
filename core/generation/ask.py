"""The asking loop: sends requests to a predictor in shards and stores the answers as they arrive.

A run that was killed and is started again asks no request twice.

Where it sits: prompts -> **ask** -> predictions.
"""

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Self

from core.errors import PredictionError
from core.generation.answer_store import AnswerStore
from core.generation.request import (
    REFUSED_BY_SERVER,
    SHARD_SIZE,
    SHARD_SIZE_IN_PARTS,
    Answer,
    BatchPredictor,
    Predictor,
    Refused,
    Request,
)


@dataclass(slots=True)
class _Shard:
    requests: tuple[Request, ...]
    keys: tuple[str, ...]
    names: tuple[str, ...]
    """Keys of `answers`. With a store these are the requests' keys, so that equal requests are asked once."""
    asked: dict[str, Request]
    future: Future[Sequence[Answer]] | None
    answers: dict[str, Answer] = field(default_factory=dict)
    """By name. A request that an earlier shard asked has its answer there."""

    @property
    def waits(self) -> bool:
        return self.future is not None


def ask(
    requests: Iterable[Request],
    predictor: Predictor,
    store: AnswerStore | None,
    *,
    shard_size: int | None = None,
    on_answered: Callable[[int], None] = lambda num: None,
) -> Iterator[tuple[Request, str, Answer]]:
    """Yields every request with its key and answer, in order. Asks only what the store does not hold.

    Args:
        store: None: nothing is stored.
        shard_size: Number of requests that the predictor gets in one call. A kill loses the shards in flight; of an
            engine that answers in parts, the part in flight. None: 128, and 1,024 for such an engine, whose batches
            are full but for the end of a shard.
        on_answered: Called with the number of answers of each part, which may be none, before the whole shard is
            answered.
    """
    if shard_size is None:
        shard_size = SHARD_SIZE_IN_PARTS if _answers_in_parts(predictor) else SHARD_SIZE
    window: deque[_Shard] = deque()
    pending: set[str] = set()
    refused: dict[str, Refused] = {}
    with _Executor(predictor.in_flight) as executor:
        for batch in _batched(requests, shard_size):
            keys = tuple(r.key(predictor.revision) for r in batch)
            names = keys if store is not None else tuple(map(str, range(len(batch))))
            missing = {
                name: r
                for name, r in zip(names, batch, strict=True)
                if store is None or not (name in pending or name in refused or name in store)
            }
            complete = _completer(predictor, store, tuple(missing), on_answered)
            future = executor.submit(complete, tuple(missing.values())) if missing else None
            if store is not None:
                pending |= missing.keys()
            window.append(_Shard(requests=batch, keys=keys, names=names, asked=missing, future=future))
            while sum(shard.waits for shard in window) >= predictor.in_flight:
                _collect(window, store, pending, refused)
                yield from _ready(window, store, refused)
        while window:
            _collect(window, store, pending, refused)
            yield from _ready(window, store, refused)


def _answers_in_parts(predictor: Predictor) -> bool:
    return predictor.in_flight == 1 and isinstance(predictor, BatchPredictor)


def _completer(
    predictor: Predictor, store: AnswerStore | None, names: Sequence[str], on_answered: Callable[[int], None]
) -> Callable[[Sequence[Request]], Sequence[Answer]]:
    """What answers a shard. Of an engine that answers in parts, each part is stored as soon as it is answered."""
    if not _answers_in_parts(predictor):
        return predictor.complete
    assert isinstance(predictor, BatchPredictor)

    def complete(requests: Sequence[Request]) -> list[Answer]:
        answers: dict[int, Answer] = {}
        for batch in predictor.complete_batches(requests):
            answers |= batch
            if store is not None and batch:
                store.add({names[number]: text for number, text in batch.items()})
            on_answered(len(batch))
        return [answers[number] for number in range(len(requests))]

    return complete


def _collect(
    window: Iterable[_Shard], store: AnswerStore | None, pending: set[str], refused: dict[str, Refused]
) -> None:
    """Waits for at least one shard and stores its answers. If a shard failed, the others in flight are stored first.

    A refusal is not stored, so that the request is asked again once the server is corrected.
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
                if unstored := {name: a for name, a in accepted.items() if name not in store}:
                    store.add(unstored)
                elif not accepted and len(store) == 0:
                    failure = failure or _all_refused(shard.answers.values())
                pending -= shard.asked.keys()
        shard.future = None
    if failure:
        raise failure


def _all_refused(answers: Iterable[Answer]) -> PredictionError | None:
    """The error if the server refused all of its first prompts: it would refuse the others too."""
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
    """Yields the answers of the shards at the front of the window that have arrived."""
    while window and not window[0].waits:
        shard = window.popleft()
        for request, key, name in zip(shard.requests, shard.keys, shard.names, strict=True):
            if store is None:
                yield request, key, shard.answers[name]
            else:
                yield request, key, refused[key] if key in refused else store[key]


class _Executor:
    """Runs shards in threads if the engine takes several at once, else in the caller's thread."""

    def __init__(self, in_flight: int) -> None:
        self._pool = ThreadPoolExecutor(in_flight) if in_flight > 1 else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        interrupted = kind is not None and not issubclass(kind, Exception)
        if self._pool:  # after Ctrl-C, closing the predictor ends its calls
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
