"""`oneday serve` as a process of its own, for the commands that ask it something.

with local_server(ServeRequest(checkpoint=Path("runs/demo")), log=Path("server.log")) as url:
    texts = ask(url, ["### Instruction:..."], max_new_tokens=64)
"""

import contextlib
import json
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from core.example.prompt import STOP
from oneday import child
from oneday.requests.request import arguments
from oneday.requests.submission import ServeRequest
from submission.errors import ServeError

START_S = 900.0
"""For a server to load its model, and for an answer."""

AT_ONCE = 16


@contextlib.contextmanager
def local_server(request: ServeRequest, *, log: Path) -> Iterator[str]:
    """The address of a server that is ready, on a free port; it ends with the block.

    Args:
        log: Where its words go.

    Raises:
        ServeError: it did not start; its own last words say why.
    """
    command = child.command("serve", *arguments(replace(request, port=0)))
    log.parent.mkdir(parents=True, exist_ok=True)
    with (
        log.open("w", encoding="utf-8") as words,
        subprocess.Popen(command, env=child.environment(), stdout=subprocess.PIPE, stderr=words, text=True) as server,
    ):
        hangs = threading.Timer(START_S, server.kill)
        hangs.start()
        try:
            line = server.stdout.readline() if server.stdout else ""
            if not line.startswith("serving on "):
                server.kill()
                server.wait()
                raise ServeError(f"{request.checkpoint}: the server did not start: {_last_words(log)}")
            url = line.split()[2]
            wait_ready(url, server)
            hangs.cancel()
            yield url
        finally:
            hangs.cancel()
            server.terminate()
            try:
                server.wait(timeout=30)
            except subprocess.TimeoutExpired:
                server.kill()


def wait_ready(url: str, server: "subprocess.Popen[str]", *, within_s: float = START_S) -> None:
    """Until /ready answers.

    Raises:
        ServeError: the server ended, or never was.
    """
    until = time.monotonic() + within_s
    while time.monotonic() < until and server.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/ready", timeout=30):
            return
        time.sleep(0.1)
    raise ServeError(f"{url}: the server was never ready. Run `oneday serve` to see why.")


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


def _last_words(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1].removeprefix("error: ") if lines else f"it said nothing. See {log}."
