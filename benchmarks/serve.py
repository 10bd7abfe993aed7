"""Our server against a server that calls `generate` for one request at a time, as the 2023 winner's did.

    python benchmarks/serve.py [--requests 64] [--rounds 3]

Both serve the demo's base on the CPU in a process of their own, and answer the same greedy prompts from 1, 4 and 16
clients at a time, in interleaved rounds. The `short` prompts come from all demo tasks and have answers of 4 tokens in
the mean, like multiple choice. The `long` prompts have answers that do not end and are cut at 48 tokens, like
reasoning. Prints one JSON line: requests/s and latencies (p50, p99 in ms), medians over rounds, and the ratio of the
rates.
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
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from core.example.prompt import training_prompt
from core.model.language_model import LanguageModel
from oneday.demo.demo import DEMO_BASE
from oneday.demo.tasks import DEMO_TASKS, draw_pairs
from oneday.local_server import running
from submission.engine.engine import Engine
from submission.engine.request import GenerationRequest

ROOT = Path(__file__).resolve().parents[1]
CLIENTS = (1, 4, 16)
NEW_TOKENS = 48


def peer_app() -> Any:
    """Builds a server like the winner's: a blocking `generate` in the event loop, log-probabilities from its scores."""
    import torch
    from fastapi import FastAPI

    model = LanguageModel.load(DEMO_BASE)
    app = FastAPI()

    @app.get("/ready")
    async def ready() -> dict[str, str]:
        return {"status": "ok"}

    @app.post("/process")
    async def process(body: dict[str, Any]) -> dict[str, Any]:
        ids = torch.tensor([model.encode(body["prompt"])])
        with torch.no_grad():
            output = model.model.generate(
                input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=body["max_new_tokens"],
                do_sample=False, return_dict_in_generate=True, output_scores=True,
                pad_token_id=model.tokenizer.pad_token_id,
            )  # fmt: skip
        new = output.sequences[0, ids.shape[1] :].tolist()
        tokens = []
        for token_id, scores in zip(new, output.scores, strict=True):
            logprobs = torch.log_softmax(scores[0], dim=-1)
            best = int(logprobs.argmax())
            tokens.append(
                {
                    "text": model.tokenizer.decode([token_id]),
                    "logprob": float(logprobs[token_id]),
                    "top_logprob": {model.tokenizer.decode([best]): float(logprobs[best])},
                }
            )
        return {"text": model.tokenizer.decode(new), "tokens": tokens, "logprob": sum(t["logprob"] for t in tokens)}

    return app


@contextmanager
def server(name: str) -> Iterator[str]:
    """Starts a server and yields its address when it is ready."""
    if name == "ours":
        command = [sys.executable, "-m", "oneday.cli", "serve", "--checkpoint", str(DEMO_BASE), "--port", "0"]
    else:
        command = [sys.executable, __file__, "--peer"]
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "server.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, stdout=output, stderr=subprocess.STDOUT, env={**os.environ, "PYTHONPATH": str(ROOT)}
            )
        with running(process, log) as url:
            yield url


async def ask(url: str, prompts: list[str], clients: int) -> tuple[float, list[float]]:
    """Returns the requests/s and the latency of each request in ms."""
    gate = asyncio.Semaphore(clients)
    latencies: list[float] = []
    async with httpx.AsyncClient(base_url=url, timeout=600) as session:

        async def one(prompt: str) -> None:
            async with gate:
                start = time.perf_counter()
                body = {"prompt": prompt, "max_new_tokens": NEW_TOKENS, "temperature": 1e-7}
                reply = await session.post("/process", json=body)
                assert reply.status_code == 200, reply.text[:300]
                latencies.append(1_000 * (time.perf_counter() - start))

        start = time.perf_counter()
        await asyncio.gather(*(one(prompt) for prompt in prompts))
        return len(prompts) / (time.perf_counter() - start), latencies


def main() -> None:
    """Runs the benchmark and prints its JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--requests", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peer:
        import uvicorn

        from submission.server.server import bind

        with bind("127.0.0.1", 0) as listener:
            print(f"serving on http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
            uvicorn.Server(uvicorn.Config(peer_app(), log_level="error")).run(sockets=[listener])
        return
    line: dict[str, Any] = {"requests": arguments.requests, "rounds": arguments.rounds}
    with server("peer") as peer, server("ours") as ours:
        for kind, prompts in (("short", short_prompts(arguments.requests)), ("long", long_prompts(arguments.requests))):
            line[kind] = compare(peer, ours, prompts, arguments.rounds)
    print(json.dumps(line))


def short_prompts(num: int) -> list[str]:
    """Returns training prompts of all demo tasks."""
    rng = random.Random(5)
    pairs = [(task, pair) for task in DEMO_TASKS for pair in draw_pairs(task, rng, 1 + num // len(DEMO_TASKS))]
    return [training_prompt(task.definition, query) for task, (query, _) in rng.sample(pairs, num)]


def long_prompts(num: int) -> list[str]:
    """Returns lists of words without an instruction, to which the model's answer does not end."""
    engine = Engine(LanguageModel.load(DEMO_BASE))
    task = next(task for task in DEMO_TASKS if task.name.endswith("reverse_list"))
    prompts = []
    for query, _ in draw_pairs(task, random.Random(6), 40 * num):
        if len(engine.process(GenerationRequest(prompt=query, max_new_tokens=NEW_TOKENS)).tokens) == NEW_TOKENS:
            prompts.append(query)
        if len(prompts) == num:
            break
    return prompts


def compare(peer: str, ours: str, prompts: list[str], rounds: int) -> dict[str, Any]:
    """Measures both servers for each number of clients."""
    measurements: dict[str, dict[int, list[tuple[float, list[float]]]]] = {
        name: {clients: [] for clients in CLIENTS} for name in ("peer", "ours")
    }
    for url in (peer, ours):
        asyncio.run(ask(url, prompts[:16], 16))
    for _ in range(rounds):
        for clients in CLIENTS:
            for name, url in (("peer", peer), ("ours", ours)):
                measurements[name][clients].append(asyncio.run(ask(url, prompts, clients)))
    result: dict[str, Any] = {"prompts": len(prompts)}
    for clients in CLIENTS:
        rates = {name: statistics.median(rate for rate, _ in measurements[name][clients]) for name in measurements}
        entry: dict[str, Any] = {"ratio": round(rates["ours"] / rates["peer"], 2)}
        for name in measurements:
            latencies = sorted(ms for _, each in measurements[name][clients] for ms in each)
            entry[name] = {
                "requests_per_s": round(rates[name], 1),
                "p50_ms": round(statistics.median(latencies), 1),
                "p99_ms": round(latencies[int(0.99 * (len(latencies) - 1))], 1),
            }
        result[f"clients_{clients}"] = entry
    return result


if __name__ == "__main__":
    main()
