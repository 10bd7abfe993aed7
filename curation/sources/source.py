"""The sources of the mix: the paper's Table 1, and where each one is to be had.

    targets = mix_targets("200k", scale=1.0, without=frozenset({"lima"}))
    located = locate(targets, near=[Path("tasks")], given={"quac": "hub"}, hub=False, resolve=...)

A source is a local file (`quac.parquet`), or comes from the datasets hub (`hub`, or pinned:
`hub@REVISION`). What lies beside the folder of tasks under its name is found by itself.

Where it sits: beside the samples, before the draw; `record.py` turns its records into rows.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from core.errors import SourceError
from core.files import file_sha256, sha256
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
"""Rows per source. Source: the paper's Table 1; the columns sum to 206K, 389K and 709K."""

EPOCHS: Mapping[str, int] = {"200k": 3, "400k": 2, "700k": 1}
"""How often the paper's runs saw each mix."""

_OTHERS = (55e6 - 100_000 * 192) / sum(n for source, n in MIXES["200k"].items() if source not in NI_SOURCES.values())

ESTIMATED_TOKENS = {source: 192.0 if source in NI_SOURCES.values() else _OTHERS for source in MIXES["200k"]}
"""Of a row, for a plan without a mix: NI rows of 80 tasks had 192 tokens by Mistral's tokenizer (measured); the others
share what is left of the 200K mix's 55 million, which is known to a fifth."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A data set other than NI, as its hub page describes it."""

    hub: str
    config: str | None
    split: str
    revision: str | None
    """Branch to resolve; None: the main one."""
    files: str | None
    """Where a repository's loading script stands in the way: the file to read instead."""
    licence: str
    language: str
    """Declared by its card; empty: told from each row."""


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
"""Everything of Table 1 that is not NI, in the order in which duplicates are told: the first row stays."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MixRow:
    """One row of the mix, from any source. One line of `train.jsonl` and `validation.jsonl`."""

    id: str
    source: str
    task: str
    """NI task, or the part of its source that a row comes from."""
    origin: str
    """Where it stands upstream: data set or file, and the record."""
    licence: str
    """As the source writes it; several are joined by ` | `."""
    spdx: str
    language: str
    """ISO 639-1 as declared; empty if nobody did."""
    llm_generated: bool
    instruction: str
    input: str
    output: str
    kind: str = ""
    """How its task is scored: `exact_match` or `generation`; empty: the base was not asked and nothing was typed."""
    bucket: int | None = None
    """Of its task (exact match) or of the base model's answer (generation); None: the base was not asked."""
    num_tokens: int = 0
    """As trained on: template, BOS and EOS included. 0: not counted."""


def source_of(kind: Kind, categories: Sequence[str]) -> str:
    """What the rows of a task are called: by the user's own name if they are the user's, else as Table 1 does."""
    return own_name(categories) or NI_SOURCES[kind]


def mix_targets(mix: str | None, scale: float, without: frozenset[str], named: Collection[str] = ()) -> dict[str, int]:
    """Rows wanted per source; the user's own are not among them.

    Args:
        mix: None: NI alone, as many rows as the smallest mix has.
        named: Sources that are wanted although no mix asks for them.

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
    asked = set(table) if mix is not None else {*NI_SOURCES.values(), *named}
    wanted = {name: max(1, round(count * scale)) for name, count in table.items() if name in asked - without}
    if not wanted:
        raise SourceError("`without=` leaves no source at all. Keep one.")
    return wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class Located:
    """Where a source is read from, and what pins its content."""

    name: str
    paths: tuple[Path, ...]
    """Local files, in the order they are read; none: the hub."""
    hub: str
    """The data set's name, or a local folder laid out like one."""
    revision: str
    """Commit on the hub, or the files' hash."""

    def fingerprint(self) -> dict[str, str]:
        """What goes into the manifest: content, not place."""
        return {"from": "files" if self.paths else self.hub, "revision": self.revision}


Resolve = Callable[[str, str | None], str]
"""(data set, branch or commit) -> commit."""


def locate(
    targets: Mapping[str, int], *, near: Sequence[Path], given: Mapping[str, str], hub: bool, resolve: Resolve
) -> dict[str, Located]:
    """Finds every source that is wanted and is not NI.

    Args:
        targets: Rows per source.
        near: Folders of tasks; `<name>/*` beside one or beside its parent is found by itself.
        given: Source -> file, `hub`, `hub@REVISION` or `hub:DATASET@REVISION`.
        hub: Take from the hub what is not found.
        resolve: Asks the hub for a commit; called for hub sources only.
    Raises:
        SourceError: a given name is no source of this mix, a file is missing, or sources are nowhere to be found.
    """
    wanted = [name for name in SOURCES if name in targets]
    stray = sorted(set(given) - set(wanted))
    if stray:
        raise SourceError(f"`source={stray[0]}`: not a source of this mix. Use {', '.join(wanted) or 'none'}.")
    found: dict[str, Located] = {}
    missing = []
    for name in wanted:
        where = given.get(name)
        if where is not None and _HUB.match(where):
            found[name] = _on_hub(name, where, resolve)
            continue
        paths = _given(name, Path(where)) if where is not None else _beside(name, near)
        if paths:
            digest = "\n".join(map(file_sha256, paths))
            revision = digest if len(paths) == 1 else sha256(digest.encode())
            found[name] = Located(name=name, paths=paths, hub=SOURCES[name].hub, revision=revision)
        elif hub:
            found[name] = _on_hub(name, "hub", resolve)
        else:
            missing.append(name)
    if missing:
        fetch = ", ".join(f"{name} ({SOURCES[name].hub})" for name in missing)
        raise SourceError(
            f"not found beside the tasks: {fetch}. Fetch them and pass `source={missing[0]}=FILE`, let `hub=true` "
            f"fetch them from the datasets hub, or leave them out: `without={','.join(missing)}`."
        )
    return found


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
    """A folder's data files: those of the training split if files are named by split, else the only one."""
    files = sorted(p for p in folder.glob("*") if p.suffix in (".jsonl", ".json", ".parquet"))
    files = [p for p in files if p.name != "dataset_info.json"]
    train = [p for p in files if "train" in p.stem]
    if not train and len(files) > 1:
        names = ", ".join(p.name for p in files[:4])
        raise SourceError(f"{folder}: which of {names} is to be trained on? Say it with `source={name}=FILE`.")
    return tuple(train or files)
