"""The stores of a run for what the base model was asked, by the hash of the request, so that nothing is asked twice.

    with AnswerStore(path) as store:
        store.add({key: answer})

Where it sits: beside the asking loop, for answers and for signals. They stay valid when parameters change.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Self

import orjson

from core.files import make_folder, naming
from core.generation.request import Answer, Refused


class ShardStore:
    """Values on disk, found by the hash of what was asked. Append-only; one fsynced line holds one shard."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._where: dict[int, tuple[int, int]] = {}
        self.num_damaged = 0
        """Lines that cannot be read."""
        self._read: tuple[int, Any] = (-1, None)
        make_folder(path.parent)
        with naming(path):
            path.touch()
            self._file: IO[bytes] = path.open("r+b")
        offset = 0
        for line in self._file:
            if not line.endswith(b"\n"):  # the process was killed while it wrote the line
                self._file.truncate(offset)
                break
            try:
                self._index(orjson.loads(line)["keys"], offset)
            except (orjson.JSONDecodeError, TypeError, KeyError):
                self.num_damaged += 1  # its shard will be asked again
            offset += len(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()

    def __contains__(self, key: str) -> bool:
        return int(key[:16], 16) in self._where

    def __len__(self) -> int:
        return len(self._where)

    def value(self, key: str) -> Any:
        """The stored JSON value of a key."""
        offset, position = self._where[int(key[:16], 16)]
        if self._read[0] != offset:
            self._file.seek(offset)
            self._read = (offset, orjson.loads(self._file.readline()))
        shard = self._read[1]
        assert shard["keys"][position] == key, f"{self.path}: two requests share the first 16 digits of {key}"
        return shard["answers"][position]

    def add(self, answers: Mapping[str, object]) -> None:
        """Appends the values of a shard as one line."""
        offset = self._file.seek(0, os.SEEK_END)
        keys = list(answers)
        line = {"keys": keys, "answers": list(answers.values())}
        with naming(self.path):
            self._file.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
            self._file.flush()
            os.fsync(self._file.fileno())
        self._index(keys, offset)

    def _index(self, keys: Sequence[str], offset: int) -> None:
        for position, key in enumerate(keys):
            self._where[int(key[:16], 16)] = (offset, position)


class AnswerStore(ShardStore):
    """Answers. A request that was answered once is not asked again, whichever parameters change."""

    def __getitem__(self, key: str) -> Answer:
        answer = self.value(key)
        return answer if isinstance(answer, str) else Refused(**answer)
