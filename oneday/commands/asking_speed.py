"""The speed at which a card would answer the prompts of a curation, before it is rented, and how a server is faster.

vLLM and SGLang keep the keys and values of a prefix that prompts share. Curation asks task by task, and the prompts of
a task begin with the same shots, so each task's shots are read about once.
"""

import shlex
from dataclasses import dataclass, replace

from core.generation.request import SHARD_SIZE
from curation.estimate import Estimate, TaskEstimate
from harness.budget.gpu_profile import get_gpu_profile
from harness.budget.inference import PromptLoad, Serving, inference_speed
from harness.budget.memory import MISTRAL_7B, ModelShape
from harness.errors import ConfigError
from oneday.requests.curation import CurateRequest


def computed_rate(request: CurateRequest, estimate: Estimate) -> tuple[float | None, str]:
    """Prompts per second on the card of `card=`, and where the figure comes from.

    Raises:
        ConfigError: There is no profile with that name, or its speed is not known.
    """
    assert request.card is not None
    card = get_gpu_profile(request.card)
    is_server = request.predictor.endswith("openai")
    serving = Serving.of(
        request.predictor,
        batch_size=request.concurrency if is_server else request.batch_size,
        precision=request.precision,
    )
    shape = ModelShape.of(request.base) if request.base is not None else MISTRAL_7B
    speed = inference_speed(card, shape, serving)
    if speed is None:
        raise ConfigError(
            f"`card={request.card}`: its speed is not known. Give `prompts_per_s=`, or a card with a known speed, such "
            "as rtx4090."
        )
    model = "the base" if request.base is not None else "Mistral-7B"
    origin = f"computed for {card.name}, {model}, {request.predictor}; not measured"
    seconds = sum(speed.seconds(_load(task)) for task in estimate.tasks)
    return (estimate.num_prompts / seconds if seconds else None), origin


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server on the same card, as an alternative to answering in this process."""

    prompts_per_s: float
    commands: tuple[str, ...]
    """One to start it, by either program, and the options of curate that ask it."""


WORTH_IT = 1.2
"""Times the speed from which on a server is proposed."""

SERVER_REQUESTS = 64
"""Requests in flight."""


def faster_server(request: CurateRequest, estimate: Estimate, rate: float | None) -> Server | None:
    """A server on the card of `card=`, if it would answer clearly faster than this process does."""
    if request.predictor != "transformers" or request.base is None or rate is None:
        return None
    there = replace(request, predictor="openai", concurrency=SERVER_REQUESTS)
    served, _ = computed_rate(there, estimate)
    if served is None or served < WORTH_IT * rate:
        return None
    base = shlex.quote(str(request.base))
    in_4bit = request.precision == "4bit"
    vllm = f"vllm serve {base} --enable-prefix-caching{' --quantization bitsandbytes' if in_4bit else ''}"
    sglang = f"python -m sglang.launch_server --model-path {base} --port 8000"
    options = f"--predictor openai --url http://127.0.0.1:8000/v1 --model {base} --concurrency {SERVER_REQUESTS}"
    return Server(prompts_per_s=served, commands=(vllm, *(() if in_4bit else (sglang,)), options))


def _load(task: TaskEstimate) -> PromptLoad:
    return PromptLoad(
        num_prompts=task.num_prompts,
        shared_tokens=task.shared_tokens,
        own_tokens=task.own_tokens / task.num_prompts,
        answer_tokens=task.answer_tokens,
        longest_answer=float(task.longest_answer),
        reused_by=min(SHARD_SIZE, task.num_prompts),
    )
