"""The speed at which a card would answer the prompts of a curation, before it is rented."""

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


def _load(task: TaskEstimate) -> PromptLoad:
    return PromptLoad(
        num_prompts=task.num_prompts,
        shared_tokens=task.shared_tokens,
        own_tokens=task.own_tokens / task.num_prompts,
        answer_tokens=task.answer_tokens,
        longest_answer=float(task.longest_answer),
        reused_by=min(SHARD_SIZE, task.num_prompts),
    )
