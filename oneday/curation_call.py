"""How a curation was called, in its run's manifest, so that it can be done again, also where paths are others.

    record(run, "curate", {..., "call": curation_call(curation, engine)})
    again = curation_again(recorded_run, section, run=Path("runs/again"), tasks=(), base=base, redo=False)

The manifest has the parameters and every stage's hashes anyway; this adds where task files, sources and engine were.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from curation.errors import MixError
from curation.predictors.engine import Engine
from curation.preset import CurationParameters
from curation.source import Located
from curation.stages.context import Curation
from curation.task import task_paths
from curation.tokens import MISTRAL_7B, TokenCounter

RUN, BASE = "{run}", "{base}"
"""Stand for the run's folder and the base model's, which move."""


def curation_call(curation: Curation, engine: Engine) -> dict[str, Any]:
    """Paths are absolute or begin with a folder that moves; all of it is JSON."""
    folders = {RUN: curation.run.resolve(), **({BASE: engine.base.resolve()} if engine.base else {})}

    def place(path: Path) -> str:
        for name, folder in folders.items():
            if path.resolve().is_relative_to(folder):
                return f"{name}/{path.resolve().relative_to(folder)}"
        return str(path.resolve())

    shipped = curation.tokenizer is not None and curation.tokenizer == TokenCounter.mistral_7b().path
    call = {
        "tasks": [place(path) for path in curation.tasks],
        "sources": {name: asdict(located) for name, located in curation.sources.items()},
        "suites": {name: place(path) for name, path in curation.suites.items()},
        "tokenizer": MISTRAL_7B if shipped else place(curation.tokenizer) if curation.tokenizer else None,
        "engine": asdict(engine),
    }
    as_json: dict[str, Any] = json.loads(json.dumps(call, default=lambda path: str(path.resolve())))
    return as_json


def curation_again(
    recorded: Path, section: Mapping[str, Any], *, run: Path, tasks: tuple[Path, ...], base: Path, redo: bool
) -> Curation:
    """The same curation for another run folder, its predictor built last.

    Args:
        recorded: The run folder with the manifest.
        section: `curate` of that manifest.
        tasks: Where the task files are now; none: where they were.
        base: Where the base model is now.

    Raises:
        OnedayError: the manifest does not say how the curation was called, or something is no longer there.
    """
    if "call" not in section:
        raise MixError(f"{recorded}: its manifest does not say how to curate. Leave --curate out.")
    call = section["call"]
    folders = {RUN: str(recorded), BASE: str(base)}

    def found(place: str) -> Path:
        name, separator, rest = place.partition("/")
        path = Path(folders[name] + separator + rest) if name in folders else Path(place)
        if not path.exists():
            raise MixError(f"{path}: it was there when the mix was curated. Bring it back, or leave --curate out.")
        return path

    try:
        parameters = TypeAdapter(CurationParameters).validate_python(section["parameters"])
        sources = TypeAdapter(dict[str, Located]).validate_python(call["sources"])
        engine = TypeAdapter(Engine).validate_python(call["engine"])
        places = tasks or tuple(found(place) for place in call["tasks"])
        suites = {name: found(place) for name, place in call["suites"].items()}
        tokenizer = call["tokenizer"]
        if tokenizer is not None:
            tokenizer = TokenCounter.mistral_7b().path if tokenizer == MISTRAL_7B else found(tokenizer)
    except (ValidationError, KeyError, TypeError, AttributeError) as e:
        raise MixError(
            f"{recorded}: its manifest's section curate is damaged ({type(e).__name__}). Leave --curate out."
        ) from e
    for path in [*engine.predictions, *(path for located in sources.values() for path in located.paths)]:
        found(str(path))
    task_paths(places)
    if engine.base is not None:
        engine = replace(engine, base=base)
    return Curation(
        run=run,
        tasks=places,
        predictor=engine.build(),
        parameters=parameters,
        sources=sources,
        suites=suites,
        tokenizer=tokenizer,
        redo=redo,
    )
