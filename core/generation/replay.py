"""Stored predictions instead of a model: re-bucketing without a GPU.

A record is found by (task, id). Task names are compared canonically, and v1's `subtask003_x` is `task003_x`.
"""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import orjson

from core.errors import PredictionError
from core.files import file_sha256, sha256
from core.generation.prediction import canonical_name, parse_prediction
from core.generation.request import Answer, Refused, Request

NO_STORED_PREDICTION = "no_stored_prediction"


class ReplayPredictor:
    """Answers from files of predictions; texts stay on disk, so that memory holds an index alone.

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
        self._where: dict[bytes, tuple[int, bytes, int, int]] = {}
        for number, path in enumerate(self._paths):
            self._read(number, path)
        if not self._where:
            names = ", ".join(map(str, paths))
            raise PredictionError(
                f"{names}: no prediction in it. `predictor=replay` needs a file of stored predictions."
            )
        digests = sorted(file_sha256(path) for path in paths)
        self._revision = f"replay:{digests[0] if len(digests) == 1 else sha256(' '.join(digests).encode())}"

    def _read(self, number: int, path: Path) -> None:
        offset = 0
        try:
            f = path.open("rb")
        except OSError as e:
            raise PredictionError(f"{path}: cannot be read ({e.strerror}). Check the path.") from e
        with f:
            for record, line in enumerate(f, start=1):
                if line.strip():
                    self._index(line, f"{path}: record {record}", number, offset)
                offset += len(line)

    def _index(self, line: bytes, where: str, number: int, offset: int) -> None:
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError as e:
            raise PredictionError(f"{where} is not JSON ({e}). Mend or remove the line.") from e
        if not isinstance(row, dict):
            raise PredictionError(f"{where} is not a JSON object. Each line holds one record.")
        prediction = parse_prediction(row, where)
        key = _key(prediction.task, prediction.id)
        known = self._where.get(key)
        rank = (-prediction.num_shots, sha256(line.strip()).encode()[:8])
        if known is None or rank < known[:2]:
            self._where[key] = (*rank, number, offset)

    @property
    def revision(self) -> str:
        """The hash of the replayed files."""
        return self._revision

    def fits(self, prompt: str, max_new_tokens: int) -> bool:
        """Nothing is too long to be looked up."""
        return True

    def complete(self, requests: Sequence[Request]) -> list[Answer]:
        """The stored answers; `no_stored_prediction` where there is none."""
        with contextlib.ExitStack() as stack:
            files = [stack.enter_context(path.open("rb")) for path in self._paths]
            return [self._find(r, files) for r in requests]

    def _find(self, request: Request, files: Sequence[IO[bytes]]) -> Answer:
        found = self._where.get(_key(request.task, request.id))
        if found is None:
            return Refused(reason=NO_STORED_PREDICTION, detail=request.task)
        f = files[found[2]]
        f.seek(found[3])
        return str(orjson.loads(f.readline())["prediction"])


def _key(task: str, instance: str) -> bytes:
    return bytes.fromhex(sha256(f"{canonical_name(task.removeprefix('sub'))}\0{instance}".encode())[:24])
