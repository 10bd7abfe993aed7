"""A running server for the tests of clients that ask it over HTTP."""

import threading
from collections.abc import Iterator

import pytest

from core.encoding.rendering import CHATML
from submission.engine.batcher import Limits
from submission.engine.engine import Engine
from submission.server.server import bind, make_server
from tests.demo_model import demo_model
from tests.submission.server.test_server import HEALTH

TOKEN = "0123456789abcdef"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The real server on a thread, with `TOKEN` and a chat template."""
    ready = threading.Event()
    engine = Engine(demo_model(), chat_template=CHATML)
    server = make_server(lambda: engine, HEALTH, Limits(), name="demo", token=TOKEN, on_ready=ready.set)
    with bind("127.0.0.1", 0) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        assert ready.wait(60)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join(timeout=60)
