"""Requests per second of our completions client, with 64 requests in flight, against other clients.

    python benchmarks/openai_client.py [--requests 2000] [--rounds 3]

The server is a local process (aiohttp.web) that answers every request after 50 ms, so 64 requests in flight allow at
most 1,280 requests a second. Our client sends requests as the predictions stage does, shard by shard, without a store.
The peers send the same requests with a semaphore and `asyncio.gather`, without retries: `httpx.AsyncClient`, whose pool
scans all its connections at each request; as an upper bound `aiohttp`, on which our client is built; and the
asynchronous client of `openai[aiohttp]` if that package is installed. Prints one JSON line: medians of interleaved
rounds.
"""

import argparse
import asyncio
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from aiohttp import ClientSession, TCPConnector, web

from core.example.prompt import STOP
from core.generation.ask import ask
from core.generation.openai import OpenAIPredictor
from core.generation.request import Kind, Request

IN_FLIGHT, DELAY_S = 64, 0.05
PROMPT = "Below is an instruction that describes a task. Answer in one word. " * 30
"""About 2,000 characters, like a definition with a few examples."""


async def models(request: web.Request) -> web.Response:
    return web.json_response({"data": [{"id": "pseudo", "max_model_len": 4096}]})


async def completions(request: web.Request) -> web.Response:
    body = await request.json()
    await asyncio.sleep(DELAY_S)
    return web.json_response({"choices": [{"text": f" {body['prompt'].rsplit(' ', 1)[-1]}", "index": 0}]})


async def serve() -> None:
    """Serves until the process ends; the first output line is the address."""
    app = web.Application()
    app.router.add_get("/v1/models", models)
    app.router.add_post("/v1/completions", completions)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(f"http://127.0.0.1:{runner.addresses[0][1]}/v1", flush=True)
    await asyncio.Event().wait()


@contextmanager
def server() -> Iterator[str]:
    with subprocess.Popen([sys.executable, __file__, "--serve"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def request(number: int) -> Request:
    return Request(
        task="pseudo",
        id=str(number),
        kind=Kind.EXACT_MATCH,
        prompt=f"{PROMPT}{number}",
        num_shared=len(PROMPT),
        num_shots=0,
        references=("one",),
        max_new_tokens=32,
        stop=(STOP,),
    )


def with_oneday(url: str, requests: list[Request]) -> list[str]:
    predictor = OpenAIPredictor(url, concurrency=IN_FLIGHT)
    try:
        return [str(answer) for _, _, answer in ask(requests, predictor, None)]
    finally:
        predictor.close()


def body(r: Request) -> dict[str, Any]:
    return {
        "model": "pseudo",
        "prompt": r.prompt,
        "max_tokens": r.max_new_tokens,
        "temperature": 0,
        "stop": list(r.stop),
        "seed": 0,
    }


async def gather_limited(post: Callable[[Request], Coroutine[Any, Any, Any]], requests: list[Request]) -> list[str]:
    """Returns the text of every reply; at most `IN_FLIGHT` requests run at once."""
    gate = asyncio.Semaphore(IN_FLIGHT)

    async def one(r: Request) -> str:
        async with gate:
            reply = await post(r)
        return str(reply["choices"][0]["text"])

    return list(await asyncio.gather(*map(one, requests)))


def with_httpx(url: str, requests: list[Request]) -> list[str]:
    async def run() -> list[str]:
        limits = httpx.Limits(max_connections=IN_FLIGHT, max_keepalive_connections=IN_FLIGHT)
        async with httpx.AsyncClient(limits=limits, timeout=300, trust_env=False) as client:

            async def post(r: Request) -> Any:
                reply = await client.post(f"{url}/completions", json=body(r))
                return reply.raise_for_status().json()

            return await gather_limited(post, requests)

    return asyncio.run(run())


def with_aiohttp(url: str, requests: list[Request]) -> list[str]:
    async def run() -> list[str]:
        async with ClientSession(connector=TCPConnector(limit=IN_FLIGHT)) as client:

            async def post(r: Request) -> Any:
                async with client.post(f"{url}/completions", json=body(r)) as reply:
                    return await reply.json()

            return await gather_limited(post, requests)

    return asyncio.run(run())


def with_openai(url: str, requests: list[Request]) -> list[str]:
    """Uses OpenAI's own client over aiohttp, the faster of its two transports."""
    from openai import AsyncOpenAI, DefaultAioHttpClient

    async def run() -> list[str]:
        limits = httpx.Limits(max_connections=IN_FLIGHT, max_keepalive_connections=IN_FLIGHT)
        http = DefaultAioHttpClient(limits=limits, timeout=300, trust_env=False)
        async with AsyncOpenAI(base_url=url, api_key="none", http_client=http) as client:

            async def post(r: Request) -> Any:
                return (await client.completions.create(**body(r))).to_dict()

            return await gather_limited(post, requests)

    return asyncio.run(run())


CONTENDERS = {"httpx": with_httpx, "aiohttp": with_aiohttp, "oneday": with_oneday}
if importlib.util.find_spec("openai") is not None:
    CONTENDERS["openai"] = with_openai


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--requests", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        asyncio.run(serve())
        return
    requests = [request(number) for number in range(arguments.requests)]
    expected = [f" {number}" for number in range(arguments.requests)]
    seconds: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    with server() as url:
        for contender in CONTENDERS.values():
            contender(url, requests[:IN_FLIGHT])
        for _ in range(arguments.rounds):
            for name, contender in CONTENDERS.items():
                start = time.perf_counter()
                answers = contender(url, requests)
                seconds[name].append(time.perf_counter() - start)
                assert answers == expected, f"{name}: an answer is missing or out of order"
    rates = {name: round(len(requests) / statistics.median(values)) for name, values in seconds.items()}
    ratios = {
        name: round(statistics.median(a / b for a, b in zip(seconds[name], seconds["oneday"], strict=True)), 2)
        for name in CONTENDERS
        if name != "oneday"
    }
    print(
        json.dumps(
            {
                "requests": len(requests),
                "in_flight": IN_FLIGHT,
                "server_delay_s": DELAY_S,
                "cores": os.cpu_count(),
                "requests_per_s": rates,
                "most_possible": round(IN_FLIGHT / DELAY_S),
                "ratio_to": ratios,
            }
        )
    )


if __name__ == "__main__":
    main()
