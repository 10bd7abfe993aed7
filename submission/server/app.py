"""The application: the challenge's /process, /tokenize and /decode, OpenAI's /v1, and /health, /ready, /metrics.

    app = build_app(load_engine, health, limits)

The application answers before the model is loaded: /health succeeds at once, the others return 503 until then.

Where it sits: batcher -> **app** -> server.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from core.files import encodable
from submission.engine.batcher import Batcher, Limits
from submission.engine.engine import Engine
from submission.errors import BrokenError
from submission.server.access import RequireToken
from submission.server.api import (
    DecodeRequest,
    DecodeResponse,
    Health,
    ProcessRequest,
    ProcessResponse,
    TokenizeRequest,
    TokenizeResponse,
)
from submission.server.body_limit import BodyLimit
from submission.server.metrics import CountRequests, Metrics
from submission.server.openai.router import Service, openai_router
from submission.server.problem import DESCRIBED, add_error_handlers

LoadEngine = Callable[[], Engine]


class Model:
    """The state of the model behind the server."""

    batcher: Batcher | None = None
    error: BaseException | None = None
    """Why loading failed."""

    @property
    def is_ready(self) -> bool:
        """Whether the model is loaded and answers requests."""
        return self.batcher is not None and self.batcher.error is None

    def ready(self) -> Batcher:
        """The batcher, if the model answers requests.

        Raises:
            HTTPException: not loaded yet.
            BrokenError: the model's thread has ended.
        """
        if self.batcher is None:
            raise HTTPException(503, detail="the model is not loaded yet")
        if self.batcher.error is not None:
            raise BrokenError(f"the model has ended: {self.batcher.error}")
        return self.batcher


def build_app(
    load: LoadEngine,
    health: Health,
    limits: Limits,
    *,
    name: str = "oneday",
    token: str | None = None,
    starter_kit: bool = False,
    on_loaded: Callable[[Model], None] = lambda model: None,
) -> FastAPI:
    """The application; OpenAPI at /openapi.json.

    Args:
        load: Called once, on the model's thread, when the server has started.
        name: The model's name in the API under /v1.
        token: Requests must carry it; None: all are answered.
        starter_kit: /process has the defaults of the challenge's starter kit.
        on_loaded: Called when the model is loaded, or when loading failed (`model.error`).
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
        title="oneday",
        description="The HTTP contract of the challenge and of HELM, and OpenAI's API.",
        lifespan=lifespan,
    )
    metrics = _metrics(model)
    app.state.model = model
    add_error_handlers(app)
    _add_endpoints(app, model, health, metrics, starter_kit=starter_kit)
    app.include_router(
        openai_router(Service(name=name, ready=model.ready, metrics=metrics, deadline_s=limits.deadline_s))
    )
    paths = frozenset(route.path for route in app.routes if isinstance(route, Route))
    app.add_middleware(BodyLimit, max_bytes=limits.body_bytes, receive_s=limits.receive_s)
    if token is not None:
        app.add_middleware(RequireToken, token=token)
    app.add_middleware(HeadAsGet)
    app.add_middleware(CountRequests, metrics=metrics, paths=paths)
    return app


class HeadAsGet:
    """Handles HEAD as GET, without a body. Load balancers send HEAD, and FastAPI alone answers 405."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        is_head = scope["type"] == "http" and scope["method"] == "HEAD"
        await self._app({**scope, "method": "GET"} if is_head else scope, receive, send)


def _metrics(model: Model) -> Metrics:
    metrics = Metrics()
    metrics.gauge("oneday_ready", "1: the model is loaded and answers.", lambda: model.is_ready)
    metrics.gauge(
        "oneday_waiting", "Requests and texts that wait.", lambda: model.batcher.num_waiting if model.batcher else 0
    )
    metrics.gauge(
        "oneday_answering",
        "Requests in the model's batch.",
        lambda: model.batcher.num_answering if model.batcher else 0,
    )
    metrics.gauge(
        "oneday_prefix_bytes",
        "Keys and values of prompts that are kept for later ones.",
        lambda: model.batcher.prefixes.num_bytes if model.batcher else 0,
    )
    metrics.gauge(
        "oneday_prefix_tokens_reused",
        "Tokens of prompts that were not read again.",
        lambda: model.batcher.prefixes.num_reused if model.batcher else 0,
    )
    return metrics


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


def _add_endpoints(app: FastAPI, model: Model, health: Health, metrics: Metrics, *, starter_kit: bool) -> None:
    @app.post("/process", responses=DESCRIBED, response_model_exclude_none=True)
    async def process(asked: ProcessRequest, request: Request) -> ProcessResponse:
        start = time.perf_counter()
        _refuse_surrogates("prompt", asked.prompt, *asked.stop_sequences)
        generation = asked.generation(starter_kit=starter_kit)
        done = await model.ready().answer(generation, is_gone=request.is_disconnected)
        metrics.prompt_tokens.inc(done.num_prompt_tokens)
        metrics.answer_tokens.inc(done.num_new_tokens)
        return ProcessResponse(
            text=done.text,
            tokens=list(done.tokens),
            logprob=done.logprob,
            request_time=time.perf_counter() - start,
            max_new_tokens=done.clamped_to,
        )

    @app.post("/tokenize", responses=DESCRIBED)
    async def tokenize(asked: TokenizeRequest) -> TokenizeResponse:
        start = time.perf_counter()
        _refuse_surrogates("text", asked.text)
        tokens = await model.ready().text(
            lambda engine: engine.tokenize(asked.text, truncation=asked.truncation, max_length=asked.max_length),
            length=len(asked.text),
        )
        return TokenizeResponse(tokens=tokens, request_time=time.perf_counter() - start)

    @app.post("/decode", responses=DESCRIBED)
    async def decode(asked: DecodeRequest) -> DecodeResponse:
        start = time.perf_counter()
        try:
            text = await model.ready().text(lambda engine: engine.decode(asked.tokens), length=len(asked.tokens))
        except ValueError as e:
            raise _wrong("tokens", str(e)) from e
        return DecodeResponse(text=text, request_time=time.perf_counter() - start)

    @app.get("/health")
    async def health_() -> Health:
        """Whether the process is alive."""
        return health

    @app.get("/ready", responses={503: DESCRIBED[503]})
    async def ready_() -> Health:
        """Whether the model is loaded and answers requests."""
        model.ready()
        return health

    @app.get("/metrics", include_in_schema=False)
    def metrics_() -> Response:
        """Metrics in the Prometheus format."""
        return Response(metrics.text(), media_type=CONTENT_TYPE_LATEST)


def _wrong(field: str, message: str) -> RequestValidationError:
    return RequestValidationError([{"loc": ("body", field), "msg": message, "type": "value_error"}])


def _refuse_surrogates(field: str, *texts: str) -> None:
    """Rejects lone surrogates: JSON can carry them, but no tokenizer accepts them."""
    if not encodable(*texts):
        raise _wrong(field, "the text holds a lone surrogate, which is not Unicode")
