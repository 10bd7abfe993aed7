"""`oneday serve` and `oneday try`."""

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import cast, get_args

from core.errors import OnedayError
from core.example.prompt import training_prompt
from core.files import encodable
from core.model.language_model import LanguageModel
from core.model.quantisation import Precision, Quantisation
from harness.budget.duration import seconds
from oneday.display.console import Console
from submission.checkpoint import find_served
from submission.server.api import MAX_PROMPT_CHARACTERS, Health, ProcessRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeRequest:
    """The options of `oneday serve`, as given."""

    checkpoint: Path
    base: Path | None
    host: str
    port: int
    precision: str | None
    base_changed: bool = False
    """The base may be another one than in training."""
    overlong: str = "left-truncate"
    compat: str | None = None
    max_batch: int = 16
    max_waiting: int = 256
    deadline: str = "10m"


def run_serve(request: ServeRequest, console: Console) -> None:
    """Checks, listens, so that a port in use is told before the model is loaded; then loads while it listens."""
    asked = served_precision(request.precision)
    served = find_served(request.checkpoint, base=request.base, precision=asked, base_changed=request.base_changed)
    if request.compat not in (None, "birbal"):
        raise OnedayError(f"--compat {request.compat}: unknown. Use birbal, or leave it out.")
    from submission.engine.batcher import Limits
    from submission.engine.engine import Engine, Overlong
    from submission.server.server import bind, serve

    if request.overlong not in list(Overlong):
        raise OnedayError(f"--overlong {request.overlong[:40]}: unknown. Use {', '.join(Overlong)}.")
    limits = Limits(
        max_batch=request.max_batch,
        max_waiting=request.max_waiting,
        deadline_s=seconds(request.deadline, option="--deadline"),
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
        with contextlib.suppress(KeyboardInterrupt):  # uvicorn has drained by then: the usual end
            serve(load_engine, health, limits, listener, on_ready=lambda: console.say("ready"))


def _described(precision: Precision | Quantisation | None) -> str:
    return precision.describe() if isinstance(precision, Quantisation) else precision or "16bit or fp32"


def served_precision(given: str | None) -> Precision | None:
    """`--precision`; None: as trained.

    Raises:
        OnedayError: unknown.
    """
    if given is None:
        return None
    found = next((known for known in get_args(Precision) if known == given), None)
    if found is None:
        raise OnedayError(f"--precision {given}: unknown. Use {', '.join(get_args(Precision))}.")
    return cast("Precision", found)


@dataclass(frozen=True, slots=True, kw_only=True)
class TryRequest:
    """The options of `oneday try`, as given."""

    prompt: str
    text: str = ""
    checkpoint: Path
    base: Path | None = None
    precision: str | None = None
    base_changed: bool = False
    max_new_tokens: int = 128
    raw: bool = False


def run_try(request: TryRequest, console: Console) -> str:
    """One greedy answer."""
    from submission.engine.engine import Engine

    rendered = request.prompt if request.raw else training_prompt(request.prompt, request.text)
    if not encodable(rendered):
        raise OnedayError("the prompt is not valid Unicode. Pass UTF-8 text.")
    if len(rendered) > MAX_PROMPT_CHARACTERS:
        raise OnedayError(f"the prompt: {len(rendered):,} characters, at most {MAX_PROMPT_CHARACTERS:,}. Shorten it.")
    asked = served_precision(request.precision)
    served = find_served(request.checkpoint, base=request.base, precision=asked, base_changed=request.base_changed)
    for warning in served.warnings:
        console.say(f"warning: {warning}")
    engine = Engine(LanguageModel.load(served.base, lora_adapter=served.lora_adapter, precision=served.precision))
    return engine.process(ProcessRequest(prompt=rendered, max_new_tokens=request.max_new_tokens)).text.strip()
