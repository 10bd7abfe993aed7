"""The server that commands start for themselves: it never stands still, and its end is told with its last words."""

import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from oneday.local_server import running
from submission.errors import ServeError

CHILD = """
import http.server, os, signal, sys, threading

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/talk":
            print("word " * 400_000, flush=True)
            print("word " * 400_000, file=sys.stderr, flush=True)
        if self.path == "/killed":
            print("last words", flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        if self.path == "/bug":
            print("Traceback ...\\nValueError: of our own", file=sys.stderr, flush=True)
            os._exit(1)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"{}")

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(f"serving on http://127.0.0.1:{server.server_address[1]} (Ctrl-C stops)", flush=True)
server.serve_forever()
"""


def started(code: str, log: Path) -> "subprocess.Popen[bytes]":
    with log.open("wb") as output:
        return subprocess.Popen([sys.executable, "-c", code], stdout=output, stderr=subprocess.STDOUT)


def get(url: str) -> int:
    with urllib.request.urlopen(url, timeout=30) as reply:
        return int(reply.status)


def test_a_server_that_prints_megabytes_goes_on_answering(tmp_path: Path) -> None:
    server = started(CHILD, tmp_path / "log")
    with running(server, tmp_path / "log") as url:
        assert [get(f"{url}/talk") for _ in range(3)] == [200] * 3
    assert (tmp_path / "log").stat().st_size > 10_000_000
    assert server.poll() is not None


def test_a_server_that_is_killed_is_told_with_its_last_line(tmp_path: Path) -> None:
    with (
        pytest.raises(ServeError, match=r"was killed by signal 9\..* memory\. Its last line: last words See .*log\."),
        running(started(CHILD, tmp_path / "log"), tmp_path / "log") as url,
    ):
        get(f"{url}/killed")


def test_a_bug_of_the_server_is_a_bug(tmp_path: Path) -> None:
    with (
        pytest.raises(RuntimeError, match="the server has a bug: ValueError: of our own"),
        running(started(CHILD, tmp_path / "log"), tmp_path / "log") as url,
    ):
        get(f"{url}/bug")


@pytest.mark.parametrize("begins", ["", 'print("serving on http://127.0.0.1:9 (Ctrl-C stops)", flush=True); '])
def test_a_server_that_does_not_start_says_why(tmp_path: Path, begins: str) -> None:
    code = f'import sys; {begins}print("error: no such base.", file=sys.stderr); sys.exit(2)'
    with (
        pytest.raises(ServeError, match=r"^the server ended: no such base\.$"),
        running(started(code, tmp_path / "log"), tmp_path / "log"),
    ):
        pass


def test_an_error_of_the_caller_is_not_the_servers(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), running(started(CHILD, tmp_path / "log"), tmp_path / "log"):
        (tmp_path / "gone").read_bytes()
