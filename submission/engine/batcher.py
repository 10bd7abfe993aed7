"""The batcher: one bounded queue in front of one model thread.

    async with Batcher(load_engine, limits) as batcher:
        await batcher.loaded
        completion = await batcher.answer(request, is_gone=request.is_disconnected)

Waiting requests of similar length are started together, always including the oldest one, and join a running batch as
soon as it has room. A row ends early if its client disconnects or its deadline passes.

Where it sits: engine -> **batcher** -> server.
"""

import asyncio
import contextlib
import math
import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from core.decoding.prefix_cache import PrefixCache
from submission.engine.engine import Engine
from submission.engine.job import Completion, Job, Load, TokenStream
from submission.engine.request import GenerationRequest
from submission.errors import BrokenError, ClosingError, DeadlineError, GoneError, QueueFullError, RequestError
from submission.server.api import Token

T = TypeVar("T")

LOOK_S = 0.1
"""Seconds between two checks whether the client is still connected."""

LONG_TEXT = 32_768
"""Characters or ids. Longer inputs are tokenised on a separate thread, so that short ones do not wait for them."""

LAST_TOKEN_S = 10.0
"""Seconds at shutdown for rows that were given up to end at their next token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much the server accepts at once, and how long it waits."""

    max_batch: int = 16
    batch_wait_s: float = 0.01
    """How long an idle model waits for more requests before it starts a batch."""
    batch_tokens: int = 32_768
    """Tokens of a batch, padding and answers included: 4 GiB of keys and values for a Mistral-7B."""
    max_waiting: int = 256
    deadline_s: float = 600.0
    """Seconds from a request's arrival to its answer."""
    drain_s: float = 30.0
    """Seconds at shutdown for requests that are being answered."""
    body_bytes: int = 4 << 20
    receive_s: float = 30.0
    """Seconds from the first to the last byte of a request's head, and of its body."""


@dataclass(slots=True, kw_only=True, eq=False)
class _Waiting:
    job: Job
    arrived: float
    answer: "asyncio.Future[Completion]"


