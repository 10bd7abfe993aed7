"""The HTTP server of the challenge's contract: /process, /tokenize, /decode; /health and /ready beside them.

    serve(build_app(load_engine, about, limits), listener, limits)

It listens before the model is loaded: /health answers at once, /ready and the rest with 503 until then.

Where it sits: batcher -> **server**; started by `oneday serve`.
"""

import asyncio
import contextlib
import errno
import math
import socket
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import uvicorn
from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from curation.task import encodable
from submission.api import (
    DecodeRequest,
    DecodeResponse,
    Health,
    Invalid,
    Problem,
    ProcessRequest,
    ProcessResponse,
    TokenizeRequest,
    TokenizeResponse,
)
from submission.batcher import Batcher, Limits
from submission.body_limit import BodyLimit
from submission.engine import Engine
from submission.errors import (
    BrokenError,
    ClosingError,
    DeadlineError,
    GoneError,
    OverlongError,
    QueueFullError,
    RequestError,
    ServeError,
    TooLargeError,
)

RETRY_AFTER_S = 5
CLIENT_CLOSED = 499
"""Nobody reads it; it stands in the log alone."""

STATUS: dict[type[RequestError], int] = {
    OverlongError: 400,
    QueueFullError: 503,
    TooLargeError: 503,
    ClosingError: 503,
    BrokenError: 503,
    DeadlineError: 504,
    GoneError: CLIENT_CLOSED,
}

DESCRIBED: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem, "description": "The body is no JSON, or the prompt does not fit and such are refused."},
    413: {"model": Problem, "description": "The body is too large."},
    422: {"model": Invalid, "description": "A field is missing, unknown or out of range."},
    503: {"model": Problem, "description": "Not ready yet, or too many requests wait: try again."},
    504: {"model": Problem, "description": "It took too long."},
}

LoadEngine = Callable[[], Engine]


class Model:
    """What is behind the server, once it is there."""

    batcher: Batcher | None = None
    error: BaseException | None = None
    """Why it will never be."""


def build_app(
    load: LoadEngine, health: Health, limits: Limits, *, on_loaded: Callable[[Model], None] = lambda model: None
) -> FastAPI:
    """The application; OpenAPI at /openapi.json.

    Args:
        load: Called once, on the model's thread, when the server has started.
        on_loaded: Called when the model is there, or when it will never be (`model.error`).
    """
    model = Model()

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with contextlib.AsyncExitStack() as stack:
            loading = asyncio.create_task(_load(load, limits, model, stack, on_loaded))
            yield
            loading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await loading

    app = FastAPI(
        title="oneday", description="One LLM, one GPU, one day: the challenge's HTTP contract.", lifespan=lifespan
    )
    app.state.model = model
    app.add_middleware(BodyLimit, max_bytes=limits.body_bytes)
    _add_error_handlers(app)
    _add_endpoints(app, model, health)
    return app


async def _load(
    load: LoadEngine,
    limits: Limits,
    model: Model,
    stack: contextlib.AsyncExitStack,
    on_loaded: Callable[[Model], None],
) -> None:
    batcher = await stack.enter_async_context(Batcher(load, limits))
    try:
        await batcher.loaded
        model.batcher = batcher
    except Exception as e:
        model.error = e
    on_loaded(model)


def _add_error_handlers(app: FastAPI) -> None:
    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        """Says where and why. The input itself is left out: it may hold NaN or half a character, which no JSON can."""
        return _invalid([{"loc": list(e["loc"]), "msg": e["msg"], "type": e["type"]} for e in error.errors()])

    @app.exception_handler(RecursionError)
    async def too_deep(request: Request, error: RecursionError) -> JSONResponse:
        """JSON that is nested beyond reason."""
        return _invalid([{"loc": ["body"], "msg": "nested too deeply", "type": "json_invalid"}])

    @app.exception_handler(RequestError)
    async def not_answered(request: Request, error: RequestError) -> JSONResponse:
        """With the status of its kind."""
        status = STATUS[type(error)]
        headers = {"Retry-After": str(RETRY_AFTER_S)} if status == 503 else None
        return JSONResponse({"detail": str(error)}, status_code=status, headers=headers)


def _invalid(problems: list[dict[str, Any]]) -> JSONResponse:
    return JSONResponse({"detail": problems}, status_code=422)


