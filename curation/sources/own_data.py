"""Own data: the user's rows, in any layout and file that `core/example` reads, as NI tasks.

    stage = own_stage(Path("runs/mine"), [Path("mine.jsonl")], seed=2023, redo=False)

Rows that share an instruction and have inputs become one task, three of them its examples; all others stand in one task
per file, each asked with its own instruction and without examples. Rows of another licence or language stand in tasks
of their own, for licence and language are judged by task.

Where it sits: own_row -> **own_data** -> task; what it writes are NI files like any other.
"""

import random
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from core.errors import DataError, TaskError
from core.example.language import language_name
from core.example.layout import Layout
from core.example.mix_line import dialogue_columns
from core.example.reading import Source, open_source
from core.files import write_json
from core.records.container import contents
from core.records.hub import is_hub_name, pinned
from core.records.json_text import looks_like_ni
from core.records.name import stem
from core.records.record import Rejected
from core.run_folder import OWN
from core.stage import Dropped, Stage, Summary
from core.text import nfc
from curation.ni.select import OWN_DATA
from curation.sources.own_row import ENGLISH, NO_LICENCE, OwnAccount, OwnRow
from curation.sources.source import MIXES

LEAST_OF_A_TASK = 8
"""Fewer rows with one instruction are no task: three of them would go as examples."""

NUM_EXAMPLES = 3
OWN_TASKS = "tasks"
_HEAD_BYTES = 1 << 16
"""In which an NI task file names its definition: headers are short."""

RESERVED = frozenset(MIXES["200k"])
"""A file of this name could not be told from that source in a table."""


def is_own(given: Path) -> bool:
    """Whether a path holds rows of the user's own, and no NI task files; a name of the hub does.

    What does not exist is its own if its name says so: whoever reads it says that it is not there.
    """
    if given.is_dir():
        return _is_own_folder(given)
    if given.is_file():
        return not is_task_file(given)
    return given.suffix.lower() not in ("", ".json") or is_hub_name(str(given))


def is_task_file(path: Path) -> bool:
    """Whether a file is an NI task: a JSON object with `Definition` or `Instances`."""
    if path.suffix != ".json" or not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            return looks_like_ni(file.read(_HEAD_BYTES))
    except OSError:
        return True  # whoever reads it says why it cannot be read


def _is_own_folder(folder: Path) -> bool:
    if any(is_task_file(path) for path in sorted(folder.glob("*.json"))):
        return False
    try:
        parts = contents(folder, may_be_empty=True).parts
    except DataError:
        return True  # whoever reads it says what is wrong
    return bool(parts) and not any(is_task_file(part.path) for part in parts)


def own_stage(
    run: Path,
    paths: Sequence[Path],
    *,
    seed: int,
    redo: bool,
    take_all: bool = False,
    layout: Layout | None = None,
    language: str | None = None,
) -> Stage:
    """00_own: every file as NI tasks, in a folder `tasks` like those that are given.

    Args:
        language: Code of the language of rows that name none. None: English.
        take_all: No row becomes an example.
        layout: Of every record; None: found by looking.
    """
    sources = own_sources(paths, layout=layout)
    inputs = {"files": {name: _fingerprint(source) for name, source in sorted(sources.items())}, "seed": seed}
    inputs |= {"names": {name: source.name for name, source in sorted(sources.items())}, "take_all": take_all}
    inputs |= {"layout": layout} if layout else {}
    spoken = language or ENGLISH
    inputs |= {"language": spoken} if spoken != ENGLISH else {}
    stage = Stage(run / OWN, inputs=inputs, redo=redo)
    if stage.is_done:
        return stage
    num_read = num_kept = 0
    told: list[str] = []
    for name, source in sorted(sources.items()):
        account = OwnAccount.of(source, spoken)
        num_read += account.census.num_records
        told += account.told(source.where)
        unused = [*account.rejected, *(unasked.row for unasked in account.unasked)]
        for row in unused:
            detail = Dropped(unit="row", id=str(row.place), reason=row.reason, detail=row.detail, source=source.where)
            stage.drop(detail)
        if not account.rows:
            stage.give_up()
            raise TaskError(f"{source.where}: no usable row ({_why(unused)}). `oneday check {source.where}` lists all.")
        num_examples = 0 if take_all else NUM_EXAMPLES
        kept, examples = write_tasks(
            name, account.rows, stage.path(OWN_TASKS), seed=seed, source=source.name, num_examples=num_examples
        )
        num_kept += kept
        for example in examples:
            stage.drop(Dropped(unit="row", id=f"{name}-{example.id}", reason="used_as_example", source=source.where))
    tallies = {"row": stage.tally("row", read=num_read, kept=num_kept)}
    stage.finish(Summary(tallies=tallies, details={"told": told}))
    return stage


