"""The sources of the mix: the paper's Table 1, and where each source is found.

    targets = mix_targets("200k", scale=1.0, without=frozenset({"lima"}))
    located = locate(targets, near=[Path("tasks")], given={"quac": "hub"}, hub=False, resolve=...)

A source is a local file (`quac.parquet`), or comes from the datasets hub (`hub`, or with a revision: `hub@REVISION`).
A folder with the source's name beside the folder of tasks is found automatically.

Where it sits: before the draw; `record.py` maps its records to rows.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import orjson

from core.errors import SourceError
from core.files import JSON_OPTIONS, file_sha256, sha256
from core.generation.request import Kind
from curation.ni.select import own_name

NI_EXACT_MATCH, NI_GENERATION = "ni_exact_match", "ni_generation"
LIMA, PLATYPUS, OPENBOOKQA, QUAC = "lima", "open-platypus", "openbookqa", "quac"
CNN_DAILYMAIL, MATHINSTRUCT = "cnn_dailymail", "mathinstruct"

NI_SOURCES = {Kind.EXACT_MATCH: NI_EXACT_MATCH, Kind.GENERATION: NI_GENERATION}

_COLUMNS = (LIMA, PLATYPUS, NI_EXACT_MATCH, NI_GENERATION, OPENBOOKQA, QUAC, CNN_DAILYMAIL, MATHINSTRUCT)

MIXES: Mapping[str, Mapping[str, int]] = {
    "200k": dict(zip(_COLUMNS, (1_000, 25_000, 50_000, 50_000, 5_000, 10_000, 15_000, 50_000), strict=True)),
    "400k": dict(zip(_COLUMNS, (1_000, 25_000, 110_000, 110_000, 5_000, 10_000, 28_000, 100_000), strict=True)),
    "700k": dict(zip(_COLUMNS, (1_000, 25_000, 220_000, 220_000, 5_000, 10_000, 28_000, 200_000), strict=True)),
}
"""Rows by source. Source: the paper's Table 1; the columns sum to 206K, 389K and 709K."""

EPOCHS: Mapping[str, int] = {"200k": 3, "400k": 2, "700k": 1}
"""Number of epochs of the paper's run on each mix."""

_OTHERS = (55e6 - 100_000 * 192) / sum(n for source, n in MIXES["200k"].items() if source not in NI_SOURCES.values())

ESTIMATED_TOKENS = {source: 192.0 if source in NI_SOURCES.values() else _OTHERS for source in MIXES["200k"]}
"""Estimated tokens of a row, for a plan without a mix. NI rows of 80 tasks have 192 tokens with Mistral's tokenizer
(measured). The other sources share the rest of the 200K mix's 55 million tokens, a figure that is known to a fifth."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A data set other than NI, as described on its hub page."""

    hub: str
    config: str | None
    split: str
    revision: str | None
    """Branch to resolve; None: the main one."""
    files: str | None
    """The file to read if the repository has a loading script; None: the data set itself."""
    licence: str
    language: str
    """The language that its card declares; empty: it is detected for each row."""


