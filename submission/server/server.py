"""The HTTP server: runs the application on uvicorn, from a listening socket to the last answer.

    with bind("127.0.0.1", 8080) as listener:
        serve(load_engine, health, limits, listener)

Where it sits: app -> **server**; started by `oneday serve`.
"""

import errno
import math
import socket
from collections.abc import Callable
from typing import Any

import uvicorn

from submission.engine.batcher import Limits
from submission.errors import ServeError
from submission.server.api import Health
from submission.server.app import LoadEngine, Model, build_app
from submission.server.connection import KEEP_ALIVE_S, connection_class


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes any free one.

    Raises:
        ServeError: the port is in use, or the address is not this machine's.
    """
    if not host.strip():
        raise ServeError("`host=` is empty. Give 127.0.0.1, or 0.0.0.0 for every network.")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # IPPROTO_TCP is given explicitly: without it asyncio leaves Nagle's algorithm on, which delays each answer by 40 ms
    # (measured).
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(128)
    except (OSError, OverflowError) as e:
        listener.close()
        why = getattr(e, "strerror", None) or str(e)
        if getattr(e, "errno", None) == errno.EACCES:
            raise ServeError(f"`port={port}`: only root may listen there ({why}). Take one from 1024 to 65535.") from e
        if getattr(e, "errno", None) in (None, errno.EADDRINUSE):
            raise ServeError(
                f"`port={port}`: cannot listen on {host} ({why}). Stop what runs there, or take another."
            ) from e
        raise ServeError(
            f"`host={host}`: cannot listen there ({why}). Give an address of this machine: 127.0.0.1, or 0.0.0.0 for "
            "every network."
        ) from e
    return listener


class Server(uvicorn.Server):
    """A uvicorn server that calls `on_exit` when a signal asks it to end."""

    on_exit: Callable[[], object]
    failed: BaseException | None = None
    """Why the model could not be loaded."""

    def handle_exit(self, sig: int, frame: Any) -> None:
        """As upstream."""
        self.on_exit()
        super().handle_exit(sig, frame)


def make_server(
    load: LoadEngine,
    health: Health,
    limits: Limits,
    *,
    name: str = "oneday",
    token: str | None = None,
    starter_kit: bool = False,
    on_ready: Callable[[], None] = lambda: None,
) -> Server:
    """The application on uvicorn; `run(sockets=[listener])` serves until a signal arrives.

    Args:
        name, token, starter_kit: See `build_app`.
        on_ready: Called when the model is loaded.
    """

    def on_loaded(model: Model) -> None:
        if model.error is None:
            on_ready()
        else:
            server.failed = model.error
            server.should_exit = True

    app = build_app(load, health, limits, name=name, token=token, starter_kit=starter_kit, on_loaded=on_loaded)
    config = uvicorn.Config(
        app,
        http=connection_class(head_s=limits.receive_s),
        timeout_keep_alive=KEEP_ALIVE_S,
        # uvicorn's logging setup would remove all handlers of this process; some, such as absl's, close their stream
        log_config=None,
        log_level="warning",
        access_log=False,
        # requests that are unanswered when draining ends get a 503 from the batcher shortly before uvicorn cancels them
        timeout_graceful_shutdown=math.ceil(limits.drain_s) + 2,
    )
    server = Server(config)
    server.on_exit = lambda: app.state.model.batcher and app.state.model.batcher.close_within(limits.drain_s)
    return server


def serve(
    load: LoadEngine,
    health: Health,
    limits: Limits,
    listener: socket.socket,
    *,
    name: str = "oneday",
    token: str | None = None,
    starter_kit: bool = False,
    on_ready: Callable[[], None] = lambda: None,
) -> None:
    """Serves until SIGINT or SIGTERM. Requests that are being answered then have `drain_s` seconds to finish.

    Args:
        name, token, starter_kit: See `build_app`.
        on_ready: Called when the model is loaded.
    Raises:
        Exception: whatever the loader raised, if the model could not be loaded.
    """
    server = make_server(load, health, limits, name=name, token=token, starter_kit=starter_kit, on_ready=on_ready)
    server.run(sockets=[listener])
    if server.failed:
        raise server.failed
