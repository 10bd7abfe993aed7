"""The call of a curation in its run's manifest, from which it can be repeated, even if paths have changed.

    record(run, "curate", {..., "call": curation_call(curation, engine)})
    again = curation_again(recorded_run, section, run=Path("runs/again"), tasks=(), base=base, redo=False)

The manifest also has the parameters and every stage's hashes; the call adds the places of task files, sources and
engine.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
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
"""Placeholders for the folders of the run and of the base model, which may be moved."""


def curation_call(curation: Curation, engine: Engine) -> dict[str, object]:
    """The call as JSON values. Paths are absolute or begin with a placeholder."""
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
        "probe_losses": place(curation.probe_losses) if curation.probe_losses else None,
        "tokenizer": MISTRAL_7B if shipped else place(curation.tokenizer) if curation.tokenizer else None,
        "engine": {**asdict(replace(engine, url=_without_secrets(engine.url))), **_NOT_RECORDED},
    }
    as_json: dict[str, object] = json.loads(json.dumps(call, default=lambda path: str(path.resolve())))
    return as_json


_NOT_RECORDED = {"sends_key": False}
"""Whoever repeats a run decides where a key is sent."""


def _without_secrets(url: str | None) -> str | None:
    """The address without user, password and query, because manifests are passed on to others."""
    if url is None:
        return None
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment=""))


@dataclass(frozen=True, slots=True, kw_only=True)
class Servers:
    """Addresses given on the command line; None: the manifest's address, without a key."""

    url: str | None = None
    ray_address: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedCall:
    """What `curation_call` has recorded."""

    tasks: tuple[str, ...]
    sources: Mapping[str, Located]
    suites: Mapping[str, str]
    tokenizer: str | None
    engine: Engine
    probe_losses: str | None = None


def recorded_engine(recorded: Path, section: Mapping[str, object], servers: Servers) -> Engine:
    """The recorded engine, with the servers of this call.

    A manifest may come from somebody else. A server that it names gets requests, but no key. A Ray cluster that it
    names is not joined, because code would run there and here.

    Raises:
        MixError: The manifest has no call of a curation, or a damaged one.
    """
    engine = _recorded_call(recorded, section).engine
    return replace(
        engine, url=servers.url or engine.url, sends_key=servers.url is not None, ray_address=servers.ray_address
    )


def _recorded_call(recorded: Path, section: Mapping[str, object]) -> RecordedCall:
    if "call" not in section:
        raise MixError(f"{recorded}: its manifest does not record how the mix was curated. Leave --curate out.")
    try:
        return TypeAdapter(RecordedCall).validate_python(section["call"])
    except ValidationError as e:
        raise _damaged(recorded, e) from e


def _damaged(recorded: Path, e: Exception) -> MixError:
    return MixError(f"{recorded}: its manifest's section curate is damaged ({type(e).__name__}). Leave --curate out.")


def curation_again(
    recorded: Path,
    section: Mapping[str, object],
    *,
    run: Path,
    tasks: tuple[Path, ...],
    base: Path,
    redo: bool,
    servers: Servers | None = None,
) -> Curation:
    """The recorded curation for another run folder; its predictor is built last, because loading takes longest.

    Args:
        recorded: The run folder with the manifest.
        section: Section `curate` of that manifest.
        tasks: Present paths of the task files; empty: the recorded ones. Own rows are in the recorded run.
        base: Present folder of the base model.
        servers: Addresses of this call.

    Raises:
        OnedayError: The manifest does not record the call, or a file no longer exists.
    """
    engine = recorded_engine(recorded, section, servers or Servers())
    call = _recorded_call(recorded, section)
    try:
        parameters = TypeAdapter(CurationParameters).validate_python(section.get("parameters"))
    except ValidationError as e:
        raise _damaged(recorded, e) from e
    folders = {RUN: str(recorded), BASE: str(base)}

    def existing(place: str) -> Path:
        name, separator, rest = place.partition("/")
        path = Path(folders[name] + separator + rest) if name in folders else Path(place)
        if not path.exists():
            raise MixError(f"{path}: no such file; the recorded curation read it. Restore it, or leave --curate out.")
        return path

    places = tasks or tuple(map(existing, call.tasks))
    suites = {name: existing(place) for name, place in call.suites.items()}
    tokenizer = None
    if call.tokenizer is not None:
        tokenizer = TokenCounter.mistral_7b().path if call.tokenizer == MISTRAL_7B else existing(call.tokenizer)
    for path in [*engine.predictions, *(path for located in call.sources.values() for path in located.paths)]:
        existing(str(path))
    own = tuple(existing(place) for place in call.tasks if place.startswith(f"{RUN}/{OWN}/"))
    places = (*places, *(path for path in own if path not in places))
    task_paths(places)
    if engine.base is not None:
        engine = replace(engine, base=base)
    again = Curation(
        run=run,
        tasks=places,
        predictor=NoPredictor(),
        parameters=parameters,
        sources=call.sources,
        suites=suites,
        probe_losses=existing(call.probe_losses) if call.probe_losses else None,
        tokenizer=tokenizer,
        redo=redo,
    )
    return replace(again, predictor=engine.build()) if asks_anything(again) else again