SOURCES: Mapping[str, Source] = {
    LIMA: Source(
        hub="GAIR/lima", config=None, split="train", revision=None, files="train.jsonl",
        licence="CC BY-NC-SA", language="",
    ),
    PLATYPUS: Source(
        hub="garage-bAInd/Open-Platypus", config=None, split="train", revision=None, files=None,
        licence="Unknown", language="",
    ),
    OPENBOOKQA: Source(
        hub="allenai/openbookqa", config="main", split="train", revision=None, files=None,
        licence="Unknown", language="en",
    ),
    QUAC: Source(
        hub="allenai/quac", config="plain_text", split="train", revision="refs/convert/parquet", files=None,
        licence="MIT", language="en",
    ),
    CNN_DAILYMAIL: Source(
        hub="abisee/cnn_dailymail", config="3.0.0", split="train", revision=None, files=None,
        licence="Apache 2.0", language="en",
    ),
    MATHINSTRUCT: Source(
        hub="TIGER-Lab/MathInstruct", config=None, split="train", revision=None, files=None,
        licence="MIT", language="en",
    ),
}  # fmt: skip
"""The sources of Table 1 other than NI. Of duplicate rows, the row of the first source stays."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MixRow:
    """One row of the mix, from any source. One line of `train.jsonl` and `validation.jsonl`."""

    id: str
    source: str
    task: str
    """NI task, or part of the source."""
    origin: str
    """The place in the original data: data set or file, and record."""
    licence: str
    """As the source writes it; several licences are joined by ` | `."""
    spdx: str
    language: str
    """ISO 639-1 code as declared; empty if it is not declared."""
    llm_generated: bool
    instruction: str
    input: str
    output: str
    kind: str = ""
    """How its task is scored: `exact_match` or `generation`; empty for other sources."""
    bucket: int | None = None
    """Of its task (exact match) or of the base model's answer (generation); None: the base was not asked."""
    num_tokens: int = 0
    """With template, BOS and EOS; 0: not counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DialogueRow(MixRow):
    """A row whose conversation is trained. Its instruction and output are the question that the base was asked."""

    messages: tuple[Mapping[str, object], ...] = ()
    """As in OpenAI's layout; a `weight` of 0 marks an answer that is not trained."""
    tools: tuple[Mapping[str, object], ...] = ()


def row_line(row: MixRow) -> bytes:
    """A row as a JSON line. `num_tokens` is its last field."""
    if not isinstance(row, DialogueRow):
        return orjson.dumps(row, option=JSON_OPTIONS)
    columns = {field.name: getattr(row, field.name) for field in fields(row)}
    num_tokens = columns.pop("num_tokens")
    return orjson.dumps({**columns, "num_tokens": num_tokens}, option=JSON_OPTIONS)


def read_row(line: bytes) -> MixRow:
    """The row of a line that `row_line` wrote."""
    columns = orjson.loads(line)
    return DialogueRow(**columns) if "messages" in columns else MixRow(**columns)


def source_of(kind: Kind, categories: Sequence[str]) -> str:
    """The source of a task's rows: the name of the user's file for own rows, else the name in Table 1."""
    return own_name(categories) or NI_SOURCES[kind]


def mix_targets(mix: str | None, scale: float, without: frozenset[str], named: Collection[str] = ()) -> dict[str, int]:
    """Rows wanted per source, without own rows.

    Args:
        mix: None: NI only, with as many rows as in the smallest mix.
        named: Further sources, if `mix` is None.

    Raises:
        SourceError: unknown mix or source, or a scale outside (0, 1].
    """
    if mix is not None and mix not in MIXES:
        raise SourceError(f"`mix={mix}`: unknown mix. Use {', '.join(MIXES)}.")
    table = MIXES[mix or "200k"]
    if not 0 < scale <= 1:
        raise SourceError(f"`scale={scale}`: not in (0, 1]. `scale=0.01` takes one row of a hundred.")
    unknown = sorted(without - set(table))
    if unknown:
        raise SourceError(f"`without={unknown[0]}`: unknown source. Use {', '.join(table)}.")
    named_or_mixed = set(table) if mix is not None else {*NI_SOURCES.values(), *named}
    wanted = {name: max(1, round(count * scale)) for name, count in table.items() if name in named_or_mixed - without}
    if not wanted:
        raise SourceError("`without=` leaves no source at all. Keep one.")
    return wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class Located:
    """Where a source is read from, and the revision of its content."""

    name: str
    paths: tuple[Path, ...]
    """Local files in reading order; none: the hub."""
    hub: str
    """The data set's name, or a local folder laid out like one."""
    revision: str
    """Commit on the hub, or hash of the files."""

    def fingerprint(self) -> dict[str, str]:
        """The source as it stands in the manifest: its content, not its path."""
        return {"from": "files" if self.paths else self.hub, "revision": self.revision}


