"""A size limit and a deadline for request bodies. Received bytes are counted: a header may be missing or wrong.

    app.add_middleware(BodyLimit, max_bytes=4 << 20, receive_s=30.0)

Where it sits: before the application sees a request.
"""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from submission.server.problem import problem


class BodyLimit:
    """Reads a whole body before the application runs. Answers 413 if it is too large and 408 if it takes too long."""

    def __init__(self, app: ASGIApp, *, max_bytes: int, receive_s: float) -> None:
        self._app, self._max_bytes, self._receive_s = app, max_bytes, receive_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            body = await asyncio.wait_for(self._read(receive), self._receive_s)
        except TimeoutError:
            message = f"the body did not come to its end within {self._receive_s:g} s"
            await problem(scope["path"], 408, message, Connection="close")(scope, receive, send)
            return
        if body is None:
            message = f"the body is larger than {self._max_bytes} bytes"
            await problem(scope["path"], 413, message, Connection="close")(scope, receive, send)
            return
        first: Message | None = {"type": "http.request", "body": body, "more_body": False}

        async def replay() -> Message:
            nonlocal first
            if first is None:
                return await receive()
            message, first = first, None
            return message

        await self._app(scope, replay, send)

    async def _read(self, receive: Receive) -> bytes | None:
        """The body, or None if it is too large."""
        parts: list[bytes] = []
        length = 0
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return b"".join(parts)
            parts.append(message.get("body", b""))
            length += len(parts[-1])
            if length > self._max_bytes:
                return None
            if not message.get("more_body", False):
                return b"".join(parts)
