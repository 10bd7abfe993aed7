"""Connections as clients have them: pooled, idle, half-sent; and requests that must not stall the others."""

import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import httpx
import pytest

from submission.engine.batcher import Limits
from submission.server.connection import KEEP_ALIVE_S
from submission.server.server import bind, make_server
from tests.demo_model import demo_engine
from tests.submission.server.test_server import HEALTH

POST = b"POST /process HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n"


@contextmanager
def listening(**limits: float) -> Iterator[tuple[str, int]]:
    """The real server on a thread of this process."""
    ready = threading.Event()
    server = make_server(demo_engine, HEALTH, Limits(**limits), on_ready=ready.set)  # type: ignore[arg-type]
    with bind("127.0.0.1", 0) as listener:
        address: tuple[str, int] = listener.getsockname()
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            assert ready.wait(30)
            yield address
        finally:
            server.should_exit = True
            thread.join(timeout=30)
    assert not thread.is_alive()


@contextmanager
def pooled(address: tuple[str, int]) -> Iterator[Callable[[], int]]:
    """Asks on one connection, which is not made anew."""
    with closing(http.client.HTTPConnection(*address, timeout=10)) as client:
        client.connect()
        client.auto_open = 0

        def ask() -> int:
            client.request("GET", "/health")
            reply = client.getresponse()
            reply.read()
            return reply.status

        yield ask


@pytest.mark.slow
def test_a_pooled_connection_outlives_a_pause() -> None:
    """The pause that lost requests: a moment longer than uvicorn's own 5 s."""
    assert KEEP_ALIVE_S == 75
    with listening() as address, pooled(address) as ask:
        assert ask() == 200
        time.sleep(5.2)
        assert ask() == 200


@pytest.mark.timed
@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (b"", b"HTTP/1.1 408"),
        (b"POST /process HTTP/1.1\r\nHost: x\r\nX-Slow: ", b"HTTP/1.1 408"),
        (POST + b'{"prompt": ', b"HTTP/1.1 408"),
        (b"GET /health HTTP/1.1\r\nHost: x\r\n\r\nGET /health", b"HTTP/1.1 200"),
    ],
    ids=["nothing", "half a head", "half a body", "a request and half a head"],
)
def test_a_request_that_never_ends_is_ended(sent: bytes, answer: bytes) -> None:
    with listening(receive_s=0.5) as address, socket.create_connection(address, timeout=10) as slow:
        began = time.monotonic()
        slow.sendall(sent)
        received = b""
        while part := slow.recv(65_536):  # until the server hangs up
            received += part
        assert received.startswith(answer)
        assert 0.4 < time.monotonic() - began < 5


@pytest.mark.timed
def test_bytes_that_trickle_in_buy_no_time() -> None:
    with listening(receive_s=0.6) as address, socket.create_connection(address, timeout=10) as slow:
        slow.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        began = time.monotonic()

        def trickle() -> None:
            for byte in b"GET /health HTTP/1.1\r\nX: " + b"a" * 200:
                slow.sendall(bytes([byte]))
                time.sleep(0.05)

        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            trickle()
        assert time.monotonic() - began < 5


@pytest.mark.timed
def test_an_idle_connection_is_not_one_that_is_half_sent() -> None:
    with listening(receive_s=0.3) as address, pooled(address) as ask:
        for _ in range(3):
            assert ask() == 200
            time.sleep(0.6)


@pytest.mark.timed
def test_an_answer_may_take_longer_than_a_request_to_come_in() -> None:
    with listening(receive_s=0.2) as (host, port):
        body = {"prompt": "Anna", "max_new_tokens": 300, "temperature": 9.0, "seed": 1}
        assert httpx.post(f"http://{host}:{port}/process", json=body, timeout=60).status_code == 200


@pytest.mark.parametrize("path", ["/health", "/ready", "/metrics", "/openapi.json"])
def test_head_is_answered_as_get_without_its_body(path: str) -> None:
    with listening() as (host, port), closing(http.client.HTTPConnection(host, port, timeout=10)) as client:
        answers = []
        for method in ("GET", "HEAD", "GET"):
            client.request(method, path)
            reply = client.getresponse()
            answers.append((reply.status, reply.headers["Content-Type"], reply.read() != b""))
        kind = answers[0][1]
        assert answers == [(200, kind, True), (200, kind, False), (200, kind, True)]
        client.request("HEAD", "/process")
        assert client.getresponse().status == 405


WINDOW = json.dumps({"prompt": "🙂" * 600, "max_new_tokens": 1}).encode()
LONG = json.dumps({"prompt": "🙂" * 900_000, "max_new_tokens": 1}, ensure_ascii=False).encode()
WHOLE = json.dumps({"text": "🙂" * 300_000, "truncation": False}, ensure_ascii=False).encode()


@pytest.mark.slow
@pytest.mark.timed
@pytest.mark.parametrize(("path", "content"), [("/process", LONG), ("/tokenize", WHOLE)])
def test_a_text_of_megabytes_stalls_nobody_longer_than_a_full_window_does(path: str, content: bytes) -> None:
    """Of all that comes in together the model reads the prompts, which takes its time; the rest must not."""
    with listening() as (host, port), httpx.Client(base_url=f"http://{host}:{port}", timeout=120) as client:

        def slowest_beside(path: str, content: bytes) -> tuple[float, int]:
            """Of short requests while a long one is answered; and its status."""
            statuses: list[int] = []

            def send() -> None:
                headers = {"Content-Type": "application/json"}
                statuses.append(
                    httpx.post(f"http://{host}:{port}{path}", content=content, headers=headers, timeout=120).status_code
                )

            sending = threading.Thread(target=send)
            sending.start()
            slowest = 0.0
            while sending.is_alive():
                began = time.monotonic()
                assert client.post("/process", json={"prompt": "Anna", "max_new_tokens": 1}).status_code == 200
                slowest = max(slowest, time.monotonic() - began)
            return slowest, statuses[0]

        full = max(slowest_beside("/process", WINDOW)[0] for _ in range(3))
        beside, status = slowest_beside(path, content)
    assert status == 200
    print(f"{path}: others took at most {beside:.3f} s, beside a full window {full:.3f} s")
    assert beside < 0.5 + 2 * full
