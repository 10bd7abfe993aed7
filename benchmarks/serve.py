"""Our server beside one `generate` at a time, as in the 2023 winner's server, and transformers' continuous batching.

    python benchmarks/serve.py --base models/smollm2-135m [--clients 1 4 16 64] [--rounds 1]

The three serve the same model on the CPU, in a process each, and answer the same greedy few-shot prompts of about
`--prompt-tokens` tokens. In `shared` cells all prompts begin with the same shots, in `unshared` cells no two do. Cells
follow each other, and in each the servers take turns. One `generate` at a time gets at most `--alone` requests of a
cell, because its rate does not depend on their number. All prompts of a cell are new to the servers.

Prints one JSON line: for each cell the requests per second and per CPU second of the servers, the ratios of ours to the
others, and how many answers were compared. On a busy machine the ratios of CPU seconds are the more reliable ones.
Exit code 1 if an answer differs.
"""

import argparse
import asyncio
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any

import httpx

from core.model.language_model import LanguageModel
from oneday.demo.demo import DEMO_BASE
from oneday.demo.tasks import DEMO_TASKS, draw_pairs
from oneday.local_server import running

ROOT = Path(__file__).resolve().parents[1]
NAMES = ("alone", "batching", "ours")
CLIENTS, NEW_TOKENS = (1, 4, 16, 64), (4, 64)


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One comparison."""

    clients: int
    new_tokens: int
    is_shared: bool


@dataclass(kw_only=True)
class Measured:
    """What one server did in a cell."""

    num: int
    seconds: float
    cpu_seconds: float
    latencies_ms: list[float]
    texts: dict[str, str]


@contextmanager
def server(name: str, base: Path) -> Iterator[tuple[str, int]]:
    """Starts a server; its address and process id."""
    own = [sys.executable, "-m", "oneday.cli", "serve", "--checkpoint", str(base), "--port", "0"]
    command = own if name == "ours" else [sys.executable, "-m", "benchmarks.serve_peers", name, str(base)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "server.log"
        with log.open("wb") as output:
            process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)
        with running(process, log) as url:
            yield url, process.pid


def prompts(cell: Cell, num: int, num_tokens: int, model: LanguageModel, seed: int) -> list[str]:
    """Few-shot prompts with questions of their own, and with the same shots or with shots of their own."""
    rng = random.Random(seed)
    shots = few_shot(rng, num_tokens, model) if cell.is_shared else ""
    found: list[str] = []
    while len(found) < num:
        query, _ = draw_pairs(rng.choice(DEMO_TASKS), rng, 1)[0]
        found.append((shots or few_shot(rng, num_tokens, model)) + f"Q{rng.randrange(10**6)}: {query}\nA:")
    return found


def few_shot(rng: random.Random, num_tokens: int, model: LanguageModel) -> str:
    """Solved questions of at least so many tokens."""
    text = f"{rng.randrange(10**9)}.\n"
    while len(model.encode(text)) < num_tokens:
        query, answer = draw_pairs(rng.choice(DEMO_TASKS), rng, 1)[0]
        text += f"Q{rng.randrange(10**6)}: {query}\nA: {answer}\n\n"
    return text


async def ask(url: str, pid: int, asked: list[str], cell: Cell) -> Measured:
    """Sends all prompts, at most `clients` at a time."""
    gate = asyncio.Semaphore(cell.clients)
    latencies: list[float] = []
    texts: dict[str, str] = {}
    async with httpx.AsyncClient(base_url=url, timeout=3_600, limits=httpx.Limits(max_connections=128)) as session:

        async def one(prompt: str) -> None:
            async with gate:
                start = time.perf_counter()
                body = {"prompt": prompt, "max_new_tokens": cell.new_tokens, "temperature": 1e-7}
                reply = await session.post("/process", json=body)
                assert reply.status_code == 200, reply.text[:300]
                latencies.append(1_000 * (time.perf_counter() - start))
                texts[prompt] = reply.json()["text"]

        start, cpu = time.perf_counter(), cpu_seconds(pid)
        await asyncio.gather(*(one(prompt) for prompt in asked))
        return Measured(
            num=len(asked),
            seconds=time.perf_counter() - start,
            cpu_seconds=cpu_seconds(pid) - cpu,
            latencies_ms=latencies,
            texts=texts,
        )


def cpu_seconds(pid: int) -> float:
    """The processor time of a process with all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def compare(cell: Cell, rounds: list[dict[str, Measured]]) -> dict[str, Any]:
    """The figures of a cell: medians over rounds."""
    line: dict[str, Any] = {
        "clients": cell.clients, "new_tokens": cell.new_tokens, "prefix": "shared" if cell.is_shared else "unshared",
    }  # fmt: skip
    rates = {name: statistics.median(r[name].num / r[name].seconds for r in rounds) for name in NAMES}
    per_cpu = {name: statistics.median(r[name].num / r[name].cpu_seconds for r in rounds) for name in NAMES}
    for name in NAMES:
        latencies = [ms for r in rounds for ms in r[name].latencies_ms]
        line[name] = {
            "requests_per_s": round(rates[name], 3),
            "requests_per_cpu_s": round(per_cpu[name], 3),
            "p50_ms": round(statistics.median(latencies)),
        }
    for other in ("alone", "batching"):
        line[f"against_{other}"] = round(rates["ours"] / rates[other], 2)
        line[f"against_{other}_by_cpu"] = round(per_cpu["ours"] / per_cpu[other], 2)
    pairs = [(r["ours"].texts[p], text) for r in rounds for name in NAMES[:2] for p, text in r[name].texts.items()]
    line["answers"], line["equal"] = len(pairs), sum(a == b for a, b in pairs)
    return line


