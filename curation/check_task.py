"""Check of one NI task file: what its header lacks, and each instance that cannot be used, with its line.

    check_task(Path("tasks/task1.json")).problems

Where it sits: task -> **check_task** -> check.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from core.errors import TaskError
from core.example.example import ExampleKind
from core.example.layout import Layout
from core.example.licence import classify
from core.example.reading import Census
from core.records.record import Place
from curation.ni.task import Task, TaskFile, read_task

_MENDS = {
    "malformed": "is no instance: it needs `input` as text and `output` as a text or a list of texts",
    "empty_output": "has no answer",
    "empty_input": "has an empty input",
    "invalid_unicode": "holds a lone surrogate: re-encode the file as UTF-8",
    "duplicate_id": "repeats an id",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Something to mend: it costs a file, a task or a row."""

    place: Place
    what: str

    def __str__(self) -> str:
        """`file:line: what`."""
        return f"{self.place}: {self.what}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedTask:
    """One task file's result."""

    census: Census
    problems: tuple[Problem, ...]


def check_task(path: Path) -> CheckedTask:
    """Every problem of a task file."""
    try:
        task_file = read_task(path)
    except TaskError as e:
        what = str(e).removeprefix(f"{path}: ")
        found = re.search(r"line (\d+) column", what)
        line = int(found[1]) if found else 0
        return CheckedTask(census=Census(), problems=(_problem(path, line, what),))
    text = path.read_text(encoding="utf-8", errors="replace")
    problems = (*_of_header(path, task_file.task, text), *_of_instances(path, task_file, text))
    return CheckedTask(census=_census(task_file), problems=problems)


def _census(task_file: TaskFile) -> Census:
    num = len(task_file.task.instances)
    return Census(
        num_records=task_file.num_read,
        num_turns=2 * num,
        kinds=Counter({ExampleKind.PROMPTED: num}),
        layouts=Counter({Layout.NATURAL_INSTRUCTIONS: num}),
        rejected=Counter(dropped.reason for dropped in task_file.dropped),
    )


def _of_header(path: Path, task: Task, text: str) -> Iterator[Problem]:
    if not task.positive_examples:
        line = _line_of(text, "Positive Examples")
        yield _problem(path, line, "has no usable example: asked without shots")
    if not task.languages:
        yield _problem(path, 0, "names no language: the rules leave it out")
    if not task.categories:
        yield _problem(path, 0, "names no category: the rules leave it out")
    if classify(task.licences) != "allowed":
        raw = ", ".join(task.licences) or "none"
        what = f"licence {raw} is {classify(task.licences).replace('_', '-')}"
        yield _problem(path, _line_of(text, "Instance License"), what)


def _of_instances(path: Path, task_file: TaskFile, text: str) -> Iterator[Problem]:
    reasons = dict(zip(task_file.dropped_at, task_file.dropped, strict=True))
    for index, line in enumerate(_instance_lines(text) if reasons else ()):
        if index in reasons:
            dropped = reasons[index]
            yield _problem(path, line, f"instance {ascii(dropped.id)[1:-1]} {_MENDS[dropped.reason]}")


def _problem(path: Path, line: int, what: str) -> Problem:
    return Problem(place=Place(file=str(path), line=line), what=what)


def _instance_lines(text: str) -> Iterator[int]:
    """The line in which each element of `Instances` begins."""
    start = re.search(r'"Instances"\s*:\s*\[', text)
    if start is None:
        return
    decoder, position = json.JSONDecoder(), start.end()
    line = text.count("\n", 0, position) + 1
    while True:
        begins = re.compile(r"[\s,]*").match(text, position)
        assert begins is not None
        line += text.count("\n", position, begins.end())
        position = begins.end()
        if position >= len(text) or text[position] == "]":
            return
        _, end = decoder.raw_decode(text, position)
        yield line
        line += text.count("\n", position, end)
        position = end


def _line_of(text: str, key: str) -> int:
    position = text.find(f'"{key}"')
    return text.count("\n", 0, position) + 1 if position >= 0 else 0
