"""Divides Natural Instructions into tasks to train on, tasks that are held out, and held-out instances of the former.

    divided = divide(read_tasks(Path("natural-instructions/tasks")), DivisionParameters())
    write_division(divided, Path("/tmp/real/data"))

No instance of a held-out task is trained on or asked about. Of a trained task, the held-out instances and all others
with an equal input are taken away before anything is chosen. Tasks made from the same data set are not kept apart.
"""

import json
import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from core.files import atomic_writer, make_folder, write_json
from core.generation.request import Kind
from core.text import nfc
from curation.ni.kind import kind_of
from curation.ni.task import Instance, Task, read_task, task_paths

HELD_TASKS, HELD_INSTANCES = "held-out tasks", "held-out instances"
"""The two groups of questions."""


@dataclass(frozen=True, kw_only=True)
class DivisionParameters:
    """How much is held out."""

    held_tasks: int = 30
    per_held_task: int = 6
    """Questions of each held-out task."""
    per_trained_task: int = 2
    """Questions of each trained task."""
    pool_per_task: int = 13
    """Instances of each trained task that the model may be asked about."""
    rest_share: float = 0.1
    """Share of a trained task's other instances that rows are drawn from without asking the model, so that tasks keep
    their sizes in proportion; at least the pool."""
    validation_rows: int = 24
    """Further instances of trained tasks, which only measure a loss."""
    longest_input: int = 1_500
    """Characters of an instance's input; longer ones are left out everywhere."""
    seed: int = 2026


@dataclass(frozen=True, kw_only=True)
class DividedTask:
    """One task: its instances by their use."""

    task: Task
    kind: Kind
    questions: tuple[Instance, ...]
    validation: tuple[Instance, ...] = ()
    pool: tuple[Instance, ...] = ()
    """A part of `rest`. None of a held-out task."""
    rest: tuple[Instance, ...] = ()
    """Everything that may be trained on."""

    @property
    def group(self) -> str:
        """The group of its questions."""
        return HELD_INSTANCES if self.rest else HELD_TASKS


def read_tasks(folder: Path) -> list[Task]:
    """The tasks of a folder by name, of every category and licence: nothing of the data is passed on."""
    return [read_task(path).task for path in task_paths([folder])]


def divide(tasks: Sequence[Task], parameters: DivisionParameters) -> list[DividedTask]:
    """Divides tasks with enough instances. The share of exact-match tasks is the same in both groups."""
    needed = parameters.per_trained_task + parameters.pool_per_task + parameters.per_held_task
    short = {task.name: _short(task, parameters) for task in tasks}
    usable = [task for task in sorted(tasks, key=lambda t: t.name) if len(short[task.name]) >= needed]
    kinds = {task.name: kind_of(task).kind for task in usable}
    held = _held(usable, kinds, parameters)
    divided = [
        _held_task(task, kinds[task.name], short[task.name], parameters)
        if task.name in held
        else _trained_task(task, kinds[task.name], short[task.name], parameters)
        for task in usable
    ]
    return _with_validation(divided, parameters)


def _short(task: Task, parameters: DivisionParameters) -> list[Instance]:
    """The instances of a usable length, in a random order that depends on (seed, task)."""
    found = [i for i in task.instances if len(i.input) <= parameters.longest_input and i.input.strip()]
    random.Random(f"division-{parameters.seed}-{task.name}").shuffle(found)
    return found


def _held(tasks: Sequence[Task], kinds: Mapping[str, Kind], parameters: DivisionParameters) -> set[str]:
    held: set[str] = set()
    share = parameters.held_tasks / max(1, len(tasks))
    for kind in Kind:
        names = [task.name for task in tasks if kinds[task.name] is kind]
        held |= set(random.Random(f"held-{parameters.seed}-{kind}").sample(names, round(share * len(names))))
    return held


def _held_task(task: Task, kind: Kind, found: Sequence[Instance], parameters: DivisionParameters) -> DividedTask:
    return DividedTask(task=task, kind=kind, questions=tuple(found[: parameters.per_held_task]))


