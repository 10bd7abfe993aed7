import json
from pathlib import Path

import pytest

from curation.errors import PredictionError
from curation.predict import Request
from curation.predictors.replay import ReplayPredictor
from curation.select import Kind


def request(task: str, instance: str) -> Request:
    return Request(
        task=task,
        id=instance,
        kind=Kind.GENERATION,
        prompt="p",
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
    replay = ReplayPredictor(path)
    assert replay.complete([request("task003_a_b", "i1"), request("task003_a_b", "i2")]) == ["one", None]


def test_the_record_with_most_shots_answers(tmp_path: Path) -> None:
    rows = [{"task": "t", "id": "i", "prediction": str(n), "shots": n} for n in (0, 5, 2)]
    assert ReplayPredictor(write(tmp_path, *rows)).complete([request("t", "i")]) == ["5"]


def test_the_revision_names_the_content(tmp_path: Path) -> None:
    first = ReplayPredictor(write(tmp_path, {"task": "t", "id": "i", "prediction": "a"})).revision
    assert first != ReplayPredictor(write(tmp_path, {"task": "t", "id": "i", "prediction": "b"})).revision


def test_an_empty_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(PredictionError, match="no prediction"):
        ReplayPredictor(write(tmp_path))