class Batcher:
    """Runs in one event loop. The model, short texts and long texts have one thread each.

    The model is loaded on its own thread as well: OpenMP creates a pool for each thread that computes, and on a CPU two
    pools made every token take 6.0 ms instead of 2.5 ms (measured).

    Args:
        load: Called once, on the model's thread.
    """

    loaded: "asyncio.Future[None]"
    """Completes when the model is loaded, or holds the exception that the loader raised."""

    def __init__(self, load: Callable[[], Engine], limits: Limits) -> None:
        self._load, self._limits = load, limits
        self._short_texts = ThreadPoolExecutor(max_workers=1, thread_name_prefix="text")
        self._long_texts = ThreadPoolExecutor(max_workers=1, thread_name_prefix="long-text")
        self._model_thread = threading.Thread(target=self._serve, name="model", daemon=True)
        self._news = threading.Condition()
        self._waiting: list[_Waiting] = []
        self._answers: dict[int, asyncio.Future[Completion]] = {}
        self._closed = False
        self._in_house = self._texts = 0
        self._closes_at = math.inf
        self.error: Exception | None = None
        """The exception that ended the model's thread; no request is answered after it."""
        self._usual = 0.0
        """Recent maximum of concurrent requests: how many are worth waiting for."""

    async def __aenter__(self) -> "Batcher":
        self._loop = asyncio.get_running_loop()
        self.loaded = self._loop.create_future()
        self._model_thread.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        with self._news:
            self._closed = True
            self._news.notify()
        await asyncio.to_thread(self._model_thread.join, LAST_TOKEN_S)
        for threads in (self._short_texts, self._long_texts):
            threads.shutdown(wait=False, cancel_futures=True)

    @property
    def context_length(self) -> int:
        """Tokens of the loaded model's window."""
        return self._engine.model.context_length

    @property
    def prefixes(self) -> PrefixCache:
        """What the loaded model keeps of the prompts that it has read."""
        return self._engine.prefixes

    @property
    def num_waiting(self) -> int:
        """Requests that the model has not started, and texts."""
        return self._in_house - len(self._answers) + self._texts

    @property
    def num_answering(self) -> int:
        """Requests that the model is answering."""
        return len(self._answers)

    async def text(self, work: Callable[[Engine], T], *, length: int = 0) -> T:
        """Runs tokenizer work on a text thread, in parallel to the model.

        Args:
            length: Length of the text in characters, or number of ids.
        Raises:
            QueueFullError: too many requests are waiting.
            DeadlineError: the deadline has passed.
        """
        self._refuse_beyond()
        self._texts += 1
        try:
            return await self._on_text_thread(work, length)
        finally:
            self._texts -= 1

    async def _on_text_thread(self, work: Callable[[Engine], T], length: int) -> T:
        loop = asyncio.get_running_loop()
        threads = self._long_texts if length > LONG_TEXT else self._short_texts
        try:
            return await asyncio.wait_for(loop.run_in_executor(threads, work, self._engine), self._limits.deadline_s)
        except TimeoutError as e:
            raise DeadlineError(f"not answered within {self._limits.deadline_s:g} s") from e

    def _refuse_beyond(self) -> None:
        if self.error is not None:
            raise BrokenError(f"the model has ended: {self.error}")
        if self.num_waiting >= self._limits.max_waiting:
            raise QueueFullError(f"{self.num_waiting} requests wait already")

    def close_within(self, seconds: float) -> None:
        """Fails requests that are unanswered after `seconds`; called at shutdown."""
        self._closes_at = time.monotonic() + seconds

    async def answer(
        self, request: GenerationRequest, *, is_gone: Callable[[], Awaitable[bool]], stream: TokenStream | None = None
    ) -> Completion:
        """Queues a request and returns its answer.

        Args:
            stream: Gets tokens as they are certain, on the model's thread.
        Raises:
            QueueFullError: too many requests are waiting.
            DeadlineError: the deadline has passed.
            GoneError: the client has disconnected.
            OverlongError, PromptError: see `Engine.prepare`.
        """
        self._refuse_beyond()
        arrived, given_up = time.monotonic(), threading.Event()
        self._in_house += 1
        self._usual = max(self._in_house, 0.9 * self._usual)
        try:
            job = await self._on_text_thread(
                lambda engine: engine.prepare(request, is_given_up=given_up.is_set, stream=stream), request.length
            )
            waiting = _Waiting(job=job, arrived=arrived, answer=self._loop.create_future())
            with self._news:
                self._waiting.append(waiting)
                self._news.notify()
            try:
                return await self._wait(waiting, is_gone)
            finally:
                given_up.set()
                with self._news:
                    if waiting in self._waiting:
                        self._waiting.remove(waiting)
        finally:
            self._in_house -= 1

    async def stream(
        self, request: GenerationRequest, *, is_gone: Callable[[], Awaitable[bool]]
    ) -> AsyncGenerator[Sequence[Token] | Completion]:
        """Tokens as they are certain, and at the end the answer. All tokens together are those of the answer.

        Raises:
            RequestError: as for `answer`.
        """
        news: asyncio.Queue[Sequence[Token] | None] = asyncio.Queue()
        stream = TokenStream(send=lambda tokens: self._tell(news.put_nowait, tokens))
        answer = asyncio.create_task(self.answer(request, is_gone=is_gone, stream=stream))
        answer.add_done_callback(lambda _: news.put_nowait(None))
        num_told = 0
        try:
            while (tokens := await news.get()) is not None:
                num_told += len(tokens)
                yield tokens
            completion = answer.result()
            if rest := completion.tokens[num_told:]:
                yield rest
            yield completion
        finally:
            answer.cancel()
            with contextlib.suppress(asyncio.CancelledError, RequestError):
                await answer

    async def _wait(self, waiting: _Waiting, is_gone: Callable[[], Awaitable[bool]]) -> Completion:
        until = waiting.arrived + self._limits.deadline_s
        while True:
            done, _ = await asyncio.wait({waiting.answer}, timeout=min(LOOK_S, max(0.0, until - time.monotonic())))
            if done:
                return waiting.answer.result()
            if time.monotonic() >= self._closes_at:
                raise ClosingError("the server is closing")
            if time.monotonic() >= until:
                raise DeadlineError(f"not answered within {self._limits.deadline_s:g} s")
            if await is_gone():
                raise GoneError("the client went away")

    # --- on the model's thread

    def _serve(self) -> None:
        try:
            self._engine = self._load()
        except Exception as e:
            self._tell(_fail, self.loaded, e)
            return
        self._tell(_succeed, self.loaded)
        try:
            self._engine.serve(self._take, self._on_done)
        except Exception as e:
            self._tell(self._break, e)

    def _break(self, error: Exception) -> None:
        """Runs on the event loop after the model's thread has ended: fails all requests."""
        self.error = error
        broken = BrokenError(f"the model has ended: {error}")
        for answer in [*self._answers.values(), *(w.answer for w in self._waiting)]:
            _fail(answer, broken)
        self._answers.clear()

    def _tell(self, what: Callable[..., None], *arguments: object) -> None:
        """Calls a function on the event loop."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits for an answer
            self._loop.call_soon_threadsafe(what, *arguments)

    def _take(self, load: Load) -> list[Job] | None:
        """Jobs to start now; waits for some if the model is idle."""
        with self._news:
            while True:
                if self._closed:
                    return None
                batch = self._next(load)
                if batch or load.num_rows:
                    break
                self._news.wait(self._patience_s())
            self._waiting = [w for w in self._waiting if w not in batch]
            self._answers |= {id(w.job): w.answer for w in batch}
            return [w.job for w in sorted(batch, key=lambda w: w.job.size)]

    def _patience_s(self) -> float | None:
        """Seconds until the oldest request has waited long enough; None without a request."""
        if not self._waiting:
            return None
        return max(0.0005, self._waiting[0].arrived + self._limits.batch_wait_s - time.monotonic())

    def _next(self, load: Load) -> list[_Waiting]:
        """The oldest request and those of most similar length that fit; none while more are expected."""
        room = self._limits.max_batch - load.num_rows
        if not self._waiting or room <= 0:
            return []
        oldest = self._waiting[0]
        expected = min(room, round(self._usual) - load.num_rows)
        if len(self._waiting) < expected and time.monotonic() - oldest.arrived < self._limits.batch_wait_s:
            return []
        batch: list[_Waiting] = []
        largest = load.size
        for waiting in sorted(self._waiting, key=lambda w: abs(w.job.size - oldest.job.size))[:room]:
            largest = max(largest, waiting.job.size)
            rows = load.num_rows + len(batch) + 1
            if rows > 1 and largest * rows > self._limits.batch_tokens:
                break
            batch.append(waiting)
        return batch

    def _on_done(self, job: Job, result: Completion | Exception) -> None:
        self._tell(self._settle, job, result)

    def _settle(self, job: Job, result: Completion | Exception) -> None:
        """Sets the result of a job; runs on the event loop."""
        answer = self._answers.pop(id(job), None)
        if answer is None:
            return
        if isinstance(result, Exception):
            _fail(answer, result)
        elif not answer.done():
            answer.set_result(result)


def _succeed(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


def _fail(future: "asyncio.Future[Any]", error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
        future.exception()  # marks the exception as retrieved: a disconnected client never reads it
