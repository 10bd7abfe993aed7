"""Tasks and instances: reads and validates Super-NaturalInstructions files.

    for path in task_paths([Path("natural-instructions/tasks")]):
        task_file = read_task(path)
        task_file.task.definition, task_file.dropped

A file that is not a task raises `TaskError`. A bad instance in a good file is dropped with its reason.

Where it sits: **task** -> kind -> select -> instances.
"""

import json
import math
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import orjson

from core.errors import TaskError
from core.files import encodable, sha256
from core.stage import Dropped
from core.text import nfc


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A worked example: one of a task's `Positive Examples`."""

    input: str
    output: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One question of a task, with every accepted answer."""

    id: str
    input: str
    outputs: tuple[str, ...]
    instruction: str = ""
    """The instance's own instruction; it is then asked without shots. Empty: the task's definition."""
    also_accepted: tuple[str, ...] = ()
    """Answers that other instances give to the same input."""
    dialogue: str = ""
    """Of own data: the conversation that is trained, as JSON with `messages` and `tools`; empty: the row is trained."""

    @property
    def references(self) -> tuple[str, ...]:
        """Every right answer: its own, then those of instances with an equal input."""
        return self.outputs + self.also_accepted


class EqualInputs(StrEnum):
    """Which answers are right if instances of a task have the same input and different answers."""

    ACCEPT_ALL = "accept_all"
    """All of their answers."""
    OWN = "own"
    """An instance's own answers only. Source: the winner's scripts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadingParameters:
    """How a task file is read."""

    equal_inputs: EqualInputs = EqualInputs.ACCEPT_ALL
    """Which answers are right if instances have the same input and different answers. Inputs are compared after Unicode
    normalisation (NFC). The number of such groups is reported in any case."""
    empty_references: bool = False
    """Keep empty answers, as the winner did; the model may then learn to answer nothing. False: an empty answer is left
    out, and an instance without another answer is dropped as `empty_output`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One NI task. Texts are unchanged, white space included."""

    name: str
    """The file's stem. It may contain `-` and `.`; compare it with `canonical_name`."""
    definition: str
    categories: tuple[str, ...]
    languages: tuple[str, ...]
    """Input, output and instruction languages together, sorted."""
    text_languages: tuple[str, ...]
    """Input and output languages together, sorted. The Definition of a task in another language is often English."""
    licences: tuple[str, ...]
    """`Instance License` as written; empty if the file has none."""
    positive_examples: tuple[Example, ...]
    instances: tuple[Instance, ...]
    sha256: str
    """Of the file's bytes."""
    num_contradictory: int = 0
    """Number of groups of instances with the same input and different answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFile:
    """The content of a file: the task, and the instances that could not be used."""

    task: Task
    num_read: int
    """Instances in the file."""
    dropped: tuple[Dropped, ...]
    dropped_at: tuple[int, ...] = ()
    """The position of each dropped instance in the file, from 0."""


def task_paths(given: Sequence[Path]) -> list[Path]:
    """Every NI file of folders and files, sorted by name.

    Raises:
        TaskError: no such path, no task file in a folder, or two files of one name.
    """
    files: dict[str, Path] = {}
    for path in given:
        for file in _files_of(path):
            if not encodable(file.name):
                raise TaskError(f"{file}: its name is no UTF-8. Rename it.")
            if os.path.realpath(files.setdefault(file.name, file)) != os.path.realpath(file):
                raise TaskError(f"{file}: {files[file.name]} has the same name. Rename one, or give only one of them.")
    return [files[name] for name in sorted(files)]


def _files_of(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise TaskError(f"{path}: no such folder. `tasks=` takes a folder of NI task files (*.json).")
    files = [file for file in path.glob("*.json") if not file.is_dir()]
    if not files:
        raise TaskError(f"{path}: no *.json in it. `tasks=` takes a folder of NI task files.")
    return files


def read_task(path: Path, reading: ReadingParameters | None = None) -> TaskFile:
    """Reads one NI file.

    Raises:
        TaskError: unreadable, not JSON, or without `Definition` or `Instances`.
    """
    try:
        data = path.read_bytes()
    except OSError as e:
        raise TaskError(f"{path}: cannot be read ({e.strerror}). Check the path and its permissions.") from e
    document = _parse(path, data)
    definition = _definition(path, document)
    reading = reading or ReadingParameters()
    instances, bad = _instances(path, document, reading.empty_references)
    contradictory = _contradictory(instances)
    if reading.equal_inputs is EqualInputs.ACCEPT_ALL:
        instances = _accepting(instances, contradictory)
    raw_examples = document.get("Positive Examples")
    examples = raw_examples if isinstance(raw_examples, list) else []
    task = Task(
        name=path.stem,
        definition=definition,
        categories=_strings(document.get("Categories")),
        languages=_languages(document, "Input", "Output", "Instruction"),
        text_languages=_languages(document, "Input", "Output"),
        licences=_strings(document.get("Instance License")),
        positive_examples=tuple(x for raw in examples if (x := _example(raw)) is not None),
        instances=tuple(instances),
        sha256=sha256(data),
        num_contradictory=len(contradictory),
    )
    return TaskFile(task=task, num_read=len(instances) + len(bad), dropped=tuple(bad.values()), dropped_at=tuple(bad))


Document = Mapping[str, object]
"""A parsed file; every value of it is checked before it is used."""


def _parse(path: Path, data: bytes) -> Document:
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError:
        try:  # orjson refuses the literal NaN of some upstream headers (task603); json takes it
            document = json.loads(data)
        except (ValueError, RecursionError) as e:
            raise TaskError(f"{path}: not JSON ({e}). Mend the file or move it out of the folder.") from e
    if not isinstance(document, dict):
        raise TaskError(
            f"{path}: a JSON {type(document).__name__}, not an NI task (an object with Definition, Instances)."
        )
    return document


def _definition(path: Path, document: Document) -> str:
    """`Definition[0]`, which the published few-shot prompt shows."""
    raw = document.get("Definition")
    first = raw[0] if isinstance(raw, list) and raw else raw
    if not isinstance(first, str) or not first.strip():
        raise TaskError(f"{path}: lacks `Definition`. An NI task has a list with at least one text there.")
    if not encodable(first):
        raise TaskError(f"{path}: `Definition` is not valid Unicode (a lone surrogate). Re-encode the file as UTF-8.")
    return first


def _instances(path: Path, document: Document, keep_empty: bool) -> tuple[list[Instance], dict[int, Dropped]]:
    raw = document.get("Instances")
    if not isinstance(raw, list) or not raw:
        raise TaskError(f"{path}: lacks `Instances`. An NI task has a list of {{id, input, output}} there.")
    instances: list[Instance] = []
    dropped: dict[int, Dropped] = {}
    seen: set[str] = set()
    for index, item in enumerate(raw):
        instance, reason = _instance(item, f"{path.stem}-{index}", keep_empty)
        given = item.get("id") if isinstance(item, dict) else None
        named = isinstance(given, str) and given and encodable(given)
        identity = instance.id if instance else str(given) if named else f"{path.stem}-{index}"
        if instance and instance.id in seen:
            reason = "duplicate_id"
        if reason or instance is None:
            dropped[index] = Dropped(unit="instance", id=identity, reason=reason, source=path.stem)
        else:
            seen.add(instance.id)
            instances.append(instance)
    return instances, dropped


def _instance(item: Any, default_id: str, keep_empty: bool) -> tuple[Instance | None, str]:
    """The instance, or the reason why it cannot be used. In derived copies `output` is a string instead of a list."""
    if not isinstance(item, dict) or not isinstance(item.get("input"), str):
        return None, "malformed"
    output = item.get("output")
    outputs = [output] if isinstance(output, str) else output
    if not isinstance(outputs, list) or not all(isinstance(o, str) for o in outputs):
        return None, "malformed"
    given, own = item.get("id"), item.get("instruction")
    instance_id = given if isinstance(given, str) and given else default_id
    usable = tuple(o for o in outputs if keep_empty or o.strip())
    instruction = own if isinstance(own, str) else ""
    if not encodable(item["input"], instance_id, instruction, *outputs):
        return None, "invalid_unicode"
    instance = Instance(
        id=instance_id, input=item["input"], outputs=usable, instruction=instruction, dialogue=_dialogue(item)
    )
    if not item["input"].strip() and not instruction.strip():
        return instance, "empty_input"
    return instance, "" if usable else "empty_output"


def _dialogue(item: Mapping[str, object]) -> str:
    """What `own_data` writes beside an instance that was made of a conversation."""
    dialogue = item.get("dialogue")
    return orjson.dumps(dialogue).decode() if isinstance(dialogue, dict) else ""


def _contradictory(instances: Sequence[Instance]) -> list[list[int]]:
    """Groups of positions of instances that have the same instruction and input and different answers."""
    groups: dict[tuple[str, str], list[int]] = defaultdict(list)
    for number, instance in enumerate(instances):
        groups[nfc(instance.instruction), nfc(instance.input)].append(number)
    return [
        group
        for group in groups.values()
        if len(group) > 1 and len({frozenset(_answers(instances[number])) for number in group}) > 1
    ]


def _answers(instance: Instance) -> dict[str, str]:
    """The answers by their normalised form."""
    return {nfc(output).strip(): output for output in reversed(instance.outputs)}


def _accepting(instances: Sequence[Instance], groups: Sequence[Sequence[int]]) -> list[Instance]:
    """The instances, where every instance of a group accepts the answers of all of the group."""
    accepting = list(instances)
    for group in groups:
        union = {key: output for number in reversed(group) for key, output in _answers(instances[number]).items()}
        for number in group:
            own = _answers(instances[number])
            others = tuple(output for key, output in sorted(union.items()) if key not in own)
            accepting[number] = replace(instances[number], also_accepted=others)
    return accepting


def _example(raw: Any) -> Example | None:
    """A positive example, or None if it is unusable. In some files `output` is a list."""
    if not isinstance(raw, dict):
        return None
    output = raw.get("output")
    if isinstance(output, list):
        output = output[0] if output else None
    if not isinstance(raw.get("input"), str) or not isinstance(output, str):
        return None
    return Example(input=raw["input"], output=output) if encodable(raw["input"], output) else None


def _languages(document: Document, *parts: str) -> tuple[str, ...]:
    return tuple(sorted({s for part in parts for s in _strings(document.get(f"{part}_language"))}))


def _strings(value: Any) -> tuple[str, ...]:
    """The texts of a header field, which may be a string, a list, missing, or NaN."""
    values = value if isinstance(value, list) else [value]
    present = (str(v) for v in values if v is not None and not (isinstance(v, float) and math.isnan(v)))
    return tuple(text if encodable(text) else ascii(text) for text in present)
