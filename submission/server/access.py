"""An optional token: with one, only requests that carry it are answered.

    app.add_middleware(RequireToken, token="...")

Clients send `Authorization: Bearer TOKEN`, as those of OpenAI's API do with their key. /health and /ready are open,
because load balancers and container engines ask them.

Where it sits: before a request's body is read.
"""

import secrets
from collections.abc import Mapping
from pathlib import Path

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from submission.errors import ServeError
from submission.server.problem import problem

OPEN = frozenset({"/health", "/ready"})

LEAST_CHARACTERS = 16
"""A shorter token could be guessed."""

_LOOPBACK = ("localhost", "::1")


class RequireToken:
    """Answers 401 to requests without the token."""

    def __init__(self, app: ASGIApp, *, token: str) -> None:
        self._app, self._token = app, token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http" or scope["path"] in OPEN or self._has_token(Headers(scope=scope)):
            await self._app(scope, receive, send)
            return
        # the body is not read, so the connection cannot be used again
        refused = problem(
            scope["path"], 401, "this server needs a token: send `Authorization: Bearer TOKEN`",
            **{"WWW-Authenticate": "Bearer", "Connection": "close"},
        )  # fmt: skip
        await refused(scope, receive, send)

    def _has_token(self, headers: Mapping[str, str]) -> bool:
        scheme, _, token = headers.get("Authorization", "").partition(" ")
        return scheme.lower() == "bearer" and secrets.compare_digest(token.strip().encode(), self._token)


def read_token(path: Path) -> str:
    """The token in a file, which `ps` does not show.

    Raises:
        ServeError: not readable, or no token of at least `LEAST_CHARACTERS` printable ASCII characters.
    """
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as e:
        raise ServeError(f"`token_file={path}`: cannot be read ({e}). Give a text file with one token.") from e
    if len(token) < LEAST_CHARACTERS or not token.isascii() or not token.isprintable() or " " in token:
        raise ServeError(
            f"`token_file={path}`: no token of at least {LEAST_CHARACTERS} ASCII characters without spaces. "
            "`openssl rand -hex 32` makes one."
        )
    return token


def is_public(host: str) -> bool:
    """Whether other machines can reach a server on this address."""
    return not (host in _LOOPBACK or host.startswith("127."))