def _why(unused: Sequence[Rejected]) -> str:
    """The most frequent reasons."""
    reasons = Counter((row.reason, row.detail) for row in unused)
    return "; ".join(f"{n:,} {reason}: {detail}" for (reason, detail), n in reasons.most_common(2)) or "it is empty"


def own_sources(paths: Sequence[Path], *, layout: Layout | None = None) -> dict[str, Source]:
    """What was given, by the name that its tasks and ids get.

    Raises:
        DataError: it cannot be read.
        TaskError: two have one name, or one that is taken.
    """
    sources = [
        open_source(pinned(str(path)) if is_hub_name(str(path)) else path, layout=layout) for path in sorted(paths)
    ]
    for source in sources:
        if source.name in RESERVED:
            raise TaskError(
                f"{source.where}: {source.name} is the name of a source of the paper's mix. Rename the file."
            )
    named = {_slug(source.name): source for source in sources}
    if len(named) < len(sources):
        raise TaskError(f"two of {', '.join(source.where for source in sources)} have the same name. Rename one.")
    return named


def own_file_name(path: Path) -> str:
    """What the rows of a path are called in every table."""
    return str(path).partition("@")[0].replace("/", "_") if is_hub_name(str(path)) else stem(path)


def _fingerprint(source: Source) -> str:
    """A hash of its files, or the hub's commit."""
    return source.fingerprint() if source.parts else source.where.partition("@")[2]


def write_tasks(
    name: str,
    rows: Sequence[OwnRow],
    directory: Path,
    *,
    seed: int,
    source: str = "",
    num_examples: int = NUM_EXAMPLES,
) -> tuple[int, list[OwnRow]]:
    """Writes one file's rows as NI tasks; returns how many instances there are, and the rows that became examples.

    Args:
        name: Of the tasks and the rows' ids.
        source: What the rows are called in every table; empty: as `name`.
    """
    source = source or name
    groups: dict[tuple[str, str, str], list[OwnRow]] = defaultdict(list)
    for row in rows:
        groups[nfc(row.instruction) if row.input.strip() else "", row.licence, row.language].append(row)
    mixed: dict[tuple[str, str], list[OwnRow]] = defaultdict(list)
    examples: list[OwnRow] = []
    number = 0
    for (instruction, licence, language), members in sorted(groups.items()):
        if not instruction or len(members) < LEAST_OF_A_TASK:
            mixed[licence, language] += members
            continue
        number += 1
        shots = random.Random(f"own-{seed}-{name}-{instruction}").sample(members, num_examples)
        rest = [row for row in members if row not in shots]
        examples += shots
        path = directory / f"own_{name}_{number:03d}.json"
        _write(path, name, source, instruction, shots, rest, own_instruction=False)
    for (licence, language), members in sorted(mixed.items()):
        members.sort(key=lambda row: row.number)
        definition = f"Rows of {source}, each with an instruction of its own."
        usual = (licence, language) == (NO_LICENCE, ENGLISH)
        suffix = "" if usual else "_" + _slug(f"{licence} {language}")
        path = directory / f"own_{name}_mixed{suffix}.json"
        _write(path, name, source, definition, [], members, own_instruction=True)
    return len(rows) - len(examples), examples


def _write(
    path: Path,
    name: str,
    source: str,
    definition: str,
    shots: Sequence[OwnRow],
    rows: Sequence[OwnRow],
    *,
    own_instruction: bool,
) -> None:
    languages = sorted({language_name(row.language) for row in rows})
    instances = [
        {"id": f"{name}-{row.id}", "input": row.input, "output": list(row.outputs)}
        | ({"instruction": row.instruction} if own_instruction else {})
        | ({"dialogue": dialogue_columns(row.dialogue)} if row.dialogue else {})
        for row in rows
    ]
    task = {
        "Categories": [OWN_DATA, source],
        "Definition": [definition],
        "Input_language": languages,
        "Output_language": languages,
        "Instruction_language": languages,
        "Positive Examples": [{"input": row.input, "output": row.outputs[0], "explanation": ""} for row in shots],
        "Instances": instances,
        "Instance License": sorted({row.licence for row in rows}),
    }
    write_json(path, task)


def _slug(stem: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "_", stem).strip("_") or "file"
