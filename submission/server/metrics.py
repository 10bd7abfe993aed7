"""Metrics of the server, for Prometheus at /metrics.

    metrics = Metrics()
    app.add_middleware(CountRequests, metrics=metrics, paths=frozenset({"/process"}))
    metrics.text()

Where it sits: beside the server; it does not influence any answer.
"""

import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SECONDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
"""Upper bounds of the histogram's buckets, up to the default deadline."""

OTHER = "other"
"""The label for any path that is not served, so that clients cannot create a time series per path."""


class Metrics:
    """Counters of one server, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = Counter(
            "oneday_requests", "Requests answered.", ["path", "status"], registry=self.registry
        )  # fmt: skip
        self.seconds = Histogram(
            "oneday_request_seconds", "From a request's head to the end of its answer.", ["path"],
            buckets=SECONDS, registry=self.registry,
        )  # fmt: skip
        self.prompt_tokens = Counter("oneday_prompt_tokens", "Tokens of answered prompts.", registry=self.registry)
        self.answer_tokens = Counter("oneday_answer_tokens", "New tokens in answers.", registry=self.registry)

    def gauge(self, name: str, what: str, read: Callable[[], float]) -> None:
        """Registers a figure that is read at each scrape."""
        Gauge(name, what, registry=self.registry).set_function(read)

    def text(self) -> bytes:
        """All metrics in the Prometheus text format."""
        return generate_latest(self.registry)


class CountRequests:
    """Counts and times every request. A request without a response is counted with status 499."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics, paths: frozenset[str]) -> None:
        self._app, self._metrics, self._paths = app, metrics, paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.perf_counter(), 499

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            path = scope["path"] if scope["path"] in self._paths else OTHER
            self._metrics.requests.labels(path, str(status)).inc()
            self._metrics.seconds.labels(path).observe(time.perf_counter() - began)
