"""Own data: turns JSON lines of instruction/input/output, or of chats, into NI tasks.

    rows = read_own(Path("mine.jsonl"))
    write_tasks(Path("mine.jsonl"), rows, Path("00_own"), seed=2023)

One row a line. `{"instruction": "...", "input": "...", "output": "..."}`: `input` may be left out, `output` may be a
list of accepted answers. Or a chat, of which the first question and its answer are taken; a system text before them
stands at the head of the instruction:
`{"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]}`.
Both may have `id`, `licence` (or `license`) and `language` (ISO 639-1).

Rows that share an instruction and have inputs become one task, with three of them as its examples. All other rows of a
file become one task, in which each row has its own instruction and no examples. Rows of another licence or language
become separate tasks, because licence and language are judged by task.

Where it sits: before task; it writes NI files.
"""

import codecs
import json
import random
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from core.errors import TaskError
from core.files import encodable, file_sha256, write_json
from core.run_folder import OWN
from core.stage import Dropped, Stage, Summary
from core.text import nfc
from curation.ni.select import OWN_DATA
from curation.sources.source import MIXES

LEAST_OF_A_TASK = 8
"""Fewer rows with one instruction do not become a task, because three of them would be used as examples."""

NUM_EXAMPLES = 3
SUFFIXES = (".jsonl",)
KEYS = {"instruction", "input", "output", "id", "licence", "license", "language"}
OWN_TASKS = "tasks"
NO_LICENCE, ENGLISH = "Unknown", "en"
"""Defaults of rows that do not state them."""


RESERVED = frozenset(MIXES["200k"])
"""Names that a file may not have, because tables show them for sources."""

LANGUAGES = {"en": "English", "fr": "French", "de": "German", "es": "Spanish", "pt": "Portuguese", "ru": "Russian"}


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnRow:
    """One usable row."""

    id: str
    line: int
    instruction: str
    input: str
    outputs: tuple[str, ...]
    licence: str
    language: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BadRow:
    """A line that cannot be used, and why."""

    line: int
    reason: str
    detail: str


def read_own(path: Path) -> Iterator[OwnRow | BadRow]:
    """Reads every line of a file.

    Raises:
        TaskError: the file cannot be read.
    """
    seen: set[str] = set()
    try:
        f = path.open("rb")
    except OSError as e:
        raise TaskError(f"{path}: cannot be read ({e.strerror}). Check the path.") from e
    with f:
        for line, text in enumerate(f, start=1):
            if not text.strip():
                continue
            row = parse_own(text, line)
            if isinstance(row, OwnRow) and row.id in seen:
                row = BadRow(line=line, reason="duplicate_id", detail=f"id {row.id!r} was used before")
            if isinstance(row, OwnRow):
                seen.add(row.id)
            yield row


def parse_own(text: bytes, line: int) -> OwnRow | BadRow:
    """Reads one line."""

    def bad(reason: str, detail: str) -> BadRow:
        return BadRow(line=line, reason=reason, detail=detail)

    try:
        record = json.loads(text.removeprefix(codecs.BOM_UTF8))  # orjson refuses a lone surrogate without saying so
    except (ValueError, RecursionError) as e:
        return bad("malformed", f"not JSON ({e})")
    if not isinstance(record, dict):
        return bad("malformed", "not a JSON object")
    texts = _chat(record) if "messages" in record else _instruction(record)
    if isinstance(texts, str):
        return bad("malformed", texts)
    instruction, given, outputs = texts
    if not encodable(instruction, given, *outputs):
        return bad("invalid_unicode", "a lone surrogate; re-encode the file as UTF-8")
    if not any(o.strip() for o in outputs):
        return bad("empty_output", "the answer is empty")
    licence = record.get("licence", record.get("license"))
    row_id, language = record.get("id"), record.get("language")
    return OwnRow(
        id=str(row_id) if isinstance(row_id, str | int) and row_id != "" else f"line-{line}",
        line=line,
        instruction=instruction,
        input=given,
        outputs=tuple(o for o in outputs if o.strip()),
        licence=licence if isinstance(licence, str) and licence else NO_LICENCE,
        language=language if isinstance(language, str) and language else ENGLISH,
    )