def _trained_task(task: Task, kind: Kind, found: Sequence[Instance], parameters: DivisionParameters) -> DividedTask:
    questions = found[: parameters.per_trained_task]
    asked = {nfc(i.input).strip() for i in questions}
    rest = [i for i in found[parameters.per_trained_task :] if nfc(i.input).strip() not in asked]
    return DividedTask(
        task=task,
        kind=kind,
        questions=tuple(questions),
        pool=tuple(rest[: parameters.pool_per_task]),
        rest=tuple(rest[: max(parameters.pool_per_task, round(parameters.rest_share * len(rest)))]),
    )


def _with_validation(divided: Sequence[DividedTask], parameters: DivisionParameters) -> list[DividedTask]:
    """Takes the last instances of random trained tasks for validation."""
    trained = [d.task.name for d in divided if len(d.rest) > len(d.pool)]
    num = min(parameters.validation_rows, len(trained))
    chosen = set(random.Random(f"validation-{parameters.seed}").sample(trained, num))
    return [replace(d, validation=d.rest[-1:], rest=d.rest[:-1]) if d.task.name in chosen else d for d in divided]


def write_division(divided: Sequence[DividedTask], folder: Path, source: Path) -> None:
    """Writes what curation, training and measuring read.

    `pool/` and `rest/` hold task files, `tasks.txt` the names of the tasks in them, `kinds.txt` the kinds of all tasks,
    `questions.jsonl` and `validation.jsonl` rows.

    Args:
        source: The folder of the whole task files.
    """
    for name in ("pool", "rest"):
        make_folder(folder / name)
    for d in divided:
        if d.rest:
            document = json.loads((source / f"{d.task.name}.json").read_bytes())
            _write_task(folder / "pool", d.task.name, document, d.pool)
            _write_task(folder / "rest", d.task.name, document, d.rest)
    _write_lines(folder / "kinds.txt", (f"{d.task.name} {d.kind}" for d in divided))
    _write_lines(folder / "tasks.txt", (d.task.name for d in divided if d.rest))
    _write_rows(folder / "questions.jsonl", (row_of(d, i, d.group) for d in divided for i in d.questions))
    _write_rows(folder / "validation.jsonl", (row_of(d, i, "validation") for d in divided for i in d.validation))
    write_json(folder / "division.json", summary(divided))


def _write_task(folder: Path, name: str, document: Mapping[str, object], instances: Iterable[Instance]) -> None:
    rows = [{"id": i.id, "input": i.input, "output": list(i.outputs)} for i in instances]
    with atomic_writer(folder / f"{name}.json") as file:
        file.write(json.dumps({**document, "Instances": rows}).encode())


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    with atomic_writer(path) as file:
        file.write("".join(f"{line}\n" for line in lines).encode())


def _write_rows(path: Path, rows: Iterable[Mapping[str, object]]) -> None:
    with atomic_writer(path) as file:
        for row in rows:
            file.write(json.dumps(row).encode() + b"\n")


def row_of(divided: DividedTask, instance: Instance, source: str) -> dict[str, str]:
    """An instance as a row of a mix; its answer is the first reference."""
    return {
        "id": f"{divided.task.name}/{instance.id}",
        "source": source,
        "task": divided.task.name,
        "kind": divided.kind.value,
        "instruction": divided.task.definition,
        "input": instance.input,
        "output": instance.outputs[0].strip(),
    }


def summary(divided: Sequence[DividedTask]) -> dict[str, object]:
    """Counts, for the report."""
    by_group: dict[str, list[DividedTask]] = defaultdict(list)
    for d in divided:
        by_group[d.group].append(d)
    return {
        "held_out_tasks": sorted(d.task.name for d in by_group[HELD_TASKS]),
        "trained_tasks": len(by_group[HELD_INSTANCES]),
        "exact_match_tasks": {group: sum(d.kind is Kind.EXACT_MATCH for d in ds) for group, ds in by_group.items()},
        "questions": {group: sum(len(d.questions) for d in ds) for group, ds in by_group.items()},
        "pool": sum(len(d.pool) for d in divided),
        "rest": sum(len(d.rest) for d in divided),
        "validation": sum(len(d.validation) for d in divided),
    }


def fingerprint(parameters: DivisionParameters, tasks: Sequence[Task]) -> dict[str, object]:
    """Everything that decides a division."""
    return {"parameters": asdict(parameters), "tasks": {task.name: task.sha256 for task in tasks}}
