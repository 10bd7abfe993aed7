"""The servers that `benchmarks/serve.py` compares with: /process on the simplest code that does it.

    python -m benchmarks.serve_peers alone models/smollm2-135m

`alone` calls a blocking `generate` in the event loop, as the winner's server did. `batching` hands requests to
transformers' continuous batching, which shares prefixes in blocks of 32 tokens.
"""

import asyncio
import itertools
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import torch
import uvicorn
from fastapi import FastAPI

from core.model.language_model import LanguageModel
from submission.server.server import bind

Answer = Callable[[list[int], int], Awaitable[tuple[list[int], list[float]]]]
"""Ids of a prompt, and the largest number of new ones -> new ids, with their log-probabilities."""

BLOCK, BLOCKS = 32, 2_048
"""Tokens of a block of the cache, and blocks: 64 rows of 1,000 tokens."""


def alone(model: LanguageModel) -> Answer:
    """One `generate` at a time."""

    async def answer(ids: list[int], num: int) -> tuple[list[int], list[float]]:
        row = torch.tensor([ids])
        with torch.no_grad():
            output = model.model.generate(
                input_ids=row, attention_mask=torch.ones_like(row), max_new_tokens=num, do_sample=False,
                return_dict_in_generate=True, output_scores=True, pad_token_id=model.tokenizer.pad_token_id,
            )  # fmt: skip
        new = output.sequences[0, len(ids) :].tolist()
        logprobs = [float(torch.log_softmax(s[0], dim=-1)[i]) for s, i in zip(output.scores, new, strict=True)]
        return new, logprobs

    return answer


def batching(model: LanguageModel) -> Answer:
    """Continuous batching, with its own default of requests in a batch."""
    from transformers import ContinuousBatchingConfig, GenerationConfig

    ends = sorted(model.end_ids)
    manager = model.model.init_continuous_batching(
        GenerationConfig(do_sample=False, eos_token_id=ends, pad_token_id=model.tokenizer.pad_token_id),
        ContinuousBatchingConfig(
            block_size=BLOCK, num_blocks=BLOCKS, max_batch_tokens=2_048, max_requests_per_batch=64,
            return_logprobs=True,
        ),
    )  # fmt: skip
    manager.start()
    numbers = itertools.count()

    async def answer(ids: list[int], num: int) -> tuple[list[int], list[float]]:
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        name = f"request-{next(numbers)}"
        manager.register_result_handler(name, done.set_result)
        manager.add_request(ids, request_id=name, max_new_tokens=num, eos_token_id=ends)
        result = await done
        assert result.error is None, result.error
        return list(result.generated_tokens), list(result.logprobs)

    return answer


def app(model: LanguageModel, answer: Answer) -> FastAPI:
    """The application."""
    found = FastAPI()

    @found.get("/ready")
    async def ready() -> dict[str, str]:
        return {"status": "ok"}

    @found.post("/process")
    async def process(body: dict[str, Any]) -> dict[str, Any]:
        ids = model.encode(body["prompt"])
        new, logprobs = await answer(ids, body["max_new_tokens"])
        kept = new[: next((n for n, i in enumerate(new) if i in model.end_ids), None)]
        tokens = [
            {"text": model.tokenizer.decode([token_id]), "logprob": logprob}
            for token_id, logprob in zip(kept, logprobs, strict=False)
        ]
        return {"text": model.continuation(ids, kept), "tokens": tokens, "logprob": sum(logprobs)}

    return found


def main() -> None:
    """Serves on a free port."""
    name, base = sys.argv[1:]
    model = LanguageModel.load(Path(base))
    model.model.set_attn_implementation("sdpa")  # transformers' own
    answer = {"alone": alone, "batching": batching}[name](model)
    with bind("127.0.0.1", 0) as listener:
        print(f"serving on http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
        uvicorn.Server(uvicorn.Config(app(model, answer), log_level="error")).run(sockets=[listener])


if __name__ == "__main__":
    main()
