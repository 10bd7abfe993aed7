"""`oneday serve` and `oneday try`."""

import contextlib
import sys

from core.errors import OnedayError
from core.example.prompt import training_prompt
from core.files import encodable
from core.model.language_model import LanguageModel
from core.model.quantisation import Precision, Quantisation
from harness.budget.duration import seconds
from oneday.display.console import Console
from oneday.requests.submission import ServeRequest, TryRequest
from submission.checkpoint import Served, find_served
from submission.server.api import MAX_PROMPT_CHARACTERS, Health, ProcessRequest


def run_serve(request: ServeRequest, console: Console) -> None:
    """Checks the options, binds the port (so that a port in use is reported at once), then loads the model."""
    served = _find_served(request)
    from submission.engine.batcher import Limits
    from submission.engine.engine import Engine
    from submission.engine.long_text import Overlong
    from submission.server.server import bind, serve

    limits = Limits(
        max_batch=request.max_batch,
        max_waiting=request.max_waiting,
        deadline_s=seconds(request.deadline, field="deadline"),
    )
    with bind(request.host, request.port) as listener:
        url = f"http://{request.host}:{listener.getsockname()[1]}"
        console.out.print(f"serving on {url} (Ctrl-C stops)", markup=False)
        for warning in served.warnings:
            console.say(f"warning: {warning}")
        console.say(f"loading {request.checkpoint}")

        def load_engine() -> Engine:
            model = LanguageModel.load(served.base, lora_adapter=served.lora_adapter, precision=served.precision)
            engine = Engine(model, overlong=Overlong(request.overlong), birbal=request.compat == "birbal")
            for warning in engine.check_itself():
                console.say(f"warning: {warning}")
            return engine

        health = Health(
            status="ok",
            model=str(served.base),
            lora_adapter=str(served.lora_adapter) if served.lora_adapter else None,
            precision=_described(served.precision),
        )
        with contextlib.suppress(KeyboardInterrupt):  # the usual end; uvicorn has finished its requests by then
            serve(load_engine, health, limits, listener, on_ready=lambda: console.say("ready"))


def _find_served(request: ServeRequest | TryRequest) -> Served:
    return find_served(
        request.checkpoint,
        base=request.base,
        precision=request.precision,
        base_changed=request.base_changed_on_purpose,
    )


def _described(precision: Precision | Quantisation | None) -> str:
    return precision.describe() if isinstance(precision, Quantisation) else precision or "16bit or fp32"


def run_try(request: TryRequest, console: Console) -> None:
    """Prints one greedy answer."""
    sys.stdout.write(f"{answer(request, console)}\n")


def answer(request: TryRequest, console: Console) -> str:
    """One greedy answer."""
    from submission.engine.engine import Engine

    rendered = request.prompt if request.raw else training_prompt(request.prompt, request.input)
    if not encodable(rendered):
        raise OnedayError("the prompt is not valid Unicode. Pass UTF-8 text.")
    if len(rendered) > MAX_PROMPT_CHARACTERS:
        raise OnedayError(f"the prompt: {len(rendered):,} characters, at most {MAX_PROMPT_CHARACTERS:,}. Shorten it.")
    served = _find_served(request)
    for warning in served.warnings:
        console.say(f"warning: {warning}")
    engine = Engine(LanguageModel.load(served.base, lora_adapter=served.lora_adapter, precision=served.precision))
    return engine.process(ProcessRequest(prompt=rendered, max_new_tokens=request.max_new_tokens)).text.strip()
