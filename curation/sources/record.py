"""Reads the records of the other sources and maps them to rows.

    for row in read_source(located["quac"], RecordParameters()):
        ...

One function per data set maps its published schema to instruction, input and output. The wording of an instruction is
this project's if the winner's was not published.

Where it sits: source -> **record** -> policy.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from core.errors import SourceError
from core.files import encodable, file_sha256, read_jsonl, sha256
from core.model.libraries import hub
from core.stage import Dropped
from curation.policies.licence import spdx_expression
from curation.sources.mapping import (
    Mapped,
    Record,
    RecordParameters,
    map_cnn_dailymail,
    map_lima,
    map_mathinstruct,
    map_openbookqa,
    map_platypus,
    map_quac,
    quac_dialogues,
)
from curation.sources.source import (
    CNN_DAILYMAIL,
    LIMA,
    MATHINSTRUCT,
    OPENBOOKQA,
    PLATYPUS,
    QUAC,
    SOURCES,
    Located,
    MixRow,
)

_Mapper = Callable[[Record, int, RecordParameters], Mapped]


def read_source(
    located: Located, parameters: RecordParameters, *, load: Callable[[Located], Iterator[Record]] | None = None
) -> Iterator[MixRow | Dropped]:
    """Yields every record as a row, or as dropped with its reason.

    Args:
        load: Reads the records; by default from the file or the hub.
    Raises:
        SourceError: the first record does not have the source's columns, or there is none.
    """
    source = SOURCES[located.name]
    mapper, columns = _MAPPERS[located.name]
    where = ", ".join(map(str, located.paths)) or located.hub
    num = 0
    for num, record in enumerate((load or records)(located), start=1):
        if num == 1 and not set(columns) <= set(record):
            raise SourceError(
                f"{where}: not {source.hub}: its first record has {', '.join(sorted(record))}, "
                f"not {', '.join(columns)}. Check `source={located.name}`."
            )
        row_id = f"{located.name}-{num:06d}"
        try:
            mapped = mapper(record, num, parameters)
            texts = (mapped.instruction, mapped.input, mapped.output)
            fit = bool(mapped.output.strip() and "".join(texts[:2]).strip()) and encodable(*texts)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError):
            fit = False
        if not fit:
            yield Dropped(unit="row", id=row_id, reason="malformed", detail=f"{where}: record {num}")
            continue
        if mapped.left_out:
            yield Dropped(unit="row", id=row_id, reason=mapped.left_out, detail=f"{where}: record {num}")
            continue
        licence = mapped.licence or source.licence
        if parameters.question_as_input and not mapped.input:
            mapped = replace(mapped, instruction="", input=mapped.instruction)
        yield MixRow(
            id=row_id,
            source=located.name,
            task=mapped.part or located.name,
            origin=f"{source.hub}#{num}",
            licence=licence,
            spdx=spdx_expression([licence]),
            language=source.language,
            llm_generated=mapped.llm_generated,
            instruction=mapped.instruction,
            input=mapped.input,
            output=mapped.output.strip(),
        )
    if num == 0:
        raise SourceError(f"{where}: no record in it. Check `source={located.name}`.")


def records(located: Located, *, asks_hub: bool = False) -> Iterator[Record]:
    """The records of a local file or of the hub.

    Args:
        asks_hub: Also where the environment says HF_HUB_OFFLINE.

    Raises:
        SourceError: unreadable, of an unknown kind, or the hub cannot be reached.
    """
    if not located.paths:
        return _hub_records(located, asks_hub=asks_hub)
    return itertools.chain.from_iterable(map(_file_records, located.paths))


def _file_records(path: Path) -> Iterator[Record]:
    if path.suffix == ".jsonl":
        return read_jsonl(path)
    if path.suffix == ".parquet":
        return _parquet_records(path)
    if path.suffix == ".json":
        return _json_records(path)
    raise SourceError(f"{path}: unknown kind of file. Give .jsonl, .json or .parquet.")


def _parquet_records(path: Path) -> Iterator[Record]:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=1024):
                yield from batch.to_pylist()
    except (OSError, pyarrow.ArrowException) as e:
        raise SourceError(f"{path}: not Parquet ({str(e).splitlines()[0]}). Fetch it again.") from e


def _json_records(path: Path) -> Iterator[Record]:
    import orjson

    try:
        document = orjson.loads(path.read_bytes())
        if isinstance(document, dict) and "data" in document:
            document = list(quac_dialogues(document["data"]))
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError) as e:
        raise SourceError(f"{path}: not JSON of a known layout ({e}). Give a list of records, or JSON lines.") from e
    if not isinstance(document, list) or not all(isinstance(item, dict) for item in document):
        raise SourceError(f"{path}: not a list of records. Give one, or JSON lines.")
    yield from document


def resolve_on_hub(dataset: str, revision: str | None, *, asks_hub: bool = False) -> str:
    """The commit that a branch of a hub data set points to; for a local folder, a hash of its files.

    Args:
        asks_hub: Also where the environment says HF_HUB_OFFLINE.

    Raises:
        SourceError: unknown, gated, or no network.
    """
    if Path(dataset).is_dir():
        files = sorted(path for path in Path(dataset).rglob("*") if path.is_file())
        return sha256("\n".join(f"{path.relative_to(dataset)} {file_sha256(path)}" for path in files).encode())
    import httpx
    from huggingface_hub import HfApi

    try:
        with hub(is_asked_for=asks_hub):
            return str(HfApi().dataset_info(dataset, revision=revision).sha)
    except (httpx.HTTPError, OSError, ValueError, RuntimeError) as e:
        raise SourceError(_unreachable(dataset, e)) from e


def _hub_records(located: Located, *, asks_hub: bool) -> Iterator[Record]:
    import datasets
    import httpx

    source = SOURCES[located.name]
    local = Path(located.hub).is_dir()
    revision = None if local else located.revision
    try:
        with hub(is_asked_for=asks_hub):
            if source.files:
                where = located.hub if local else f"hf://datasets/{located.hub}@{located.revision}"
                files = f"{where}/{source.files}"
                data = datasets.load_dataset("json", data_files={source.split: files}, split=source.split)
            else:
                data = datasets.load_dataset(located.hub, source.config, split=source.split, revision=revision)
    except (httpx.HTTPError, OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as e:
        raise SourceError(_unreachable(located.hub, e)) from e
    yield from data


def _unreachable(dataset: str, e: Exception) -> str:
    told = e.__cause__ if isinstance(e.__cause__, Exception) else e
    why = next(iter(str(told).splitlines()), "") or type(told).__name__
    return (
        f"{dataset}: cannot be had from the datasets hub ({why}). Check the network, HF_HUB_OFFLINE and, for a gated "
        "one, `hf auth login`; or fetch a file and pass `source=NAME=FILE`."
    )


_MAPPERS: Mapping[str, tuple[_Mapper, tuple[str, ...]]] = {
    LIMA: (map_lima, ("conversations",)),
    PLATYPUS: (map_platypus, ("instruction", "output", "data_source")),
    OPENBOOKQA: (map_openbookqa, ("question_stem", "choices", "answerKey")),
    QUAC: (map_quac, ("context", "questions", "answers", "wikipedia_page_title", "section_title")),
    CNN_DAILYMAIL: (map_cnn_dailymail, ("article", "highlights")),
    MATHINSTRUCT: (map_mathinstruct, ("source", "instruction", "output")),
}
"""Source -> its mapping function and the columns that identify its records."""