def main() -> None:
    """Runs the benchmark and prints its JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--base", type=Path, default=DEMO_BASE)
    parser.add_argument("--clients", type=int, nargs="+", default=CLIENTS)
    parser.add_argument("--new-tokens", type=int, nargs="+", default=NEW_TOKENS)
    parser.add_argument("--prompt-tokens", type=int, default=256)
    parser.add_argument("--requests", type=int, default=8, help="of a cell, or one for each client if those are more")
    parser.add_argument("--alone", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=1)
    arguments = parser.parse_args()
    model = LanguageModel.load(arguments.base)
    cells = [
        Cell(clients=clients, new_tokens=new, is_shared=shared)
        for clients, new, shared in product(arguments.clients, arguments.new_tokens, (True, False))
    ]
    with ExitStack() as stack:
        servers = {name: stack.enter_context(server(name, arguments.base)) for name in NAMES}
        for url, pid in servers.values():  # the first answers are slower
            warm = Cell(clients=2, new_tokens=4, is_shared=True)
            asyncio.run(ask(url, pid, prompts(warm, 2, 32, model, seed=0), warm))
        lines = []
        for number, cell in enumerate(cells):
            rounds: list[dict[str, Measured]] = []
            for turn in range(arguments.rounds):
                num = max(arguments.requests, cell.clients)
                asked = prompts(cell, num, arguments.prompt_tokens, model, seed=1 + 1_000 * turn + number)
                measured = {}
                for name in NAMES[turn % 3 :] + NAMES[: turn % 3]:
                    url, pid = servers[name]
                    part = asked[: arguments.alone] if name == "alone" else asked
                    measured[name] = asyncio.run(ask(url, pid, part, cell))
                rounds.append(measured)
            lines.append(compare(cell, rounds))
            print(json.dumps(lines[-1]), file=sys.stderr, flush=True)
    line = {
        "date": datetime.now(UTC).date().isoformat(), "command": " ".join(["python", *sys.argv]),
        "load": round(os.getloadavg()[0], 1), "cores": os.cpu_count(), "rounds": arguments.rounds, "cells": lines,
    }  # fmt: skip
    print(json.dumps(line))
    sys.exit(any(cell["equal"] < cell["answers"] for cell in lines))


if __name__ == "__main__":
    main()
