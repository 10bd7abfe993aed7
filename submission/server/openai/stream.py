"""Streamed answers as server-sent events.

    data: {"id": "cmpl-...", "choices": [{"index": 0, "text": " Paris", ...}]}
    data: [DONE]

An error before the first token is an ordinary HTTP error. After it, it is an event, because the status has been sent.

Where it sits: batcher, answer -> **stream** -> HTTP.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Protocol

from pydantic import BaseModel
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from submission.engine.job import Completion
from submission.errors import RequestError
from submission.server.api import Token
from submission.server.openai.answer import (
    ChatLogprobs,
    ChatPieceChoice,
    Delta,
    Head,
    TextChoice,
    TextLogprobs,
    Usage,
)
from submission.server.openai.request import ChatRequest, CompletionRequest
from submission.server.problem import openai_problem

DONE = b"data: [DONE]\n\n"


class Pieces(Protocol):
    """Makes the pieces of one answer."""

    def begin(self) -> BaseModel | None:
        """The piece before the first token."""

    def tokens(self, tokens: Sequence[Token]) -> BaseModel | None:
        """The piece that these tokens make."""

    def end(self, completion: Completion) -> list[BaseModel]:
        """The pieces after the last token."""


class TextPieces:
    """The pieces of an answer of /v1/completions."""

    def __init__(self, asked: CompletionRequest, head: Head) -> None:
        self._asked, self._head, self._length = asked, head, 0

    def begin(self) -> None:
        """None: the first piece holds text."""

    def tokens(self, tokens: Sequence[Token]) -> BaseModel | None:
        """Text, with log-probabilities if they were asked for."""
        text, num_top = "".join(t.text for t in tokens), self._asked.logprobs
        logprobs = None if num_top is None else TextLogprobs.of(tokens, num_top=num_top, start=self._length)
        self._length += len(text)
        return self._head.text([TextChoice(index=0, text=text, logprobs=logprobs)]) if text or logprobs else None

    def end(self, completion: Completion) -> list[BaseModel]:
        """The reason for the end, then the usage."""
        num_top, end, logprobs = self._asked.logprobs, completion.end, None
        if end is not None and num_top is not None:
            logprobs = TextLogprobs.of([end], num_top=num_top, start=self._length)
        choice = TextChoice(index=0, text="", logprobs=logprobs, finish_reason=completion.finish)
        last: list[BaseModel] = [self._head.text([choice])]
        usage = [self._head.text([], Usage.of([completion]))] if self._asked.stream_options.include_usage else []
        return last + usage


class ChatPieces:
    """The pieces of an answer of /v1/chat/completions."""

    def __init__(self, asked: ChatRequest, head: Head) -> None:
        self._asked, self._head = asked, head

    def begin(self) -> BaseModel:
        """The role."""
        return self._head.chat_piece([ChatPieceChoice(delta=Delta(role="assistant", content=""))])

    def tokens(self, tokens: Sequence[Token]) -> BaseModel | None:
        """Text, with log-probabilities if they were asked for."""
        text = "".join(t.text for t in tokens)
        logprobs = ChatLogprobs.of(tokens, num_top=self._asked.top_logprobs) if self._asked.logprobs else None
        if not text and logprobs is None:
            return None
        return self._head.chat_piece([ChatPieceChoice(delta=Delta(content=text), logprobs=logprobs)])

    def end(self, completion: Completion) -> list[BaseModel]:
        """The reason for the end, then the usage."""
        last: list[BaseModel] = [
            self._head.chat_piece([ChatPieceChoice(delta=Delta(), finish_reason=completion.finish)])
        ]
        usage = [self._head.chat_piece([], Usage.of([completion]))] if self._asked.stream_options.include_usage else []
        return last + usage


News = AsyncGenerator[Sequence[Token] | Completion]


class EventStream(StreamingResponse):
    """The events of one answer, until the deadline, which also ends a stream whose client does not read.

    Args:
        news: What follows the first tokens. It is closed at the end, however that comes.
        first: The first tokens, or an answer without any.
    """

    def __init__(self, news: News, first: Sequence[Token] | Completion, pieces: Pieces, *, deadline_s: float) -> None:
        self._news, self._events, self._deadline_s = news, _events(news, first, pieces), deadline_s
        super().__init__(self._events, media_type="text/event-stream", headers={"Cache-Control": "no-cache"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        try:
            async with asyncio.timeout(self._deadline_s):
                await super().__call__(scope, receive, send)
        except TimeoutError:
            pass
        finally:
            await self._events.aclose()
            await self._news.aclose()


async def _events(news: News, first: Sequence[Token] | Completion, pieces: Pieces) -> AsyncGenerator[bytes]:
    begin = pieces.begin()
    if begin is not None:
        yield _event(begin)
    try:
        for piece in _made(first, pieces):
            yield _event(piece)
        async for new in news:
            for piece in _made(new, pieces):
                yield _event(piece)
    except RequestError as e:
        yield _event(openai_problem(e))
    yield DONE


def _made(new: Sequence[Token] | Completion, pieces: Pieces) -> list[BaseModel]:
    if isinstance(new, Completion):
        return pieces.end(new)
    piece = pieces.tokens(new)
    return [] if piece is None else [piece]


def _event(piece: BaseModel) -> bytes:
    return b"data: " + piece.model_dump_json().encode() + b"\n\n"
