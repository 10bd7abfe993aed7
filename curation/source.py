"""The other sources of the mix: LIMA and, later, Open-Platypus, OpenBookQA, QuAC, CNN/DailyMail, MathInstruct.

    rows = read_lima(find_source("lima", tasks_directory, given={}))

Read today: LIMA, from a local file. The rest is named, counted and must be left out with `--without`.

Where it sits: beside the samples, before the mix.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from curation.errors import SourceError
from curation.select import Kind
from curation.stage import read_jsonl
from curation.task import encodable

NI_EXACT_MATCH, NI_GENERATION = "ni_exact_match", "ni_generation"

NI_SOURCES = {Kind.EXACT_MATCH: NI_EXACT_MATCH, Kind.GENERATION: NI_GENERATION}

MIXES: Mapping[str, Mapping[str, int]] = {
    name: dict(
        zip(
            (
                "lima", "open-platypus", NI_EXACT_MATCH, NI_GENERATION,
                "openbookqa", "quac", "cnn_dailymail", "mathinstruct",
            ),
            counts,
            strict=True,
        )
    )
    for name, counts in {
        "200k": (1_000, 25_000, 50_000, 50_000, 5_000, 10_000, 15_000, 50_000),
        "400k": (1_000, 25_000, 110_000, 110_000, 5_000, 10_000, 28_000, 100_000),
        "700k": (1_000, 25_000, 220_000, 220_000, 5_000, 10_000, 28_000, 200_000),
    }.items()
}  # fmt: skip
"""Rows per source. Source: the paper's Table 1; the columns sum to 206K, 389K and 709K."""

LIMA_LICENCE = "CC BY-NC-SA"
"""Source: the dataset's card."""

READABLE = frozenset({NI_EXACT_MATCH, NI_GENERATION, "lima"})


@dataclass(frozen=True, slots=True, kw_only=True)
class MixRow:
    """One row of the mix, from any source. One line of `train.jsonl` and `validation.jsonl`."""

    id: str
    source: str
    task: str
    """NI task, or the source's name."""
    licence: str
    """As the source writes it."""
    instruction: str
    input: str
    output: str


def mix_targets(mix: str, scale: float, without: frozenset[str]) -> dict[str, int]:
    """Rows wanted per source.

    Raises:
        SourceError: unknown mix or source, a scale outside (0, 1], or a source that is not read yet.
    """
    if mix not in MIXES:
        raise SourceError(f"--mix {mix}: unknown mix. Use {', '.join(MIXES)}.")
    if not 0 < scale <= 1:
        raise SourceError(f"--scale {scale}: not in (0, 1]. --scale 0.01 takes one row of a hundred.")
    unknown = sorted(without - set(MIXES[mix]))
    if unknown:
        raise SourceError(f"--without {unknown[0]}: unknown source. Use {', '.join(MIXES[mix])}.")
    wanted = {name: max(1, round(count * scale)) for name, count in MIXES[mix].items() if name not in without}
    unread = sorted(set(wanted) - READABLE)
    if unread:
        raise SourceError(f"this version does not read {', '.join(unread)}. Add --without {','.join(unread)}.")
    return wanted


def find_source(name: str, tasks_directory: Path, given: Mapping[str, Path]) -> Path:
    """The local file of a source: as given, else `<name>/*.jsonl` beside the folder of tasks or its parent.

    Raises:
        SourceError: not found.
    """
    if name in given:
        if not given[name].is_file():
            raise SourceError(f"--source {name}={given[name]}: no such file. Check the path.")
        return given[name]
    for folder in list(tasks_directory.resolve().parents)[:2]:
        found = sorted((folder / name).glob("*.jsonl"))
        if found:
            return found[0]
    raise SourceError(
        f"{name}: not found beside {tasks_directory}. Fetch it and pass --source {name}=FILE, or --without {name}."
    )


def read_lima(path: Path) -> Iterator[MixRow]:
    """LIMA's first turn of each conversation, as the winner took it.

    Raises:
        SourceError: a record holds no conversation of at least two turns.
    """
    for number, row in enumerate(read_jsonl(path), start=1):
        raw = row.get("conversations")
        turns = [turn for turn in raw if isinstance(turn, str)] if isinstance(raw, list) else []
        if len(turns) < 2 or not encodable(*turns):
            raise SourceError(f"{path}: record {number} has no `conversations` of two texts or more. Remove it.")
        yield MixRow(
            id=f"lima-{number:04d}",
            source="lima",
            task="lima",
            licence=LIMA_LICENCE,
            instruction=turns[0],
            input="",
            output=turns[1],
        )
