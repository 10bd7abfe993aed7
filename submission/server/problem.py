"""Errors as HTTP answers: the challenge's contract has `{"detail": ...}`, the API under /v1 OpenAI's `{"error": ...}`.

Where it sits: under app and its endpoints.
"""

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from submission.errors import (
    BrokenError,
    ClosingError,
    DeadlineError,
    GoneError,
    OverlongError,
    PromptError,
    QueueFullError,
    RequestError,
    TooLargeError,
    UnknownModelError,
)
from submission.server.api import Invalid, Problem

RETRY_AFTER_S = 5
CLIENT_CLOSED = 499
"""The client has disconnected, so this status appears only in the log."""

OPENAI_PREFIX = "/v1/"

STATUS: dict[type[RequestError], int] = {
    OverlongError: 400,
    PromptError: 400,
    UnknownModelError: 404,
    QueueFullError: 503,
    TooLargeError: 503,
    ClosingError: 503,
    BrokenError: 503,
    DeadlineError: 504,
    GoneError: CLIENT_CLOSED,
}

CODE: dict[type[RequestError], str] = {
    OverlongError: "context_length_exceeded",
    UnknownModelError: "model_not_found",
}
"""OpenAI's codes, which clients look for."""


class OpenAIError(BaseModel):
    """What went wrong."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class OpenAIProblem(BaseModel):
    """Why a request under /v1 was not answered."""

    error: OpenAIError


DESCRIBED: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem, "description": "The body is not JSON, or the prompt is too long and such are refused."},
    401: {"model": Problem, "description": "The server has a token, and the request does not have it."},
    408: {"model": Problem, "description": "The body was not received in time."},
    413: {"model": Problem, "description": "The body is too large."},
    422: {"model": Invalid, "description": "A field is missing, unknown or out of range."},
    503: {"model": Problem, "description": "Not ready yet, or too many requests are waiting: try again later."},
    504: {"model": Problem, "description": "The request exceeded its deadline."},
}

OPENAI_DESCRIBED: dict[int | str, dict[str, Any]] = {
    400: {"model": OpenAIProblem, "description": "A field is missing or out of range, or the prompt does not fit."},
    401: DESCRIBED[401] | {"model": OpenAIProblem},
    404: {"model": OpenAIProblem, "description": "Another model is asked for than the one that is served."},
    **{status: DESCRIBED[status] | {"model": OpenAIProblem} for status in (408, 413, 503, 504)},
}


def openai_problem(error: RequestError) -> OpenAIProblem:
    """The body that describes an error under /v1."""
    return _openai(str(error), STATUS[type(error)], code=CODE.get(type(error)))


def _openai(message: str, status: int, *, param: str | None = None, code: str | None = None) -> OpenAIProblem:
    kind = {401: "authentication_error", 404: "not_found_error"}.get(status)
    kind = kind or ("server_error" if status >= 500 else "invalid_request_error")
    return OpenAIProblem(error=OpenAIError(message=message, type=kind, param=param, code=code))


def problem(path: str, status: int, message: str, *, code: str | None = None, **headers: str) -> JSONResponse:
    """The answer to a request that is not served, in the form of its path."""
    retry = {"Retry-After": str(RETRY_AFTER_S)} if status == 503 else {}
    body = _openai(message, status, code=code).model_dump() if path.startswith(OPENAI_PREFIX) else {"detail": message}
    return JSONResponse(body, status_code=status, headers={**retry, **headers})


def add_error_handlers(app: FastAPI) -> None:
    """Turns exceptions into answers."""

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        """Reports where and why a field is invalid, without the input: it may hold NaN or a lone surrogate."""
        problems = [{"loc": list(e["loc"]), "msg": e["msg"], "type": e["type"]} for e in error.errors()]
        return _invalid(request, problems)

    @app.exception_handler(RecursionError)
    async def too_deep(request: Request, error: RecursionError) -> JSONResponse:
        """JSON that is nested too deeply."""
        return _invalid(request, [{"loc": ["body"], "msg": "nested too deeply", "type": "json_invalid"}])

    @app.exception_handler(RequestError)
    async def not_answered(request: Request, error: RequestError) -> JSONResponse:
        """Maps a request error to its HTTP status."""
        return problem(request.url.path, STATUS[type(error)], str(error), code=CODE.get(type(error)))

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> JSONResponse:
        """Not ready, no such path, wrong method."""
        return problem(request.url.path, error.status_code, str(error.detail), **dict(error.headers or {}))


def _invalid(request: Request, problems: list[dict[str, Any]]) -> JSONResponse:
    if not request.url.path.startswith(OPENAI_PREFIX):
        return JSONResponse({"detail": problems}, status_code=422)
    first = problems[0]
    param = ".".join(str(part) for part in first["loc"][1:] if isinstance(part, int) or _is_field(part)) or None
    message = f"{param}: {first['msg']}" if param else str(first["msg"])
    return JSONResponse(_openai(message, 400, param=param).model_dump(), status_code=400)


def _is_field(part: str) -> bool:
    """Whether a part of a location is a field's name, and not the branch of a union such as `list[int]`."""
    return part.isidentifier() and part not in ("str", "list", "int")
