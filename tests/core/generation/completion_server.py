"""A small server that speaks `/v1/completions` and chat, with faults on demand.

    with served(latency_s=0.05, fail_first=3) as url: ...

It answers a prompt with its last line that is not empty, reversed.
"""

import asyncio
import contextlib
import json
import threading
from collections import Counter
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

from aiohttp import web

T = TypeVar("T")


def answer_to(prompt: str) -> str:
    return prompt.replace("\n\n### Response:\n", "").splitlines()[-1][::-1]


class Server:
    def __init__(self, *, latency_s: float = 0.0, fail_first: int = 0, refuse: str = "", status: int = 503) -> None:
        self.latency_s, self.fail_first, self.refuse, self.status = latency_s, fail_first, refuse, status
        self.seen: Counter[str] = Counter()
        self.now = self.most = 0

    async def models(self, request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": "base", "object": "model", "max_model_len": 2048}]})

    async def completions(self, request: web.Request) -> web.Response:
        body: dict[str, Any] = await request.json()
        prompt = body["prompt"]
        self.seen[prompt] += 1
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await asyncio.sleep(self.latency_s)
            if self.seen[prompt] <= self.fail_first:
                return web.Response(status=self.status, headers={"Retry-After": "0.01"})
            if self.refuse and self.refuse in prompt:
                return web.json_response({"error": {"message": "too long for me"}}, status=400)
            text = f"{answer_to(prompt)}{body['stop'][0]}more" if body["stop"] else answer_to(prompt)
            return web.json_response({"choices": [{"index": 0, "text": text}]})
        finally:
            self.now -= 1

    async def chat(self, request: web.Request) -> web.Response:
        body: dict[str, Any] = await request.json()
        message = body["messages"][-1]
        text = answer_to(message["content"])
        content = json.dumps({"answer": text}) if body.get("response_format") == {"type": "json_object"} else text
        content = None if self.refuse and self.refuse in message["content"] else content
        choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "length"}
        return web.json_response({"choices": [choice], "usage": {"completion_tokens": len(text)}})

    async def stats(self, request: web.Request) -> web.Response:
        return web.json_response({"most_at_once": self.most, "asked": sum(self.seen.values())})


@contextlib.contextmanager
def served(**faults: Any) -> Iterator[str]:
    """Runs the server in a thread of this process; yields its address without `/v1`."""
    server, loop = Server(**faults), asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def wait_for(work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, loop).result(timeout=30)

    app = web.Application()
    app.router.add_get("/v1/models", server.models)
    app.router.add_post("/v1/completions", server.completions)
    app.router.add_post("/v1/chat/completions", server.chat)
    app.router.add_get("/stats", server.stats)
    runner = web.AppRunner(app, shutdown_timeout=0.1)  # 0 means without a limit
    try:
        wait_for(runner.setup())
        wait_for(web.TCPSite(runner, "127.0.0.1", 0).start())
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        wait_for(runner.cleanup())
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
