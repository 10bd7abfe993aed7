"""The engine that a request describes."""

from core.generation.engine import Engine
from oneday.requests.engine import WithEngine


def engine_of(request: WithEngine) -> Engine:
    """The engine that generates the base model's predictions."""
    return Engine(
        name=request.predictor,
        base=request.base,
        predictions=request.predictions,
        batch_size=request.batch_size,
        precision=request.precision,
        url=request.url,
        sends_key=request.url is not None,
        model=request.model,
        concurrency=request.concurrency,
        ray_address=request.ray_address,
        ray_workers=request.ray_workers,
    )
