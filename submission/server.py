"""The HTTP server of the challenge's contract: /process, /tokenize, /decode, /health.

    serve(engine, health, host="127.0.0.1", port=8080)

One thread owns the model; requests wait for it in order, so that the event loop answers /health at any time.

Where it sits: engine -> **server**; started by `oneday serve`.
"""

import asyncio
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import uvicorn
from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from curation.task import encodable
from submission.api import (
    DecodeRequest,
    DecodeResponse,
    Health,
    ProcessRequest,
    ProcessResponse,
    TokenizeRequest,
    TokenizeResponse,
)
from submission.engine import Engine
from submission.errors import ServeError

T = TypeVar("T")


def build_app(engine: Engine, health: Health) -> FastAPI:
    """The application; OpenAPI at /openapi.json."""
    app = FastAPI(title="oneday", description="One LLM, one GPU, one day: the challenge's HTTP contract.")
    model_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="model")

    async def on_model(work: Callable[[], T]) -> tuple[T, float]:
        """Runs `work` on the model's thread; its result and the seconds since the request came in."""
        start = time.perf_counter()
        result = await asyncio.get_running_loop().run_in_executor(model_thread, work)
        return result, time.perf_counter() - start

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        """Says where and why. The input itself is left out: it may hold NaN or half a character, which no JSON can."""
        problems = [{"loc": list(e["loc"]), "msg": e["msg"], "type": e["type"]} for e in error.errors()]
        return JSONResponse({"detail": problems}, status_code=422)

    @app.post("/process")
    async def process(request: ProcessRequest) -> ProcessResponse:
        _refuse_surrogates(request.prompt, *request.stop_sequences)
        done, seconds = await on_model(lambda: engine.process(request))
        return ProcessResponse(text=done.text, tokens=list(done.tokens), logprob=done.logprob, request_time=seconds)

    @app.post("/tokenize")
    async def tokenize(request: TokenizeRequest) -> TokenizeResponse:
        _refuse_surrogates(request.text)
        tokens, seconds = await on_model(
            lambda: engine.tokenize(request.text, truncation=request.truncation, max_length=request.max_length)
        )
        return TokenizeResponse(tokens=tokens, request_time=seconds)

    @app.post("/decode")
    async def decode(request: DecodeRequest) -> DecodeResponse:
        try:
            text, seconds = await on_model(lambda: engine.decode(request.tokens))
        except ValueError as e:
            raise HTTPException(422, detail=str(e)) from e
        return DecodeResponse(text=text, request_time=seconds)

    @app.get("/health")
    async def health_() -> Health:
        return health

    return app


def _refuse_surrogates(*texts: str) -> None:
    """JSON may carry a lone surrogate; no tokenizer takes one."""
    if not encodable(*texts):
        raise HTTPException(422, detail="the text holds a lone surrogate, which is not Unicode")


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes any free one.

    Raises:
        ServeError: the port is in use, or the address is not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(128)
    except (OSError, OverflowError) as e:
        listener.close()
        why = getattr(e, "strerror", None) or str(e)
        raise ServeError(
            f"--port {port}: cannot listen on {host} ({why}). Stop what runs there, or take another."
        ) from e
    return listener


def serve(app: FastAPI, listener: socket.socket) -> None:
    """Serves until SIGINT or SIGTERM."""
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False))
    server.run(sockets=[listener])
