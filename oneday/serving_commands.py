"""`oneday serve` and `oneday try`."""

import contextlib
from pathlib import Path
from typing import get_args

from curation.errors import OnedayError
from curation.language_model import LanguageModel, Precision
from curation.prompt import training_prompt
from curation.task import encodable
from oneday.console import Console
from submission.api import Health, ProcessRequest
from submission.checkpoint import find_served


def load(checkpoint: Path, *, base: Path | None, precision: str | None = None) -> LanguageModel:
    """The model that a checkpoint folder stands for."""
    served = find_served(checkpoint, base=base)
    chosen = served.precision
    if precision is not None:
        chosen = next((known for known in get_args(Precision) if known == precision), None)
        if chosen is None:
            raise OnedayError(f"--precision {precision}: unknown. Use {', '.join(get_args(Precision))}.")
    return LanguageModel.load(served.base, lora_adapter=served.lora_adapter, precision=chosen)


def run_serve(
    checkpoint: Path, *, base: Path | None, host: str, port: int, precision: str | None, console: Console
) -> None:
    """Binds first, so that a port in use is told before the model is loaded; then loads, then serves."""
    find_served(checkpoint, base=base)
    from submission.server import bind, build_app, serve

    with bind(host, port) as listener:
        console.say(f"loading {checkpoint}")
        model = load(checkpoint, base=base, precision=precision)
        from submission.engine import Engine

        adapter = str(model.lora_adapter) if model.lora_adapter else None
        health = Health(status="ok", model=str(model.path), lora_adapter=adapter, precision=model.precision)
        url = f"http://{host}:{listener.getsockname()[1]}"
        console.out.print(f"serving on {url} (Ctrl-C stops)", markup=False)
        with contextlib.suppress(KeyboardInterrupt):  # uvicorn has drained by then: the usual end
            serve(build_app(Engine(model), health), listener)


def run_try(prompt: str, text: str, *, checkpoint: Path, base: Path | None, max_new_tokens: int, raw: bool) -> str:
    """One greedy answer."""
    from submission.engine import Engine

    if not encodable(prompt, text):
        raise OnedayError("the prompt is not valid Unicode. Pass UTF-8 text.")
    engine = Engine(load(checkpoint, base=base))
    rendered = prompt if raw else training_prompt(prompt, text)
    return engine.process(ProcessRequest(prompt=rendered, max_new_tokens=max_new_tokens)).text.strip()
