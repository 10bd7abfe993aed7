"""The endpoints /v1/completions, /v1/chat/completions and /v1/models, on the engine that answers /process.

    app.include_router(openai_router(service))

Where it sits: batcher -> **router** -> app.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from submission.engine.batcher import Batcher
from submission.engine.job import Completion
from submission.engine.request import GenerationRequest
from submission.errors import PromptError, UnknownModelError
from submission.server.metrics import Metrics
from submission.server.openai.answer import (
    AnswerMessage,
    ChatChoice,
    ChatCompletion,
    ChatLogprobs,
    Head,
    ModelEntry,
    ModelList,
    TextChoice,
    TextCompletion,
    TextLogprobs,
    Usage,
)
from submission.server.openai.request import ChatRequest, CompletionRequest, SampledRequest
from submission.server.openai.stream import ChatPieces, EventStream, News, Pieces, TextPieces
from submission.server.problem import OPENAI_DESCRIBED

STREAMED: dict[int | str, dict[str, Any]] = {200: {"content": {"text/event-stream": {}}}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What the endpoints stand on."""

    name: str
    """The model's name in requests and answers."""
    ready: Callable[[], Batcher]
    """The batcher of a loaded model, or an error."""
    metrics: Metrics
    deadline_s: float
    created: int = field(default_factory=lambda: int(time.time()))

    def check(self, asked: SampledRequest) -> None:
        """Refuses another model's name.

        Raises:
            UnknownModelError: see there.
        """
        if asked.model not in (None, self.name):
            raise UnknownModelError(f"the model {asked.model!a} is not served here; {self.name!a} is")

    def count(self, completion: Completion) -> None:
        """Counts the tokens of an answer."""
        self.metrics.prompt_tokens.inc(completion.num_prompt_tokens)
        self.metrics.answer_tokens.inc(completion.num_new_tokens)

    async def answer(self, asked: Sequence[GenerationRequest], request: Request) -> list[Completion]:
        """Answers all requests, together. If one fails, the others are given up."""
        batcher = self.ready()
        tasks = [asyncio.create_task(batcher.answer(one, is_gone=request.is_disconnected)) for one in asked]
        try:
            found = list(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()
        for completion in found:
            self.count(completion)
        return found

    async def stream(self, asked: GenerationRequest, pieces: Pieces, request: Request) -> Response:
        """Streams one answer. What goes wrong before the first token is an HTTP error."""
        news = self._counted(self.ready().stream(asked, is_gone=request.is_disconnected))
        return EventStream(news, await anext(news), pieces, deadline_s=self.deadline_s)

    async def _counted(self, news: News) -> News:
        async with aclosing(news):
            async for new in news:
                if isinstance(new, Completion):
                    self.count(new)
                yield new


def openai_router(service: Service) -> APIRouter:
    """The endpoints."""
    router = APIRouter(prefix="/v1", responses=OPENAI_DESCRIBED)

    @router.post("/completions", response_model=TextCompletion, responses=STREAMED)
    async def completions(asked: CompletionRequest, request: Request) -> Any:
        """Completes prompts."""
        service.check(asked)
        generations, head = asked.generations(), Head(model=service.name, kind="cmpl")
        if asked.stream:
            if len(generations) > 1:
                raise PromptError("a stream answers one prompt at a time")
            return await service.stream(generations[0], TextPieces(asked, head), request)
        done = await service.answer(generations, request)
        return head.text([_text_choice(n, c, asked.logprobs) for n, c in enumerate(done)], Usage.of(done))

    @router.post("/chat/completions", response_model=ChatCompletion, responses=STREAMED)
    async def chat(asked: ChatRequest, request: Request) -> Any:
        """Answers a conversation."""
        service.check(asked)
        head = Head(model=service.name, kind="chatcmpl")
        if asked.stream:
            return await service.stream(asked.generation(), ChatPieces(asked, head), request)
        (done,) = await service.answer([asked.generation()], request)
        logprobs = ChatLogprobs.of(done.tokens, num_top=asked.top_logprobs) if asked.logprobs else None
        message = AnswerMessage(content=done.text)
        return head.chat(ChatChoice(message=message, logprobs=logprobs, finish_reason=done.finish), Usage.of([done]))

    @router.get("/models")
    async def models() -> ModelList:
        """The served model."""
        entry = ModelEntry(id=service.name, created=service.created, max_model_len=service.ready().context_length)
        return ModelList(data=[entry])

    return router


def _text_choice(number: int, done: Completion, num_top: int | None) -> TextChoice:
    tokens = [*done.tokens, *([done.end] if done.end else [])]
    logprobs = None if num_top is None else TextLogprobs.of(tokens, num_top=num_top)
    return TextChoice(index=number, text=done.text, logprobs=logprobs, finish_reason=done.finish)
