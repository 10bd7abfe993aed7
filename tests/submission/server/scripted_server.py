"""A server of the challenge's contract that knows the answers, and one that knows them but never stops.

    with scripted(KnownAnswers.of(gsm8k)) as server:
        print(server.url)

By hand: python -m tests.submission.server.scripted_server --gsm8k gsm_data_test --never-stops --port 8099

A run of HELM that scores the first 1.0, the second 0.0, and counts the second's overruns measures something.
"""

import argparse
import contextlib
import itertools
import json
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

ON_AND_ON = "\n\nQuestion: Is 12 even or odd?\nAnswer: Even, and so on." * 60
"""What the second one adds: a stop sequence of every scenario, and more tokens than any asks for."""


@dataclass(frozen=True)
class KnownAnswers:
    """Completes the prompts of HELM's simple scenarios and of GSM8K."""

    gsm8k: dict[str, str] = field(default_factory=dict)
    """Question -> answer as GSM8K writes it."""

    @classmethod
    def of(cls, *files: Path) -> "KnownAnswers":
        rows = [json.loads(line) for path in files for line in path.read_text().splitlines()]
        return cls({row["question"]: row["answer"] for row in rows})

    def __call__(self, prompt: str) -> str:
        if found := re.search(r"Question: Is (\d+) even or odd\?\n(A\. Even\nB\. Odd\n)?Answer:$", prompt):
            parity = int(found[1]) % 2
            return f" {'AB'[parity]}" if found[2] else f" {('Even', 'Odd')[parity]}"
        if found := re.search(r"Number: (\d+)\nParity:$", prompt):
            return f" {('Even', 'Odd')[int(found[1]) % 2]}"
        question = re.split(r"(?:^|\n\n)Q: ", prompt)[-1].removesuffix("\nA:")
        # As HELM's own examples put it, after Wei et al. 2022.
        return " " + self.gsm8k[question].replace("####", "The answer is").replace("\n", " ") + "."


@dataclass
class Scripted:
    """What a server knows, does and has seen."""

    answer: Callable[[str], str]
    stops: bool = True
    num_failing: int = 0
    """So many of its first /process requests end in a 500."""
    url: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)
    _ids: dict[str, int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def tokenize(self, text: str) -> list[int]:
        """A word with the space before it is a token."""
        with self._lock:
            return [self._ids.setdefault(piece, len(self._ids)) for piece in pieces(text)]

    def decode(self, ids: list[int]) -> str:
        with self._lock:
            known = list(self._ids)
        return "".join(known[i] for i in ids)

    def process(self, body: dict[str, Any]) -> dict[str, Any]:
        text = self.answer(body["prompt"])
        if not self.stops:
            text += ON_AND_ON
        else:
            for stop in body["stop_sequences"]:
                text = text.split(stop)[0]
            text = "".join(itertools.islice(pieces(text), body["max_new_tokens"]))
        tokens = [{"text": piece, "logprob": -0.5, "top_logprob": {piece: -0.5}} for piece in pieces(text)]
        return {"text": text, "tokens": tokens, "logprob": -0.5 * len(tokens), "request_time": 0.01}

    def reply(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        if path == "/tokenize":
            ids = self.tokenize(body["text"])
            return {"tokens": ids[: body["max_length"]] if body["truncation"] else ids, "request_time": 0.01}
        if path == "/decode":
            return {"text": self.decode(body["tokens"]), "request_time": 0.01}
        with self._lock:
            self.asked.append(body)
            fails = len(self.asked) <= self.num_failing
        if fails:
            raise RuntimeError("told to fail")
        return self.process(body)


def pieces(text: str) -> list[str]:
    return re.findall(r"\s?\S+|\s", text)


@contextlib.contextmanager
def scripted(answer: Callable[[str], str], *, port: int = 0, **how: Any) -> Iterator[Scripted]:
    """Serves on a thread until the block ends."""
    script = Scripted(answer, **how)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            try:
                status, reply = 200, script.reply(self.path, body)
            except Exception as e:
                status, reply = 500, {"detail": f"{type(e).__name__}: {e}"}
            content = json.dumps(reply).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        script.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield script
        finally:
            server.shutdown()
            thread.join()


def main() -> None:
    parser = argparse.ArgumentParser(description="Serves known answers until Ctrl-C.")
    parser.add_argument("--gsm8k", type=Path, nargs="*", default=[], help="JSON lines with question and answer")
    parser.add_argument("--never-stops", action="store_true")
    parser.add_argument("--port", type=int, default=8099)
    given = parser.parse_args()
    with scripted(KnownAnswers.of(*given.gsm8k), port=given.port, stops=not given.never_stops) as server:
        print(f"serving on {server.url}", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()


if __name__ == "__main__":
    main()
