"""A judge behind a real HTTP server on this machine, and the published instructions with made responses."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest


class JudgeEndpoint:
    """Speaks `/v1/models` and `/v1/chat/completions`; `reply` gives the message to a request's body."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.reply: Callable[[dict[str, Any]], str] = lambda body: "{}"
        self.html_at = ""
        self.refuse = ""
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.answer({"data": [{"id": "judge-1"}]})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                endpoint.asked.append(body)
                if endpoint.refuse:
                    self.answer({"error": endpoint.refuse}, status=400)
                else:
                    self.answer({"choices": [{"message": {"content": endpoint.reply(body)}}]})

            def answer(self, value: Any, status: int = 200) -> None:
                is_html = bool(endpoint.html_at) and self.path.endswith(endpoint.html_at)
                data = b"<!doctype html><html><body>Sign in</body></html>" if is_html else json.dumps(value).encode()
                self.send_response(status)
                self.send_header("Content-Type", "text/html" if is_html else "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *arguments: Any) -> None:
                """Keeps the test's output clean."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"


@pytest.fixture
def endpoint() -> Iterator[JudgeEndpoint]:
    made = JudgeEndpoint()
    thread = threading.Thread(target=made.server.serve_forever, daemon=True)
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join()