def _add_endpoints(app: FastAPI, model: Model, health: Health) -> None:
    def ready() -> Batcher:
        if model.batcher is None:
            raise HTTPException(503, detail="the model is not loaded yet", headers={"Retry-After": str(RETRY_AFTER_S)})
        if model.batcher.error is not None:
            raise BrokenError(f"the model has ended: {model.batcher.error}")
        return model.batcher

    @app.post("/process", responses=DESCRIBED)
    async def process(asked: ProcessRequest, request: Request) -> ProcessResponse:
        start = time.perf_counter()
        _refuse_surrogates("prompt", asked.prompt, *asked.stop_sequences)
        done = await ready().answer(asked, is_gone=request.is_disconnected)
        return ProcessResponse(
            text=done.text, tokens=list(done.tokens), logprob=done.logprob, request_time=time.perf_counter() - start
        )

    @app.post("/tokenize", responses=DESCRIBED)
    async def tokenize(asked: TokenizeRequest) -> TokenizeResponse:
        start = time.perf_counter()
        _refuse_surrogates("text", asked.text)
        tokens = await ready().text(
            lambda engine: engine.tokenize(asked.text, truncation=asked.truncation, max_length=asked.max_length)
        )
        return TokenizeResponse(tokens=tokens, request_time=time.perf_counter() - start)

    @app.post("/decode", responses=DESCRIBED)
    async def decode(asked: DecodeRequest) -> DecodeResponse:
        start = time.perf_counter()
        try:
            text = await ready().text(lambda engine: engine.decode(asked.tokens))
        except ValueError as e:
            raise _wrong("tokens", str(e)) from e
        return DecodeResponse(text=text, request_time=time.perf_counter() - start)

    @app.get("/health")
    async def health_() -> Health:
        """The process lives."""
        return health

    @app.get("/ready", responses={503: DESCRIBED[503]})
    async def ready_() -> Health:
        """The model is loaded and answers."""
        ready()
        return health


def _wrong(field: str, message: str) -> RequestValidationError:
    return RequestValidationError([{"loc": ("body", field), "msg": message, "type": "value_error"}])


def _refuse_surrogates(field: str, *texts: str) -> None:
    """JSON may carry a lone surrogate; no tokenizer takes one."""
    if not encodable(*texts):
        raise _wrong(field, "the text holds a lone surrogate, which is not Unicode")


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes any free one.

    Raises:
        ServeError: the port is in use, or the address is not this machine's.
    """
    if not host.strip():
        raise ServeError("--host is empty. Give 127.0.0.1, or 0.0.0.0 for every network.")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named: without it asyncio leaves Nagle's algorithm on, and each answer waits 40 ms (measured).
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(128)
    except (OSError, OverflowError) as e:
        listener.close()
        why = getattr(e, "strerror", None) or str(e)
        if getattr(e, "errno", None) in (None, errno.EADDRINUSE, errno.EACCES):
            raise ServeError(
                f"--port {port}: cannot listen on {host} ({why}). Stop what runs there, or take another."
            ) from e
        raise ServeError(
            f"--host {host}: cannot listen there ({why}). Give an address of this machine: 127.0.0.1, or 0.0.0.0 for "
            "every network."
        ) from e
    return listener


class _Server(uvicorn.Server):
    """Tells when a signal asks it to end."""

    on_exit: Callable[[], object]

    def handle_exit(self, sig: int, frame: Any) -> None:
        """As upstream."""
        self.on_exit()
        super().handle_exit(sig, frame)


def serve(
    load: LoadEngine,
    health: Health,
    limits: Limits,
    listener: socket.socket,
    *,
    on_ready: Callable[[], None] = lambda: None,
) -> None:
    """Serves until SIGINT or SIGTERM; what is being answered then has `drain_s` to end.

    Args:
        on_ready: Called when the model is loaded.
    Raises:
        Exception: the model could not be loaded; whatever the loader raised.
    """
    failed: list[BaseException] = []

    def on_loaded(model: Model) -> None:
        if model.error is None:
            on_ready()
        else:
            failed.append(model.error)
            server.should_exit = True

    app = build_app(load, health, limits, on_loaded=on_loaded)
    # what is not answered by the end of the draining gets a 503 of ours, a moment before uvicorn would cancel it
    drain_s = math.ceil(limits.drain_s) + 2
    # uvicorn's own set-up of logging would end every handler of this process, and some close their stream: absl's does
    config = uvicorn.Config(
        app, log_config=None, log_level="warning", access_log=False, timeout_graceful_shutdown=drain_s
    )
    server = _Server(config)
    server.on_exit = lambda: app.state.model.batcher and app.state.model.batcher.close_within(limits.drain_s)
    server.run(sockets=[listener])
    if failed:
        raise failed[0]
