"""Builds data: writes the rows, the dropped records with their reasons, and a manifest into a folder.

    built = build("mix", MixOptions(base="en.jsonl", added="fi.jsonl", percent=(10,)), Path("runs/en-fi"))
    built.files["en-fi-10pct"].path, built.files["en-fi-10pct"].num_rows

`01_rows` holds one file for each output, with rows as `messages`, as `prompt`, `chosen` and `rejected`, or as `text`. A
folder that was built with the same options and inputs is not built again.

Where it sits: registry, work -> **build** -> the command line, and code that builds data for a training.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from core.errors import MixError, OnedayError
from core.files import file_sha256, read_jsonl
from core.generation.request import Predictor
from core.manifest import record
from core.model.token_counter import TokenCounter
from core.run_folder import CURATION, OWN, ROWS
from core.stage import DROPPED, Dropped, Stage, Summary, Tally, locked
from curation.builders.registry import find_builder
from curation.builders.work import BuildContext, BuildOptions, Line, Output

ANSWERS = "answers.jsonl"
"""The engine's answers, in the run folder. A build that is resumed repeats no request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltFile:
    """One file of rows."""

    path: Path
    num_rows: int
    num_repeats: int
    """Number of these rows that repeat an earlier one."""
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """The result of a build."""

    files: Mapping[str, BuiltFile]
    tallies: Mapping[str, Tally]
    tables: Mapping[str, Sequence[Line]]
    """Title -> lines of a table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _FileDetails:
    num_rows: int
    num_repeats: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Details:
    """The details in the summary of the stage."""

    files: Mapping[str, _FileDetails]
    tables: Mapping[str, Sequence[Line]]


def build(
    kind: str,
    options: BuildOptions,
    run: Path,
    *,
    predictor: Predictor | None = None,
    redo: bool = False,
    on_progress: Callable[[str, int], None] = lambda what, done: None,
) -> Built:
    """Builds, or returns the result of an earlier build.

    Args:
        run: The run folder. It is refused if it was built with other options or inputs.
        predictor: The engine, for a builder that needs one.
        redo: Delete what was built with other options or inputs.
        on_progress: Called with the name of an activity and the number of items done.
    Raises:
        OnedayError: an option or input cannot be used, or no row is left.
    """
    builder = find_builder(kind)
    assert isinstance(options, builder.options), f"{kind} takes {builder.options_name}"
    options.check()
    if builder.asks and predictor is None:
        raise MixError(f"{kind}: no engine to ask. Give `base=`, the folder of a model.")
    if taken := [name for name in (OWN, *CURATION) if (run / name).is_dir()]:
        raise MixError(f"{run / taken[0]}: this folder holds a curation. Give another `run=`.")
    with locked(run):
        inputs = {"kind": kind, **fingerprint(options), "engine": predictor.revision if predictor else None}
        stage = Stage(run / ROWS, inputs=inputs, redo=redo)
        if not stage.is_done:
            context = BuildContext(
                write_dropped=stage.drop, on_progress=on_progress, predictor=predictor, answers=run / ANSWERS
            )
            _work(stage, builder.outputs(options, context), context)
        built = _built(stage)
        said = {name: {"num_rows": file.num_rows, "sha256": file.sha256} for name, file in built.files.items()}
        record(run, "build", {**inputs, "files": said, "tallies": built.tallies})
    return built


def fingerprint(options: BuildOptions) -> dict[str, object]:
    """Returns everything that decides the rows: options, and hashes in place of paths."""
    inputs = [data.fingerprint() for data in options.inputs()]
    named = options.input_fields()
    values = {name: _value(value) for name, value in asdict(options).items() if name not in named}
    return {"options": values, "data": inputs}


def _value(value: object) -> object:
    if isinstance(value, Path):
        return TokenCounter.load(value).sha256 if value.is_dir() else file_sha256(value)
    return value


def _work(stage: Stage, outputs: Iterator[Output], context: BuildContext) -> None:
    """Writes every output and finishes the stage. If it fails, only `dropped.jsonl` is kept."""
    files: dict[str, _FileDetails] = {}
    tallies: dict[str, Tally] = {}
    try:
        for output in outputs:
            files[output.name], tallies[output.unit] = _write(stage, output, context)
    except OnedayError:
        stage.give_up()
        raise
    if not any(found.num_rows for found in files.values()):
        stage.give_up()
        raise MixError(_no_row(stage))
    before = {
        unit: stage.tally(unit, read=num, kept=num - context.num_dropped[unit])
        for unit, num in context.num_read.items()
    }
    stage.finish(Summary(tallies=before | tallies, details=_Details(files=files, tables=context.tables)))


def _write(stage: Stage, output: Output, context: BuildContext) -> tuple[_FileDetails, Tally]:
    counts = {"rows": 0, "repeats": 0}

    def lines() -> Iterator[dict[str, object]]:
        for item in output.items:
            if isinstance(item, Dropped):
                stage.drop(replace(item, unit=output.unit))
                continue
            counts["rows"] += 1
            counts["repeats"] += item.is_repeat
            yield item.as_json()

    stage.write_rows(f"{output.name}.jsonl", lines())
    kept = counts["rows"] - counts["repeats"]
    tally = stage.tally(output.unit, read=output.num_in(), kept=kept)
    context.on_progress(f"wrote {output.name}", counts["rows"])
    return _FileDetails(num_rows=counts["rows"], num_repeats=counts["repeats"]), tally


def _no_row(stage: Stage) -> str:
    """Why no row is left, with the first record that was dropped; its file is written."""
    first = next(read_jsonl(stage.path(DROPPED)), {})
    told = f"; the first one {first['detail']}" if first.get("detail") else ""
    mend = "Correct the input (FILE#KEY takes a part of each record), or the options that drop rows."
    return f"no row is left ({_reasons(stage)}{told}). {mend}"


def _reasons(stage: Stage) -> str:
    counts = sorted(stage.num_dropped.items(), key=lambda item: -item[1])
    return ", ".join(f"{num:,} {reason}" for (_, reason), num in counts) or "nothing was read"


def _built(stage: Stage) -> Built:
    """Reads the result from the folder, so that a new build and a finished one give the same."""
    summary, details = stage.summary(), stage.details(_Details)
    files = {}
    for name, found in details.files.items():
        path = stage.path(f"{name}.jsonl")
        files[name] = BuiltFile(
            path=path, num_rows=found.num_rows, num_repeats=found.num_repeats, sha256=file_sha256(path)
        )
    return Built(files=files, tallies=summary.tallies, tables=details.tables)
