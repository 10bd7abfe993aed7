"""`oneday build`: runs a builder and shows its counts."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from core.generation.engine import Engine, close
from core.model.folder import check_model_folder
from curation.builders.build import Built, build
from curation.builders.registry import BUILDERS, find_builder
from curation.builders.work import Line
from oneday.commands.engine import engine_of
from oneday.display.console import Console
from oneday.requests.building import BuildersRequest, BuildRequest, BuildTranslateRequest


def run_builders(request: BuildersRequest, console: Console) -> None:
    """Lists the builders."""
    about = {kind: builder.about for kind, builder in BUILDERS.items()}
    console.table("oneday build KIND", ["kind", "output"], list(map(list, about.items())))
    console.result({"builders": about})


def run_build(request: BuildRequest, console: Console) -> None:
    """Builds and shows the counts.

    Raises:
        OnedayError: an option or input cannot be used, or no row is left.
    """
    options_class = find_builder(request.kind).options
    options = options_class(**{f.name: getattr(request, f.name) for f in fields(options_class)})
    options.check()  # before a model is loaded
    predictor = _engine(request).build() if isinstance(request, BuildTranslateRequest) else None
    try:
        built = build(
            request.kind, options, request.run, predictor=predictor, redo=request.redo,
            on_progress=lambda what, done: console.status(f"{what}: {done:,}"),
        )  # fmt: skip
    finally:
        if predictor is not None:
            close(predictor)
    _show(built, console)
    console.result(as_result(request, built))


def as_result(request: BuildRequest, built: Built) -> dict[str, object]:
    """The machine-readable line."""
    files = [
        {"path": str(file.path), "rows": file.num_rows, "repeats": file.num_repeats, "sha256": file.sha256}
        for file in built.files.values()
    ]
    return {"run": str(request.run), "files": files, "tallies": built.tallies, "tables": built.tables}


def _engine(request: BuildTranslateRequest) -> Engine:
    engine = engine_of(request)
    engine.check_inner()
    if request.base is not None:
        check_model_folder(request.base)
    return engine


def _show(built: Built, console: Console) -> None:
    for title, lines in built.tables.items():
        _show_lines(title, lines, console)
    rows = [
        [f"{unit}s" if " " not in unit else unit, f"{tally.read:,}", f"{tally.kept:,}", _dropped(tally.dropped)]
        for unit, tally in built.tallies.items()
    ]
    console.table("counts", ["", "in", "kept", "dropped"], rows)
    for file in built.files.values():
        repeats = f", {file.num_repeats:,} of them a second time" if file.num_repeats else ""
        console.say(f"{file.path}: {file.num_rows:,} rows{repeats}")


def _show_lines(title: str, lines: Sequence[Line], console: Console) -> None:
    names = list(dict.fromkeys(name for line in lines for name in line))
    console.table(title, names, [[_cell(line.get(name)) for name in names] for line in lines])


def _cell(value: Any) -> str:
    return "" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


def _dropped(dropped: Mapping[str, int]) -> str:
    return ", ".join(f"{num:,} {reason}" for reason, num in dropped.items()) or "-"
