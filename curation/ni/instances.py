"""The instances of the selected tasks, in one file that 01_tasks writes and every later stage reads.

    with atomic_writer(path) as file:
        block = write_instances(file, instances)
    for instance in InstanceStore(path).read(block):
        print(instance.id)

A task file is parsed once, when its task is selected. Later stages read one line of this file per instance, so memory
holds one instance at a time, and a task file that changes during a run cannot mix two versions of a task.

Where it sits: task -> select -> **instances** -> prompt and candidate.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import orjson

from core.files import JSON_OPTIONS
from curation.ni.task import Instance

INSTANCES = "instances.jsonl"
"""Name of the file in `01_tasks`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """The part of the file that holds one task's instances."""

    offset: int
    num_instances: int


def write_instances(file: IO[bytes], instances: Iterable[Instance]) -> Block:
    """Appends one task's instances, one JSON line each."""
    offset, num = file.tell(), 0
    for instance in instances:
        file.write(orjson.dumps(instance, option=JSON_OPTIONS))
        num += 1
    return Block(offset=offset, num_instances=num)


class InstanceStore:
    """Reads the file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self, block: Block) -> Iterator[Instance]:
        """A task's instances in the order of its file."""
        return (_parse(line) for _, line in self._lines(block))

    def offsets(self, block: Block) -> dict[str, int]:
        """Where the line of each instance begins, by the instance's id."""
        return {_parse(line).id: offset for offset, line in self._lines(block)}

    def at(self, offsets: Iterable[int]) -> Iterator[Instance]:
        """The instances whose lines begin at these offsets, in the order given."""
        with self.path.open("rb") as file:
            for offset in offsets:
                file.seek(offset)
                yield _parse(file.readline())

    def _lines(self, block: Block) -> Iterator[tuple[int, bytes]]:
        with self.path.open("rb") as file:
            offset = file.seek(block.offset)
            for _ in range(block.num_instances):
                line = file.readline()
                yield offset, line
                offset += len(line)


def _parse(line: bytes) -> Instance:
    row = orjson.loads(line)
    return Instance(
        id=row["id"],
        input=row["input"],
        outputs=tuple(row["outputs"]),
        instruction=row["instruction"],
        also_accepted=tuple(row["also_accepted"]),
        dialogue=row["dialogue"],
    )
