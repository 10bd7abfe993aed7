"""The server against what nobody should send it, and against its own OpenAPI."""

import asyncio
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
import torch
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance
from starlette.testclient import TestClient

from oneday.demo.demo import DEMO_BASE
from submission.engine.batcher import Limits
from submission.engine.engine import Engine, Overlong
from submission.engine.generate import Decoder, Row
from submission.engine.job import Job, Load, OnDone, Take
from submission.errors import ServeError
from submission.server.app import build_app
from tests.demo_model import demo_engine, demo_model
from tests.submission.server.test_server import HEALTH, real_server, serving

JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with serving(demo_engine()) as client:
        yield client


# --- statuses


def test_until_the_model_is_loaded_it_lives_but_is_not_ready() -> None:
    go = threading.Event()
    loaded = threading.Event()

    def load() -> Engine:
        go.wait(10)
        return demo_engine()

    app = build_app(load, HEALTH, Limits(), on_loaded=lambda model: loaded.set())
    with TestClient(app) as client:
        assert client.get("/health").status_code == 200
        for reply in (client.get("/ready"), client.post("/process", json={"prompt": "x"})):
            assert reply.status_code == 503
            assert int(reply.headers["Retry-After"]) > 0
        go.set()
        assert loaded.wait(10)
        assert client.get("/ready").json() == HEALTH.model_dump()
        assert client.post("/process", json={"prompt": "x"}).status_code == 200


def test_a_model_that_cannot_be_loaded_is_told() -> None:
    told: list[Any] = []

    def load() -> Engine:
        raise ServeError("no weights")

    with TestClient(build_app(load, HEALTH, Limits(), on_loaded=told.append)) as client:
        while not told:
            time.sleep(0.01)
        assert str(told[0].error) == "no weights"
        assert client.get("/ready").status_code == 503


@pytest.mark.parametrize("declared", [True, False])
def test_a_body_beyond_the_cap_is_413_whatever_its_header_says(declared: bool) -> None:
    with serving(demo_engine(), body_bytes=1_000) as client:
        body = json.dumps({"prompt": "x" * 2_000}).encode()

        def chunks() -> Iterator[bytes]:
            yield from (body[i : i + 100] for i in range(0, len(body), 100))

        reply = client.post("/process", content=body if declared else chunks(), headers=JSON)
        assert reply.status_code == 413
        assert client.post("/process", json={"prompt": "x" * 900, "max_new_tokens": 1}).status_code == 200


def test_an_over_long_prompt_is_refused_with_400_if_asked_to() -> None:
    with serving(Engine(demo_model(), overlong=Overlong.REFUSE)) as client:
        reply = client.post("/process", json={"prompt": "word " * 5_000})
        assert (reply.status_code, "tokens" in reply.json()["detail"]) == (400, True)
    with serving(demo_engine()) as client:
        assert client.post("/process", json={"prompt": "word " * 5_000}).status_code == 200


class Stuck(Engine):
    """Begins when the test lets it."""

    def __init__(self) -> None:
        super().__init__(demo_model())
        self.go = threading.Event()

    def serve(self, take: Take, on_done: OnDone) -> None:
        def stuck(load: Load) -> list[Job] | None:
            jobs = take(load)
            until = time.monotonic() + 10
            while jobs and not self.go.is_set() and time.monotonic() < until:
                time.sleep(0.01)
            return jobs

        super().serve(stuck, on_done)


@pytest.mark.timed
def test_a_full_queue_is_503_with_retry_after_and_a_deadline_504() -> None:
    stuck = Stuck()
    with serving(stuck, max_waiting=1, max_batch=1, batch_wait_s=0.0, deadline_s=1.0) as client:
        statuses: list[int] = []

        def ask() -> None:
            statuses.append(client.post("/process", json={"prompt": "x"}).status_code)

        threads = [threading.Thread(target=ask) for _ in range(2)]
        for thread in threads:
            thread.start()
            time.sleep(0.3)  # one is being answered, one waits
        reply = client.post("/process", json={"prompt": "x"})
        assert reply.status_code == 503
        assert int(reply.headers["Retry-After"]) > 0
        for thread in threads:
            thread.join()
        assert statuses == [504, 504]
        stuck.go.set()


