"""Whether the server of this container is ready: exit code 0 or 1. The Dockerfile's HEALTHCHECK runs it.

    python3 -m submission.server.health_check

It asks on the port that the running `oneday serve` was started with: options after the image's name may set it. It uses
the standard library only, because it runs twice a minute.

Where it sits: beside the server, in the image.
"""

import sys
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

DEFAULT_PORT = 8080
"""The default port of `oneday serve`."""

TIMEOUT_S = 4.0


def main() -> None:
    """Finds the server and asks it whether it is ready."""
    port = next(server_ports(Path("/proc")), None)
    sys.exit(0 if port is not None and is_ready(port) else 1)


def server_ports(proc: Path) -> Iterator[int]:
    """The port of each running `oneday serve`, oldest process first."""
    for folder in sorted((p for p in proc.iterdir() if p.name.isdigit()), key=lambda p: int(p.name)):
        try:
            words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:  # it has ended
            continue
        if "serve" in words and any(word.rpartition("/")[2] in ("oneday", "oneday.cli") for word in words):
            yield port_of(words)


def port_of(words: Sequence[str]) -> int:
    """The port of a command line; the last `--port` counts, as for the server."""
    port = DEFAULT_PORT
    for word, following in zip(words, [*words[1:], ""], strict=True):
        given = following if word == "--port" else word.removeprefix("--port=") if word.startswith("--port=") else ""
        port = int(given) if given.isdigit() else port
    return port


def is_ready(port: int) -> bool:
    """Whether /ready answers with 200."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=TIMEOUT_S):
            return True
    except OSError:
        return False


if __name__ == "__main__":
    main()
