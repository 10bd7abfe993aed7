"""How a curation was called, in its run's manifest, so that it can be done again, also where paths are others.

    record(run, "curate", {..., "call": curation_call(curation, engine)})
    again = curation_again(recorded_run, section, run=Path("runs/again"), tasks=(), base=base, redo=False)

The manifest has the parameters and every stage's hashes anyway; this adds where task files, sources and engine were.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from pydantic import TypeAdapter, ValidationError

from core.errors import MixError
from core.generation.engine import Engine
from core.generation.none import NoPredictor
from core.model.token_counter import MISTRAL_7B, TokenCounter
from core.run_folder import OWN
from curation.ni.task import task_paths
from curation.preset import CurationParameters
from curation.sources.source import Located
from curation.stages.context import Curation, asks_anything

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
        "engine": {**asdict(replace(engine, url=_without_secrets(engine.url))), **_NOT_RECORDED},
    }
    as_json: dict[str, Any] = json.loads(json.dumps(call, default=lambda path: str(path.resolve())))
    return as_json


_NOT_RECORDED = {"sends_key": False}
"""Who repeats a run decides himself where a key goes."""


def _without_secrets(url: str | None) -> str | None:
    """An address without user, password and query: a manifest is handed on."""
    if url is None:
        return None
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment=""))


@dataclass(frozen=True, slots=True, kw_only=True)
class Servers:
    """Where to ask, as given on this command line; None: where the manifest says, without a key."""

    url: str | None = None
    ray_address: str | None = None


def recorded_engine(recorded: Path, section: Mapping[str, Any], servers: Servers) -> Engine:
    """How the base was asked, and where it will be asked.

    A manifest may be somebody else's. The server that it names is asked, but gets no key; a Ray cluster that it names
    would run code here and there, and is not joined.

    Raises:
        MixError: the manifest does not say how the curation was called.
    """
    if "call" not in section:
        raise MixError(f"{recorded}: its manifest does not say how to curate. Leave --curate out.")
    try:
        engine = TypeAdapter(Engine).validate_python(section["call"]["engine"])
    except (ValidationError, KeyError, TypeError, AttributeError) as e:
        raise _damaged(recorded, e) from e
    return replace(
        engine, url=servers.url or engine.url, sends_key=servers.url is not None, ray_address=servers.ray_address
    )


def _damaged(recorded: Path, e: Exception) -> MixError:
    return MixError(f"{recorded}: its manifest's section curate is damaged ({type(e).__name__}). Leave --curate out.")


def curation_again(
    recorded: Path,
    section: Mapping[str, Any],
    *,
    run: Path,
    tasks: tuple[Path, ...],
    base: Path,
    redo: bool,
    servers: Servers | None = None,
) -> Curation:
    """The same curation for another run folder, its predictor built last.

    Args:
        recorded: The run folder with the manifest.
        section: `curate` of that manifest.
        tasks: Where the task files are now; none: where they were. Own rows are in the recorded run.
        base: Where the base model is now.
        servers: Where to ask.

    Raises:
        OnedayError: the manifest does not say how the curation was called, or something is no longer there.
    """
    engine = recorded_engine(recorded, section, servers or Servers())
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
        places = tasks or tuple(found(place) for place in call["tasks"])
        suites = {name: found(place) for name, place in call["suites"].items()}
        tokenizer = call["tokenizer"]
        if tokenizer is not None:
            tokenizer = TokenCounter.mistral_7b().path if tokenizer == MISTRAL_7B else found(tokenizer)
    except (ValidationError, KeyError, TypeError, AttributeError) as e:
        raise _damaged(recorded, e) from e
    for path in [*engine.predictions, *(path for located in sources.values() for path in located.paths)]:
        found(str(path))
    own = tuple(found(place) for place in call["tasks"] if place.startswith(f"{RUN}/{OWN}/"))
    places = (*places, *(path for path in own if path not in places))
    task_paths(places)
    if engine.base is not None:
        engine = replace(engine, base=base)
    again = Curation(
        run=run,
        tasks=places,
        predictor=NoPredictor(),
        parameters=parameters,
        sources=sources,
        suites=suites,
        tokenizer=tokenizer,
        redo=redo,
    )
    return replace(again, predictor=engine.build()) if asks_anything(again) else again
