"""A model behind a server that speaks OpenAI's `/v1/completions` or `/v1/chat/completions`: vLLM, SGLang, llama.cpp.

    predictor = OpenAIPredictor("http://127.0.0.1:8000/v1")
    predictor.complete(requests)

At most `concurrency` requests are in flight. A request that fails temporarily is sent again after a growing pause. The
requests of a task follow each other, so that a server with a prefix cache reads the task's shots once.
"""

import asyncio
import random
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import aiohttp

from core.errors import PredictionError
from core.example.prompt import cut_at_stop
from core.generation.request import REFUSED_BY_SERVER, SHARD_SIZE, Answer, Refused, Request
from core.model.completion import Completion
from core.model.folder import model_fingerprint
from core.model.token_counter import TokenCounter

RETRIED = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
REFUSED = frozenset({400, 413, 422})
"""Status codes with which a server refuses one request for good."""

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
TIMEOUT_S = 300.0

Result = TypeVar("Result")


class _Again(Exception):  # noqa: N818
    """A temporary failure, with the pause that the server asks for."""

    def __init__(self, why: str, after_s: float | None = None) -> None:
        super().__init__(why)
        self.after_s = after_s


class OpenAIPredictor:
    """Greedy answers from a server.

    Args:
        url: Up to and including `/v1`.
        model: The server's name for the model; None: the only one it serves.
        base: The model's folder. Its hash identifies the weights, and its tokenizer tells whether a prompt fits. None:
            the server's name for the model identifies the weights.
        concurrency: Largest number of requests in flight.
        key: Sent to the server with each request, but not to a server that it redirects to.
        retries: How often a request is sent again.
        first_pause_s: Pause before the first retry; each further pause is twice as long.
        chat: Send each prompt as a user's message, to which the server applies its chat template.
        json_mode: Ask the server for one JSON object (`response_format`). Needs `chat`.
    Raises:
        PredictionError: no such server, or it serves no such model.
    """

    keeps_answers = True

    def __init__(
        self,
        url: str,
        *,
        model: str | None = None,
        base: Path | None = None,
        concurrency: int = 64,
        key: str | None = None,
        retries: int = 8,
        first_pause_s: float = FIRST_PAUSE_S,
        chat: bool = False,
        json_mode: bool = False,
    ) -> None:
        assert chat or not json_mode
        self._chat, self._json_mode = chat, json_mode
        self._url = url.rstrip("/")
        self._key = None if "@" in url else key  # http://USER:PASSWORD@HOST/v1 needs no key
        self._concurrency, self._retries, self._first_pause_s = concurrency, retries, first_pause_s
        self.in_flight = concurrency // SHARD_SIZE + 2  # the next shards fill the gaps at the end of one
        self._tokens = TokenCounter.load(base) if base else None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True, name="openai-client")
        self._thread.start()
        self._session: aiohttp.ClientSession | None = None
        try:
            self._model, self._context = self._wait(self._served(model))
        except BaseException:
            self.close()
            raise
        weights = model_fingerprint(base) if base else self._model
        self._revision = f"openai:{weights}{' chat' * chat}{' json' * json_mode}"

    @property
    def revision(self) -> str:
        """The hash of the weights, or the server's name for the model."""
        return self._revision

    def fits(self, prompt: str, max_new_tokens: int) -> bool:
        """Whether a prompt fits. If tokenizer or context length is unknown, the server decides."""
        if self._tokens is None or self._context is None or len(prompt.encode()) + max_new_tokens < self._context:
            return True
        return self._tokens.count([prompt])[0] + 1 + max_new_tokens <= self._context

    def complete(self, requests: Sequence[Request]) -> list[Answer]:
        """Answers in the order of the requests; `refused_by_server` for a request that the server refuses.

        Raises:
            PredictionError: the server does not answer, or denies access.
        """
        return [answer if isinstance(answer, Refused) else answer.text for answer in self.respond(requests)]

    def rendered(self, request: Request) -> str | None:
        """The prompt; None for messages, which the server renders."""
        return None if self._chat or request.messages else request.prompt

    def respond(self, requests: Sequence[Request]) -> list[Completion | Refused]:
        """As `complete`, with the length of each answer and the reason why it ended, as far as the server says."""
        return self._wait(self._all(requests))

    def close(self) -> None:
        """Ends the connections and the client's thread."""
        if self._loop.is_closed():
            return
        self._wait(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        """Cancels the requests in flight, because threads that wait for them would keep the process alive."""
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    def _wait(self, work: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _served(self, model: str | None) -> tuple[str, int | None]:
        """The model's name and its context length, if the server reports it."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._concurrency),
            timeout=aiohttp.ClientTimeout(total=TIMEOUT_S),
            headers={"Authorization": f"Bearer {self._key}"} if self._key else {},
        )
        self._gate = asyncio.Semaphore(self._concurrency)
        listed = await self._patiently(lambda: self._get("/models"), retries=min(2, self._retries))
        entries = listed.get("data") if isinstance(listed, dict) else None
        served = {e["id"]: e for e in entries or () if isinstance(e, dict) and isinstance(e.get("id"), str)}
        if model is None and len(served) == 1:
            model = next(iter(served))
        if model is None or model not in served:
            names = ", ".join(sorted(served)) or "none"
            raise PredictionError(f"{self._url}: serves {names}, not `model={model}`. Pass `model=` with one of them.")
        length = served[model].get("max_model_len")
        return model, length if isinstance(length, int) else None

    async def _all(self, requests: Sequence[Request]) -> list[Completion | Refused]:
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._one(request)) for request in requests]
        except BaseExceptionGroup as e:
            raise e.exceptions[0] from e
        return [task.result() for task in tasks]

    async def _one(self, request: Request) -> Completion | Refused:
        is_chat = self._chat or bool(request.messages)
        path = "/chat/completions" if is_chat else "/completions"
        async with self._gate:
            reply = await self._patiently(lambda: self._post(path, self._body(request)))
        if isinstance(reply, Refused):
            return reply
        try:
            choice = reply["choices"][0]
            whole = str((choice["message"]["content"] if is_chat else choice["text"]) or "")
        except (KeyError, IndexError, TypeError) as e:
            text = "message.content" if is_chat else "text"
            raise PredictionError(
                f"{self._url}{path}: a reply without choices[0].{text}. Is it a server of this kind?"
            ) from e
        return _completion(reply, choice, whole, request.stop)

    def _body(self, request: Request) -> dict[str, Any]:
        body = {"model": self._model, "max_tokens": request.max_new_tokens, "temperature": 0, "seed": 0}
        if request.repetition_penalty != 1.0:
            body["repetition_penalty"] = request.repetition_penalty
        if not (self._chat or request.messages):
            return {**body, "prompt": request.prompt, "stop": list(request.stop)}
        messages = [{"role": m.role.value, "content": m.content} for m in request.messages]
        body["messages"] = messages or [{"role": "user", "content": request.prompt}]
        if request.stop:
            body["stop"] = list(request.stop)
        if self._json_mode:
            body["response_format"] = {"type": "json_object"}
        return body

    async def _patiently(self, send: Callable[[], Coroutine[Any, Any, Any]], retries: int | None = None) -> Any:
        """Sends a request until it is answered, with growing pauses."""
        pause = self._first_pause_s
        retries = self._retries if retries is None else retries
        for attempt in range(retries + 1):
            try:
                return await send()
            except (_Again, aiohttp.ClientError, TimeoutError, OSError) as e:
                if attempt == retries:
                    why = str(e) or type(e).__name__
                    raise PredictionError(
                        f"{self._url}: no answer after {attempt + 1} tries ({why}). Check the server; "
                        "what was answered is kept, and the same command goes on."
                    ) from e
                asked_for = e.after_s if isinstance(e, _Again) else None
                await asyncio.sleep(asked_for if asked_for is not None else pause * random.uniform(0.5, 1.0))
                pause = min(2 * pause, LONGEST_PAUSE_S)
        raise AssertionError("the last attempt returns or raises")

    async def _get(self, path: str) -> Any:
        assert self._session is not None
        async with self._session.get(self._url + path) as reply:
            return await self._read(path, reply)

    async def _post(self, path: str, body: Mapping[str, object]) -> Any:
        assert self._session is not None
        async with self._session.post(self._url + path, json=body) as reply:
            return await self._read(path, reply)

    async def _read(self, path: str, reply: aiohttp.ClientResponse) -> Any:
        if reply.status in RETRIED:
            raise _Again(f"HTTP {reply.status}", _seconds(reply.headers.get("Retry-After")))
        if reply.status in REFUSED:
            return Refused(reason=REFUSED_BY_SERVER, detail=(await reply.text(errors="replace"))[:200])
        if reply.status != 200:
            key = "" if self._key else ", without a key, which goes only to a `url=` of this command line"
            mend = "Check `url=` (it ends in /v1), `model=` and OPENAI_API_KEY."
            raise PredictionError(f"{self._url}{path}: HTTP {reply.status}{key}. {mend}")
        try:
            return await reply.json(content_type=None)
        except ValueError as e:
            raise PredictionError(f"{self._url}{path}: no JSON. Check `url=` (it ends in /v1).") from e


def _completion(reply: Mapping[str, Any], choice: Mapping[str, Any], text: str, stop: Sequence[str]) -> Completion:
    """`finish_reason` and `usage` where the server gives them, as most do."""
    finish, usage = choice.get("finish_reason"), reply.get("usage")
    tokens = usage.get("completion_tokens") if isinstance(usage, dict) else None
    return Completion(
        text=cut_at_stop(text, stop),
        finish=finish if finish in ("stop", "length") else None,
        num_tokens=tokens if isinstance(tokens, int) else None,
    )


def _seconds(header: str | None) -> float | None:
    """`Retry-After` in seconds, at most the longest pause; None if it is not a number."""
    try:
        return min(max(0.0, float(header)), LONGEST_PAUSE_S) if header else None
    except ValueError:
        return None
