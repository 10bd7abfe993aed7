import json
import random
from pathlib import Path

import pytest

from core.errors import PredictionError
from core.generation.replay import ReplayPredictor
from core.generation.request import Kind, Refused, Request


def request(task: str, instance: str) -> Request:
    return Request(
        task=task,
        id=instance,
        kind=Kind.GENERATION,
        prompt="p",
        num_shared=0,
        num_shots=0,
        references=("x",),
        max_new_tokens=1,
        stop=(),
    )


def write(tmp_path: Path, *rows: dict[str, object]) -> Path:
    path = tmp_path / "p.jsonl"
    path.write_text("".join(json.dumps({"references": ["x"], **row}) + "\n" for row in rows))
    return path


def test_answers_by_task_and_id_whatever_the_spelling(tmp_path: Path) -> None:
    path = write(tmp_path, {"task": "subtask003_a-b", "ni_id": "i1", "prediction": "one", "shots": 2})
    replay = ReplayPredictor([path])
    assert replay.complete([request("task003_a_b", "i1"), request("task003_a_b", "i2")]) == [
        "one",
        Refused(reason="no_stored_prediction", detail="task003_a_b"),
    ]


def test_the_record_with_most_shots_answers(tmp_path: Path) -> None:
    rows = [{"task": "t", "id": "i", "prediction": str(n), "shots": n} for n in (0, 5, 2)]
    assert ReplayPredictor([write(tmp_path, *rows)]).complete([request("t", "i")]) == ["5"]


def test_the_revision_names_the_content(tmp_path: Path) -> None:
    first = ReplayPredictor([write(tmp_path, {"task": "t", "id": "i", "prediction": "a"})]).revision
    assert first != ReplayPredictor([write(tmp_path, {"task": "t", "id": "i", "prediction": "b"})]).revision


def test_an_empty_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(PredictionError, match="no prediction"):
        ReplayPredictor([write(tmp_path)])


def test_neither_the_order_of_lines_nor_of_files_matters(tmp_path: Path) -> None:
    rows = [{"task": "t", "id": f"i{n % 3}", "prediction": f"answer {n}", "references": ["x"]} for n in range(9)]
    lines = [json.dumps(row) + "\n" for row in rows]
    found = set()
    for shuffle in range(4):
        random.Random(shuffle).shuffle(lines)
        folder = tmp_path / str(shuffle)
        folder.mkdir()
        files = [folder / "a.jsonl", folder / "b.jsonl"]
        files[0].write_text("".join(lines[:4]))
        files[1].write_text("".join(lines[4:]))
        replay = ReplayPredictor(files[:: 1 if shuffle % 2 else -1])
        found.add(tuple(replay.complete([request("t", f"i{n}") for n in range(3)])))
    assert len(found) == 1
