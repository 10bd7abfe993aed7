"""Stored predictions instead of a model: re-bucketing without a GPU.

A record is found by (task, id). Task names are compared canonically, and v1's `subtask003_x` is `task003_x`.
"""

import contextlib
from array import array
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

import orjson

from core.errors import PredictionError
from core.files import file_sha256, sha256
from core.generation.prediction import MeasuredPrediction, Prediction, canonical_name, parse_prediction
from core.generation.request import Answer, Refused, Request
from core.generation.signals import Signals

NO_STORED_PREDICTION = "no_stored_prediction"


class ReplayPredictor:
    """Answers from files of predictions. Their texts stay on disk; memory holds 20 bytes a record.

    Args:
        paths: JSON lines as `core.generation.prediction.read_predictions` takes them. Where one (task, id) occurs more
            than once, the record with most shots answers, of equals the one whose line sorts first: neither the order
            of lines nor of files matters.
    Raises:
        PredictionError: no record, or one lacks a field.
    """

    in_flight = 1
    keeps_answers = False

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = sorted(paths)
        index = _Index()
        for number, path in enumerate(self._paths):
            for offset, prediction in _records(path):
                index.add(prediction, number, offset)
        if not index.keys:
            names = ", ".join(map(str, paths))
            raise PredictionError(
                f"{names}: no prediction in it. `predictor=replay` needs a file of stored predictions."
            )
        with self._files() as files:
            self._keys, self._places = index.sorted(files)
        digests = sorted(file_sha256(path) for path in paths)
        self._revision = f"replay:{digests[0] if len(digests) == 1 else sha256(' '.join(digests).encode())}"

    @property
    def revision(self) -> str:
        """The hash of the replayed files."""
        return self._revision

    def fits(self, prompt: str, max_new_tokens: int) -> bool:
        """Nothing is too long to be looked up."""
        return True

    def complete(self, requests: Sequence[Request]) -> list[Answer]:
        """The stored answers; `no_stored_prediction` where there is none."""
        return [
            Refused(reason=NO_STORED_PREDICTION, detail=request.task) if line is None else _answer(line, request)
            for request, line in zip(requests, self._lines(requests), strict=True)
        ]

    def signals(self, requests: Sequence[Request]) -> list[Signals | None]:
        """The stored signals; None where there are none."""
        stored = (line and _parse(line, "a stored prediction") for line in self._lines(requests))
        return [one.signals if isinstance(one, MeasuredPrediction) else None for one in stored]

    def _lines(self, requests: Sequence[Request]) -> list[bytes | None]:
        """The stored line of each request."""
        import numpy as np

        keys = np.array([_key(r.task, r.id) for r in requests], dtype=np.uint64)
        numbers = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        stored = (self._keys[numbers] == keys).tolist()
        places = self._places[numbers].tolist()
        with self._files() as files:
            return [_line(files, place) if is_stored else None for is_stored, place in zip(stored, places, strict=True)]

    @contextlib.contextmanager
    def _files(self) -> Iterator[Sequence[IO[bytes]]]:
        with contextlib.ExitStack() as stack:
            yield [stack.enter_context(path.open("rb")) for path in self._paths]


def _answer(line: bytes, request: Request) -> str:
    row = orjson.loads(line)
    assert row.get("id", row.get("ni_id")) == request.id, f"two records share the first 64 bits of {request.id}'s key"
    return str(row["prediction"])


def _records(path: Path) -> Iterator[tuple[int, Prediction]]:
    """Every record of a file with the offset of its line.

    Raises:
        PredictionError: unreadable, not JSON, or it lacks a field.
    """
    try:
        file = path.open("rb")
    except OSError as e:
        raise PredictionError(f"{path}: cannot be read ({e.strerror}). Check the path.") from e
    offset = 0
    with file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield offset, _parse(line, f"{path}: record {number}")
            offset += len(line)


def _parse(line: bytes, where: str) -> Prediction:
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError as e:
        raise PredictionError(f"{where} is not JSON ({e}). Mend or remove the line.") from e
    if not isinstance(row, dict):
        raise PredictionError(f"{where} is not a JSON object. Each line holds one record.")
    return parse_prediction(row, where)


class _Index:
    """Where the record of each (task, id) stands, in arrays of numbers."""

    def __init__(self) -> None:
        self.keys, self._shots, self._places = array("Q"), array("q"), array("Q")

    def add(self, prediction: Prediction, file: int, offset: int) -> None:
        """One record."""
        self.keys.append(_key(prediction.task, prediction.id))
        self._shots.append(prediction.num_shots)
        self._places.append(file << _OFFSET_BITS | offset)

    def sorted(self, files: Sequence[IO[bytes]]) -> tuple[Any, Any]:
        """Keys, each once and rising, and the places of the records that answer."""
        import numpy as np

        keys, shots = np.frombuffer(self.keys, np.uint64), np.frombuffer(self._shots, np.int64)
        order = np.lexsort((-shots, keys))
        keys, shots, places = keys[order], shots[order], np.frombuffer(self._places, np.uint64)[order]
        starts = np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1])))
        ends = np.append(starts[1:], len(keys))
        best = starts.copy()
        for number in np.flatnonzero(ends - starts > 1).tolist():
            start, end = int(starts[number]), int(ends[number])
            most = [i for i in range(start, end) if shots[i] == shots[start]]
            best[number] = min(most, key=lambda i: _line_hash(files, int(places[i]))) if len(most) > 1 else start
        return keys[starts], places[best]


_OFFSET_BITS = 48
"""Of a place: the file's number stands above them."""


def _line(files: Sequence[IO[bytes]], place: int) -> bytes:
    file = files[place >> _OFFSET_BITS]
    file.seek(place & (1 << _OFFSET_BITS) - 1)
    return file.readline()


def _line_hash(files: Sequence[IO[bytes]], place: int) -> str:
    return sha256(_line(files, place).strip())


def _key(task: str, instance: str) -> int:
    """64 bits of a hash; `complete` checks that the record it finds is the one asked for."""
    return int(sha256(f"{_task_key(task)}\0{instance}".encode())[:16], 16)


@lru_cache(maxsize=1024)
def _task_key(task: str) -> str:
    return canonical_name(task.removeprefix("sub"))
