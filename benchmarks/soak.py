"""The server under mixed load for a long time: memory, statuses, and equal answers at the end.

    python benchmarks/soak.py [--minutes 30] [--clients 8]

Clients send requests of HELM and OpenAI, streams, echoes, texts to tokenise and wrong requests, in a seeded order; one
in six leaves before its answer. Sixteen greedy questions are asked one by one before and after. Prints one JSON line:
the number of requests by status, those that left, the resident memory of the server by tenths of the time in MiB, and
the largest difference of a log-probability. Exit code 1 if a status is 5xx, an answer differs, a log-probability
differs by more than 1e-4, or the median memory of the last tenth exceeds that of the third by more than 5 %.
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx

from core.example.prompt import training_prompt
from oneday.demo.demo import DEMO_BASE
from oneday.demo.tasks import DEMO_TASKS, draw_pairs
from oneday.local_server import running

ROOT = Path(__file__).resolve().parents[1]
SAMPLE_S = 5.0
LEAVES = 1 / 6
MEMORY_GROWTH, LOGPROB_DIFFERENCE = 1.05, 1e-4


def main() -> None:
    """Runs the load and prints its JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--checkpoint", type=Path, default=DEMO_BASE)
    arguments = parser.parse_args()
    command = [sys.executable, "-m", "oneday.cli", "serve", "--checkpoint", str(arguments.checkpoint), "--port", "0"]
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "server.log"
        with log.open("wb") as output:
            environment = {**os.environ, "PYTHONPATH": str(ROOT)}
            process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)
        with running(process, log) as url:
            line = asyncio.run(soak(url, process.pid, seconds=60 * arguments.minutes, clients=arguments.clients))
            line["log_lines"] = len(log.read_text(errors="replace").splitlines())
    print(json.dumps(line))
    sys.exit(1 if problems(line) else 0)


async def soak(url: str, pid: int, *, seconds: float, clients: int) -> dict[str, Any]:
    """Asks the questions, loads the server, and asks them again."""
    prompts = questions(16)
    statuses: Counter[str] = Counter()
    memory: list[float] = []
    limits = httpx.Limits(max_connections=2 * clients)
    async with httpx.AsyncClient(base_url=url, timeout=120, limits=limits) as session:
        before = [await answer(session, prompt) for prompt in prompts]
        until = time.monotonic() + seconds
        await asyncio.gather(
            sample(pid, until, memory), *(client(session, number, until, statuses) for number in range(clients))
        )
        after = [await answer(session, prompt) for prompt in prompts]
        ready = (await session.get("/ready")).status_code
    tenths = [memory[len(memory) * n // 10 : max(1, len(memory) * (n + 1) // 10)] for n in range(10)]
    return {
        "minutes": round(seconds / 60, 1), "clients": clients, "requests": sum(statuses.values()),
        "statuses": dict(sorted(statuses.items())), "ready": ready,
        "memory_mib_by_tenth": [round(statistics.median(tenth), 1) for tenth in tenths if tenth],
        "same_texts": sum(a[0] == b[0] for a, b in zip(before, after, strict=True)), "questions": len(prompts),
        "largest_logprob_difference": max(abs(a[1] - b[1]) for a, b in zip(before, after, strict=True)),
    }  # fmt: skip


def problems(line: dict[str, Any]) -> list[str]:
    """What is not as it should be."""
    tenths = line["memory_mib_by_tenth"]
    found = [status for status in line["statuses"] if status.startswith("5")]
    found += ["not ready"] * (line["ready"] != 200) + ["texts"] * (line["same_texts"] != line["questions"])
    found += ["log-probabilities"] * (line["largest_logprob_difference"] > LOGPROB_DIFFERENCE)
    return found + ["memory"] * (len(tenths) == 10 and tenths[9] > MEMORY_GROWTH * tenths[2])


async def sample(pid: int, until: float, memory: list[float]) -> None:
    """Notes the resident memory of a process."""
    while time.monotonic() < until:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        memory.append(pages * os.sysconf("SC_PAGE_SIZE") / 2**20)
        await asyncio.sleep(SAMPLE_S)


async def client(session: httpx.AsyncClient, number: int, until: float, statuses: Counter[str]) -> None:
    """Sends one request after the other."""
    rng = random.Random(number)
    prompts = questions(64)
    while time.monotonic() < until:
        path, body = request(rng, rng.choice(prompts))
        if rng.random() < LEAVES:
            await leave(session.base_url, path, body, after_s=rng.uniform(0, 0.2))
            statuses["left"] += 1
            continue
        statuses[str(await send(session, path, body))] += 1


async def send(session: httpx.AsyncClient, path: str, body: Any) -> int:
    """The status of a request whose answer was read to its end."""
    headers = {"Content-Type": "application/json"}
    async with session.stream("POST", path, content=as_bytes(body), headers=headers) as reply:
        async for _ in reply.aiter_bytes():
            pass
        return reply.status_code


async def leave(url: httpx.URL, path: str, body: Any, *, after_s: float) -> None:
    """Sends a request on a connection of its own, and closes it without reading. httpx keeps a pool's slot then."""
    content = as_bytes(body)
    head = f"POST {path} HTTP/1.1\r\nHost: {url.host}\r\nContent-Type: application/json\r\n"
    _, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)
    with contextlib.suppress(ConnectionError):
        await writer.drain()
        await asyncio.sleep(after_s)
        writer.close()
        await writer.wait_closed()


def as_bytes(body: Any) -> bytes:
    """The body of a request."""
    return body if isinstance(body, bytes) else json.dumps(body).encode()


def request(rng: random.Random, prompt: str) -> tuple[str, Any]:
    """One request of the mix."""
    temperature = rng.choice([0, 0, 0.8])
    kind = rng.randrange(8)
    if kind < 3:
        new = rng.choice([1, 8, 48, 200])
        return "/process", {"prompt": prompt, "temperature": temperature, "max_new_tokens": new, "seed": 3}
    if kind == 3:
        return "/process", {"prompt": prompt, "max_new_tokens": 0, "echo_prompt": True}
    if kind == 4:
        return "/v1/completions", {"prompt": prompt, "max_tokens": 64, "temperature": temperature, "stream": True}
    if kind == 5:
        return "/v1/completions", {"prompt": [prompt, prompt[:40]], "max_tokens": 4, "logprobs": 5, "echo": True}
    if kind == 6:
        return "/tokenize", {"text": prompt * rng.choice([1, 50]), "truncation": False}
    return "/process", rng.choice([b"{", b'{"prompt": 3}', b'{"prompt": "x", "max_new_tokens": -1}', b"[" * 2000])


async def answer(session: httpx.AsyncClient, prompt: str) -> tuple[str, float]:
    """A greedy answer with its log-probability."""
    body = {"prompt": prompt, "temperature": 1e-7, "max_new_tokens": 32}
    reply = (await session.post("/process", json=body)).json()
    return reply["text"], reply["logprob"]


def questions(num: int) -> list[str]:
    """Training prompts of all demo tasks."""
    rng = random.Random(5)
    pairs = [(task, pair) for task in DEMO_TASKS for pair in draw_pairs(task, rng, 1 + num // len(DEMO_TASKS))]
    return [training_prompt(task.definition, query) for task, (query, _) in rng.sample(pairs, num)]


if __name__ == "__main__":
    main()
