"""The batcher: one bounded queue in front of one model thread.

    async with Batcher(load_engine, limits) as batcher:
        await batcher.loaded
        completion = await batcher.answer(request, is_gone=request.is_disconnected)

Requests that wait together begin together, those of like length in one batch, the oldest always among them; and they
join a batch that is on its way as soon as it has room. A client that went away and a deadline end a row in the middle.

Where it sits: engine -> **batcher** -> server.
"""

import asyncio
import contextlib
import math
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from submission.engine.engine import Engine
from submission.engine.job import Completion, Job, Load
from submission.errors import BrokenError, ClosingError, DeadlineError, GoneError, QueueFullError
from submission.server.api import ProcessRequest

T = TypeVar("T")

LOOK_S = 0.1
"""Between two looks whether the client is still there."""

LONG_TEXT = 32_768
"""Characters or ids; what is longer is worked on by a thread of its own, so that the others need not wait for it."""

LAST_TOKEN_S = 10.0
"""At the end, for rows that were given up to notice it at their next token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the server takes at once."""

    max_batch: int = 16
    batch_wait_s: float = 0.01
    """For others to come, when the model has nothing to do."""
    batch_tokens: int = 32_768
    """Prompts padded to the longest, and what they may be answered: keys and values of 4 GiB for a Mistral-7B."""
    max_waiting: int = 256
    deadline_s: float = 600.0
    """From a request's arrival to its answer."""
    drain_s: float = 30.0
    """At the end, for what is being answered."""
    body_bytes: int = 4 << 20
    receive_s: float = 30.0
    """From the first byte of a request's head, or of its body, to the last."""


@dataclass(slots=True, kw_only=True, eq=False)
class _Waiting:
    job: Job
    arrived: float
    answer: "asyncio.Future[Completion]"


class Batcher:
    """Lives in one event loop; the model has a thread of its own, and so have short texts and long ones.

    The model is loaded on its thread too: OpenMP gives each thread that computes a pool of its own, and on a CPU two
    pools made every token take 6.0 instead of 2.5 ms (measured).

    Args:
        load: Called once, on the model's thread.
    """

    loaded: "asyncio.Future[None]"
    """Done when the model is there; or has the error that the loader raised."""

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
        """What ended the model's thread: nothing is answered any more."""
        self._usual = 0.0
        """Requests that were in the house at a time, of late: how many are worth waiting for."""

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
    def num_waiting(self) -> int:
        """Requests that the model has not begun with, and texts."""
        return self._in_house - len(self._answers) + self._texts

    @property
    def num_answering(self) -> int:
        """Requests that the model is at work on."""
        return len(self._answers)

    async def text(self, work: Callable[[Engine], T], *, length: int = 0) -> T:
        """Runs work on the tokenizer, beside the model.

        Args:
            length: Of the text or of the ids.
        Raises:
            QueueFullError: too many wait already.
            DeadlineError: it took too long.
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
        """Ends what is not answered by then; the server is about to go."""
        self._closes_at = time.monotonic() + seconds

    async def answer(self, request: ProcessRequest, *, is_gone: Callable[[], Awaitable[bool]]) -> Completion:
        """The answer, when it is this request's turn.

        Raises:
            QueueFullError: too many wait already.
            DeadlineError: it took too long.
            GoneError: the client is no longer there.
            OverlongError: see `Engine.prepare`.
        """
        self._refuse_beyond()
        arrived, given_up = time.monotonic(), threading.Event()
        self._in_house += 1
        self._usual = max(self._in_house, 0.9 * self._usual)
        try:
            job = await self._on_text_thread(
                lambda engine: engine.prepare(request, is_given_up=given_up.is_set), len(request.prompt)
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
        """On the event loop: the model's thread has ended, with what it had at hand."""
        self.error = error
        broken = BrokenError(f"the model has ended: {error}")
        for answer in [*self._answers.values(), *(w.answer for w in self._waiting)]:
            _fail(answer, broken)
        self._answers.clear()

    def _tell(self, what: Callable[..., None], *arguments: object) -> None:
        """Has the event loop do something."""
        with contextlib.suppress(RuntimeError):  # it is closed: nobody waits any more
            self._loop.call_soon_threadsafe(what, *arguments)

    def _take(self, load: Load) -> list[Job] | None:
        """Jobs to begin with now; with nothing to do it waits for some."""
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
        """Until the oldest has waited long enough; for ever if there is none."""
        if not self._waiting:
            return None
        return max(0.0005, self._waiting[0].arrived + self._limits.batch_wait_s - time.monotonic())

    def _next(self, load: Load) -> list[_Waiting]:
        """The oldest, and those most like it in length, as far as rows and tokens allow; nobody if more are to come."""
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
        """On the event loop."""
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
        future.exception()  # whoever went away asks no more: this is no forgotten error