Resolve = Callable[[str, str | None], str]
"""(data set, branch or commit) -> commit."""


def locate(
    targets: Mapping[str, int], *, near: Sequence[Path], given: Mapping[str, str], hub: bool, resolve: Resolve
) -> dict[str, Located]:
    """Finds every wanted source other than NI.

    Args:
        targets: Rows per source.
        near: Folders of tasks. `<name>/*` beside such a folder or beside its parent is found automatically.
        given: Source -> file, `hub`, `hub@REVISION` or `hub:DATASET@REVISION`.
        hub: Take sources that are not found from the hub.
        resolve: Asks the hub for a commit; called for hub sources only.
    Raises:
        SourceError: a given name is not a source of this mix, or a file or source is not found.
    """
    wanted = [name for name in SOURCES if name in targets]
    stray = sorted(set(given) - set(wanted))
    if stray:
        raise SourceError(f"`source={stray[0]}`: not a source of this mix. Use {', '.join(wanted) or 'none'}.")
    located: dict[str, Located] = {}
    missing = []
    for name in wanted:
        where = given.get(name)
        if where is not None and _HUB.match(where):
            located[name] = _on_hub(name, where, resolve)
            continue
        paths = _given(name, Path(where)) if where is not None else _beside(name, near)
        if paths:
            digest = "\n".join(map(file_sha256, paths))
            revision = digest if len(paths) == 1 else sha256(digest.encode())
            located[name] = Located(name=name, paths=paths, hub=SOURCES[name].hub, revision=revision)
        elif hub:
            located[name] = _on_hub(name, "hub", resolve)
        else:
            missing.append(name)
    if missing:
        fetch = ", ".join(f"{name} ({SOURCES[name].hub})" for name in missing)
        raise SourceError(
            f"not found beside the tasks: {fetch}. Fetch them and pass `source={missing[0]}=FILE`, let `hub=true` "
            f"fetch them from the datasets hub, or leave them out: `without={','.join(missing)}`."
        )
    return located


def _on_hub(name: str, where: str, resolve: Resolve) -> Located:
    """`hub`, `hub@REVISION`, `hub:DATASET` or `hub:DATASET@REVISION`."""
    dataset, _, revision = where.removeprefix("hub").removeprefix(":").partition("@")
    hub = dataset or SOURCES[name].hub
    return Located(name=name, paths=(), hub=hub, revision=resolve(hub, revision or SOURCES[name].revision))


_HUB = re.compile(r"hub(?:$|[@:])")


def _given(name: str, path: Path) -> tuple[Path, ...]:
    if path.is_file():
        return (path,)
    if not path.is_dir():
        raise SourceError(f"`source={name}={path}`: no such file. Check the path.")
    paths = _of_folder(name, path)
    if not paths:
        raise SourceError(f"`source={name}={path}`: no .jsonl, .json or .parquet in it. Give a file.")
    return paths


def _beside(name: str, near: Sequence[Path]) -> tuple[Path, ...]:
    for tasks in near:
        for folder in list(tasks.resolve().parents)[:2]:
            if paths := _of_folder(name, folder / name):
                return paths
    return ()


def _of_folder(name: str, folder: Path) -> tuple[Path, ...]:
    """The data files of a folder: those of the training split if files are named by split, else the only file."""
    files = sorted(p for p in folder.glob("*") if p.suffix in (".jsonl", ".json", ".parquet"))
    files = [p for p in files if p.name != "dataset_info.json"]
    train = [p for p in files if "train" in p.stem]
    if not train and len(files) > 1:
        names = ", ".join(p.name for p in files[:4])
        raise SourceError(f"{folder}: which of {names} is to be trained on? Say it with `source={name}=FILE`.")
    return tuple(train or files)
