"""`oneday serve` and `oneday try`."""

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import OnedayError
from core.example.prompt import training_prompt
from core.files import encodable
from core.model.language_model import LanguageModel
from core.model.quantisation import Precision, Quantisation
from harness.budget.duration import seconds
from oneday.display.console import Console
from oneday.requests.submission import ServeRequest, TryRequest
from submission.checkpoint import Served, find_served
from submission.engine.request import GenerationRequest
from submission.errors import ServeError
from submission.server.api import MAX_PROMPT_CHARACTERS, Health

if TYPE_CHECKING:
    from submission.engine.engine import Engine


def run_serve(request: ServeRequest, console: Console) -> None:
    """Checks the options, binds the port (so that a port in use is reported at once), then loads the model."""
    served = _find_served(request)
    from submission.engine.batcher import Limits
    from submission.server.access import read_token
    from submission.server.server import bind, serve

    limits = Limits(
        max_batch=request.max_batch,
        max_waiting=request.max_waiting,
        deadline_s=seconds(request.deadline, field="deadline"),
    )
    token = read_token(request.token_file) if request.token_file else None
    chat_template = chat_template_of(request.chat_template, served)
    health = Health(
        status="ok",
        model=str(served.base),
        lora_adapter=str(served.lora_adapter) if served.lora_adapter else None,
        precision=_described(served.precision),
    )
    with bind(request.host, request.port) as listener:
        url = f"http://{request.host}:{listener.getsockname()[1]}"
        console.out.print(f"serving on {url} (Ctrl-C stops)", markup=False)
        for warning in (*_open_to_all(request), *served.warnings):
            console.say(f"warning: {warning}")
        console.say(f"loading {request.checkpoint}")
        with contextlib.suppress(KeyboardInterrupt):  # the usual end; uvicorn has finished its requests by then
            serve(
                lambda: _load_engine(request, served, chat_template, console),
                health,
                limits,
                listener,
                name=request.served_model_name or request.checkpoint.resolve().name,
                token=token,
                starter_kit=request.compat == "challenge",
                on_ready=lambda: console.say("ready"),
            )


def _load_engine(request: ServeRequest, served: Served, chat_template: str | None, console: Console) -> "Engine":
    """The engine, checked."""
    from submission.engine.engine import Engine
    from submission.engine.long_text import Overlong

    model = LanguageModel.load(served.base, lora_adapter=served.lora_adapter, precision=served.precision)
    engine = Engine(
        model,
        overlong=Overlong(request.overlong),
        birbal=request.compat == "birbal",
        chat_template=chat_template,
        prefix_bytes=request.prefix_mib << 20,
    )
    problem = engine.chat_problem() if chat_template else None
    if problem and request.chat_template:
        raise ServeError(f"`chat_template={request.chat_template}`: {problem}")
    for warning in (*engine.check_itself(), *([problem] if problem else [])):
        console.say(f"warning: {warning}")
    return engine


def _open_to_all(request: ServeRequest) -> list[str]:
    """A warning if other machines can reach a server that asks for no token."""
    from submission.server.access import is_public

    if request.token_file or not is_public(request.host):
        return []
    hint = "`token_file=FILE` lets in only those who know a token."
    return [f"`host={request.host}`: whoever reaches this machine can use the model. {hint}"]


def chat_template_of(given: Path | None, served: Served) -> str | None:
    """The text of the given chat template, else of the one beside the adapter; None: the base's own."""
    path = given or served.chat_template
    if path is None:
        return None
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        raise ServeError(f"`chat_template={path}`: cannot be read ({e}). Give a Jinja file.") from e


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
    return engine.process(GenerationRequest(prompt=rendered, max_new_tokens=request.max_new_tokens)).text.strip()