def _instruction(record: Mapping[str, object]) -> tuple[str, str, list[str]] | str:
    instruction, given, output = record.get("instruction"), record.get("input", ""), record.get("output")
    if not isinstance(instruction, str) or not instruction.strip():
        return "lacks `instruction` as text (or `messages`, for a chat)"
    if given is not None and not isinstance(given, str):
        return "`input` is not text"
    misspelt = get_close_matches("input", record.keys() - KEYS, n=1, cutoff=0.8) if "input" not in record else []
    if misspelt:
        return f"has `{misspelt[0]}` and no `input`: a misspelling"
    outputs = [output] if isinstance(output, str) else output
    if not isinstance(outputs, list) or not outputs or not all(isinstance(o, str) for o in outputs):
        return "lacks `output` as text or a list of texts"
    return instruction, given or "", outputs


def _chat(record: Mapping[str, object]) -> tuple[str, str, list[str]] | str:
    messages = record["messages"]
    if not isinstance(messages, list) or not messages:
        return "`messages` is not a list with a turn in it"
    turns = []
    for number, message in enumerate(messages, start=1):
        fine = isinstance(message, dict) and isinstance(message.get("content"), str)
        if not fine or message.get("role") not in ("system", "user", "assistant"):
            return f"message {number} lacks `role` (system, user or assistant) or `content` as text"
        turns.append((message["role"], message["content"]))
    system = turns.pop(0)[1] if turns[0][0] == "system" else ""
    if [role for role, _ in turns[:2]] != ["user", "assistant"]:
        return "does not begin with a user's turn and the assistant's answer"
    if not turns[0][1].strip():
        return "the user's turn is blank"
    return (f"{system}\n\n{turns[0][1]}" if system else turns[0][1]), "", [turns[1][1]]


def own_stage(run: Path, paths: Sequence[Path], *, seed: int, redo: bool, take_all: bool = False) -> Stage:
    """00_own: writes the NI tasks of every file to the stage's folder `tasks`.

    Args:
        take_all: Use no row as an example.
    """
    files = _files(paths)
    inputs = {"files": {name: file_sha256(path) for name, path in sorted(files.items())}, "seed": seed}
    inputs |= {"names": {name: path.stem for name, path in sorted(files.items())}, "take_all": take_all}
    stage = Stage(run / OWN, inputs=inputs, redo=redo)
    if stage.is_done:
        return stage
    num_read = num_kept = 0
    for name, path in sorted(files.items()):
        rows: list[OwnRow] = []
        for row in read_own(path):
            num_read += 1
            if isinstance(row, BadRow):
                row_id = f"{path.name}:{row.line}"
                stage.drop(Dropped(unit="row", id=row_id, reason=row.reason, detail=row.detail, source=path.name))
            else:
                rows.append(row)
        if not rows:
            stage.give_up()
            raise TaskError(f"{path}: no usable row. `oneday check {path}` lists what is wrong.")
        num_examples = 0 if take_all else NUM_EXAMPLES
        kept, examples = write_tasks(
            name, rows, stage.path(OWN_TASKS), seed=seed, source=path.stem, num_examples=num_examples
        )
        num_kept += kept
        for row in examples:
            stage.drop(Dropped(unit="row", id=f"{name}-{row.id}", reason="used_as_example", source=path.name))
    stage.finish(Summary(tallies={"row": stage.tally("row", read=num_read, kept=num_kept)}))
    return stage


def _files(paths: Sequence[Path]) -> dict[str, Path]:
    """The files by the name that their tasks and ids get."""
    for path in paths:
        if not path.is_file():
            raise TaskError(f"{path}: cannot be read (no such file). Check the path.")
        if path.stem in RESERVED:
            raise TaskError(f"{path}: {path.stem} is the name of a source of the paper's mix. Rename the file.")
    files = {_slug(path.stem): path for path in sorted(paths)}
    if len(files) < len(paths):
        raise TaskError(f"two of {', '.join(str(p) for p in paths)} have the same name. Rename one.")
    return files


def write_tasks(
    name: str,
    rows: Sequence[OwnRow],
    directory: Path,
    *,
    seed: int,
    source: str = "",
    num_examples: int = NUM_EXAMPLES,
) -> tuple[int, list[OwnRow]]:
    """Writes one file's rows as NI tasks.

    Args:
        name: Part of the names of the tasks and of the ids of the rows.
        source: The source of the rows in tables; empty: `name`.
    Returns:
        The number of instances, and the rows that became examples.
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
        members.sort(key=lambda row: row.line)
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
    languages = sorted({LANGUAGES.get(row.language, row.language) for row in rows})
    instances = [
        {"id": f"{name}-{row.id}", "input": row.input, "output": list(row.outputs)}
        | ({"instruction": row.instruction} if own_instruction else {})
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
