"""Lists every problem of task files and own data, with file and line.

    for problem in check(Path("tasks")):
        print(problem)

Where it sits: beside task and own_data. It reports what they would drop or refuse.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from core.errors import TaskError
from curation.ni.task import read_task, task_paths
from curation.policies.licence import classify
from curation.sources.own_data import SUFFIXES, BadRow, read_own

_MENDS = {
    "malformed": "is no instance: it needs `input` as text and `output` as a text or a list of texts",
    "empty_output": "has no answer",
    "empty_input": "has an empty input",
    "invalid_unicode": "holds a lone surrogate: re-encode the file as UTF-8",
    "duplicate_id": "repeats an id",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A reason for which a file, a task or a row would be left out."""

    path: Path
    line: int
    """From 1; 0 stands for the whole file."""
    what: str

    def __str__(self) -> str:
        """`file:line: what`."""
        where = f"{self.path}:{self.line}" if self.line else str(self.path)
        return f"{where}: {self.what}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """One file's result."""

    path: Path
    num_records: int
    problems: tuple[Problem, ...]


def check(path: Path) -> Iterator[Checked]:
    """Checks every file under a path.

    Raises:
        TaskError: there is nothing to check.
    """
    if path.is_dir():
        own = sorted(p for p in path.iterdir() if p.suffix in SUFFIXES)
        tasks = task_paths([path]) if any(path.glob("*.json")) or not own else []
    else:
        own, tasks = ([path], []) if path.suffix in SUFFIXES else ([], task_paths([path]))
    for file in own:
        yield _check_own(file)
    for file in tasks:
        yield _check_task(file)


def _check_own(path: Path) -> Checked:
    num, problems = 0, []
    for row in read_own(path):
        num += 1
        if isinstance(row, BadRow):
            problems.append(Problem(path=path, line=row.line, what=row.detail))
    if num == 0:
        problems.append(Problem(path=path, line=0, what="holds no row"))
    return Checked(path=path, num_records=num, problems=tuple(problems))


def _check_task(path: Path) -> Checked:
    try:
        task_file = read_task(path)
    except TaskError as e:
        what = str(e).removeprefix(f"{path}: ")
        position = re.search(r"line (\d+) column", what)
        line = int(position[1]) if position else 0
        return Checked(path=path, num_records=0, problems=(Problem(path=path, line=line, what=what),))
    text = path.read_text(encoding="utf-8", errors="replace")
    task = task_file.task
    problems = []
    if not task.positive_examples:
        problems.append(
            Problem(
                path=path, line=_line_of(text, "Positive Examples"), what="has no usable example: asked without shots"
            )
        )
    if not task.languages:
        problems.append(Problem(path=path, line=0, what="names no language: the rules leave it out"))
    if not task.categories:
        problems.append(Problem(path=path, line=0, what="names no category: the rules leave it out"))
    if classify(task.licences) != "allowed":
        raw = ", ".join(task.licences) or "none"
        what = f"licence {raw} is {classify(task.licences).replace('_', '-')}"
        problems.append(Problem(path=path, line=_line_of(text, "Instance License"), what=what))
    reasons = dict(zip(task_file.dropped_at, task_file.dropped, strict=True))
    for index, line in enumerate(_instance_lines(text) if reasons else ()):
        if index in reasons:
            what = f"instance {ascii(reasons[index].id)[1:-1]} {_MENDS[reasons[index].reason]}"
            problems.append(Problem(path=path, line=line, what=what))
    return Checked(path=path, num_records=task_file.num_read, problems=tuple(problems))


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