def test_one_request_that_memory_does_not_hold_is_503_and_the_next_is_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Small(Decoder):
        def admit(self, rows: Sequence[Row]) -> list[Row]:
            if any(row.max_new_tokens > 5 for row in rows):
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().admit(rows)

    monkeypatch.setattr("submission.engine.work.Decoder", Small)
    with serving(demo_engine()) as client:
        assert client.post("/process", json={"prompt": "x", "max_new_tokens": 9}).status_code == 503
        assert client.post("/process", json={"prompt": "x", "max_new_tokens": 5}).status_code == 200


def test_tokenizing_does_not_wait_for_the_model() -> None:
    stuck = Stuck()
    with serving(stuck) as client:
        thread = threading.Thread(target=client.post, args=["/process"], kwargs={"json": {"prompt": "x"}})
        thread.start()
        start = time.monotonic()
        assert client.post("/tokenize", json={"text": "Anna"}).status_code == 200
        assert client.get("/health").status_code == 200
        assert time.monotonic() - start < 5
        stuck.go.set()
        thread.join()


@pytest.mark.parametrize(
    "body",
    [
        b'{"prompt": ' * 50_000,
        b'{"prompt": "x", "stop_sequences": ' + b"[" * 20_000,
        b'{"prompt": "x", "max_new_tokens": ' + b"9" * 5_000 + b"}",
        b'{"prompt": "x", "seed": 1e400}',
        b'{"prompt": "x", "top_p": -Infinity}',
        b'{"prompt": "x", "temperature": "NaN"}',
        b'{"prompt": "x", "stop_sequences": ["\\ud800"]}',
        b'{"prompt": "\\u0000"}',
        b"null",
        b"[]",
        b"\x00",
        b'{"prompt": "x"',
    ],
)
def test_hostile_json_is_answered_with_a_4xx_or_well(client: TestClient, body: bytes) -> None:
    reply = client.post("/process", content=body, headers=JSON)
    assert reply.status_code in (200, 400, 413, 422)
    assert reply.json()


# --- its own OpenAPI

SCHEMA = schemathesis.openapi.from_asgi("/openapi.json", build_app(demo_engine, HEALTH, Limits()))


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with real_server() as (url, _):
        yield url


@pytest.mark.slow
@SCHEMA.parametrize()
@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_every_answer_is_what_the_openapi_says(case: Any, url: str) -> None:
    """schemathesis: no 5xx, no status or body that is not described, whatever is sent."""
    if case.path == "/process" and isinstance(case.body, dict):
        asked = case.body.get("max_new_tokens")
        if isinstance(asked, int | float) and asked > 8:
            case.body["max_new_tokens"] = 8  # as valid as before, and quicker
    if case.path.startswith("/v1/") and isinstance(case.body, dict):
        case.body |= {name: 8 for name in ("max_tokens", "max_completion_tokens") if name not in case.body}
    # which ids, names and templates there are depends on the model: the OpenAPI cannot tell
    excluded = [positive_data_acceptance] if case.path == "/decode" or case.path.startswith("/v1/") else []
    response = case.call(base_url=url, timeout=60)
    if response.status_code == 413:  # a refusal too, though not on schemathesis's list of them
        excluded.append(negative_data_rejection)
    case.validate_response(response, excluded_checks=excluded)


# --- 2,000 requests

