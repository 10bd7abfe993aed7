"""`oneday serve` as a process of its own, for the commands that ask it something.

with local_server(ServeRequest(checkpoint=Path("runs/demo")), log=Path("server.log")) as url:
    texts = ask(url, ["### Instruction:..."], max_new_tokens=64)
"""

import contextlib
import json
import re
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from core.example.prompt import STOP
from core.files import make_folder, naming
from oneday import child
from oneday.requests.request import arguments
from oneday.requests.submission import ServeRequest
from submission.errors import ServeError

START_S = 900.0
"""For a server to load its model, and for an answer."""

AT_ONCE = 16

_POLL_S = 0.05
_ADDRESS = re.compile(r"^serving on (\S+).*\n", re.MULTILINE)
_TAIL_CHARACTERS = 300


@contextlib.contextmanager
def local_server(request: ServeRequest, *, log: Path) -> Iterator[str]:
    """The address of a server that is ready, on a free port; it ends with the block.

    The server writes straight into the log: with a pipe between, it would stand still once nobody empties the pipe.

    Args:
        log: What the server prints, on both streams.

    Raises:
        ServeError: it did not start, or ended before the block did. The message has the last line of the log.
        RuntimeError: it ended by a bug.
    """
    command = child.command("serve", *arguments(replace(request, port=0)))
    make_folder(log.parent)
    with naming(log), log.open("wb") as output:
        server = subprocess.Popen(command, env=child.environment(), stdout=output, stderr=subprocess.STDOUT)
    with running(server, log) as url:
        yield url


@contextlib.contextmanager
def running(server: "subprocess.Popen[bytes]", log: Path, *, within_s: float = START_S) -> Iterator[str]:
    """The address of a server that was just started and prints into `log`; the server ends with the block.

    Raises:
        ServeError, RuntimeError: see `local_server`.
    """
    try:
        until = time.monotonic() + within_s
        url = _address(server, log, until)
        wait_ready(url, server, log=log, until=until)
        try:
            yield url
        except OSError as e:  # also urllib's: the connection is refused or reset when the server has died
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.wait(timeout=1.0)
            if server.poll() is not None:
                raise _ended(server, log) from e
            raise
    finally:
        server.terminate()
        try:
            server.wait(timeout=30)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _address(server: "subprocess.Popen[bytes]", log: Path, until: float) -> str:
    """Waits for the line that names it."""
    while time.monotonic() < until:
        has_ended = server.poll() is not None
        found = _ADDRESS.search(_text(log))
        if found:
            return found.group(1)
        if has_ended:
            raise _ended(server, log)
        time.sleep(_POLL_S)
    raise ServeError(f"the server did not say where it listens. Its last line: {_tail(log)} See {log}.")


def wait_ready(url: str, server: "subprocess.Popen[bytes]", *, log: Path, until: float) -> None:
    """Waits until /ready answers, at most until this moment of the monotonic clock.

    Raises:
        ServeError, RuntimeError: see `local_server`.
    """
    while time.monotonic() < until:
        if server.poll() is not None:
            raise _ended(server, log)
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/ready", timeout=30):
            return
        time.sleep(_POLL_S)
    raise ServeError(f"{url}: the server was never ready. Its last line: {_tail(log)} See {log}.")


def _ended(server: "subprocess.Popen[bytes]", log: Path) -> Exception:
    """The error of a server that ended by itself."""
    code = server.wait()
    if code == 2:  # it says itself what the user can do
        return ServeError(f"the server ended: {_tail(log)}")
    if code == 1:
        return RuntimeError(f"the server has a bug: {_tail(log)} See {log}.")
    why = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
    hint = " The system kills what takes too much memory." if code == -signal.SIGKILL else ""
    return ServeError(f"the server {why}.{hint} Its last line: {_tail(log)} See {log}.")


def post(url: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """What the server answers to JSON."""
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=START_S) as reply:
        answer: dict[str, Any] = json.load(reply)
    return answer


def ask(url: str, prompts: Sequence[str], *, max_new_tokens: int, at_once: int = AT_ONCE) -> list[str]:
    """Greedy answers in the order of the prompts, cut at a blank line as a row's answer ends there."""

    def one(prompt: str) -> str:
        body = {"prompt": prompt, "temperature": 0, "max_new_tokens": max_new_tokens, "stop_sequences": [STOP]}
        return str(post(f"{url}/process", body)["text"])

    with ThreadPoolExecutor(at_once) as threads:
        return list(threads.map(one, prompts))


def _text(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")


def _tail(log: Path) -> str:
    """The last line that says something."""
    lines = [line.strip() for line in _text(log).splitlines()]
    last = next((line for line in reversed(lines) if line), "nothing.")
    return last.removeprefix("error: ")[-_TAIL_CHARACTERS:]