VALUES = [
    None, True, "", "x", "\x00\x01\x7f\u2028", "\ud800", "e\u0301", "🙂" * 50, "word " * 20_000, -1, 0, 1, 3.7, 1e308,
    float("nan"), float("inf"), 2**63, -(2**70), [], ["\n"], ["", "x"], ["s" * 300], [["x"]], {}, {"a": [{}]},
    [0] * 2_000,
]  # fmt: skip
FIELDS = {
    "/process": [
        "prompt", "temperature", "num_return_sequences", "num_samples", "max_new_tokens", "top_p", "top_k",
        "top_k_per_token", "echo_prompt", "stop_sequences", "seed", "unknown",
    ],
    "/tokenize": ["text", "truncation", "max_length"],
    "/decode": ["tokens"],
}  # fmt: skip


def hostile(rng: random.Random) -> tuple[str, bytes]:
    """A path and a body: sound ones with one or two fields gone wrong, some cut, some nested."""
    path = rng.choice(["/process", "/process", "/tokenize", "/decode"])
    body: Any = {"prompt": "Anna", "text": "Anna", "tokens": [5, 6], "max_new_tokens": 2}
    for name in rng.sample(FIELDS[path], k=min(len(FIELDS[path]), rng.randint(1, 2))):
        body[name] = rng.choice(VALUES)
    if body.get("max_new_tokens") not in (0, 1, 2):
        body["max_new_tokens"] = rng.choice([-1, 1.5, "many", 1])
    content = json.dumps(body).encode("utf-8", "surrogatepass")
    kind = rng.random()
    if kind < 0.1:
        content = content[: rng.randrange(len(content))]
    elif kind < 0.15:
        content = b"[" * rng.randint(1, 5_000) + content
    elif kind < 0.2:
        content = bytes(rng.randrange(256) for _ in range(rng.randint(0, 300)))
    return path, content


@pytest.mark.slow
def test_two_thousand_hostile_requests_leave_it_answering(url: str) -> None:
    rng = random.Random(11)
    requests = [hostile(rng) for _ in range(2_000)]

    async def send_all() -> list[int]:
        async with httpx.AsyncClient(base_url=url, timeout=60) as session:
            gate = asyncio.Semaphore(32)

            async def send(path: str, content: bytes) -> int:
                async with gate:
                    reply = await session.post(path, content=content, headers=JSON)
                    reply.json()
                    return reply.status_code

            return list(await asyncio.gather(*(send(*request) for request in requests)))

    statuses = asyncio.run(send_all())
    assert set(statuses) <= {200, 400, 422}
    assert {200, 422} <= set(statuses)
    answer = httpx.post(f"{url}/process", json={"prompt": "Anna", "max_new_tokens": 3}, timeout=60)
    assert answer.status_code == 200
    assert httpx.get(f"{url}/ready").status_code == 200


# --- the end


@pytest.mark.slow
def test_sigterm_lets_what_is_being_answered_end_and_takes_no_more() -> None:
    with real_server() as (url, server):
        found: list[httpx.Response] = []

        def ask() -> None:
            body = {"prompt": "Anna", "max_new_tokens": 400, "temperature": 9.0, "seed": 1}
            found.append(httpx.post(f"{url}/process", json=body, timeout=60))

        thread = threading.Thread(target=ask)
        thread.start()
        while "oneday_answering 1.0" not in httpx.get(f"{url}/metrics").text:
            time.sleep(0.05)
        os.kill(server.pid, signal.SIGTERM)
        assert server.wait(timeout=30) in (0, -signal.SIGTERM)
        thread.join()
        assert found[0].status_code == 200
        assert len(found[0].json()["tokens"]) > 100  # it came to its own end
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{url}/health")


@pytest.mark.slow
def test_a_checkpoint_that_cannot_be_loaded_ends_the_server_with_one_line(tmp_path: Path) -> None:
    broken = Path(shutil.copytree(DEMO_BASE, tmp_path / "broken"))
    next(broken.glob("*.safetensors")).write_bytes(b"no weights")
    command = [sys.executable, "-m", "oneday.cli", "serve", "--checkpoint", str(broken), "--port", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert [line for line in done.stderr.splitlines() if "error" in line.lower()] == [done.stderr.splitlines()[-1]]
    assert "cannot be loaded" in done.stderr
