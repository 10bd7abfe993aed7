from pathlib import Path

import pytest

from core.errors import StageError
from core.files import read_json, write_json
from curation.curate import curate
from curation.verify import verify
from tests.curation.test_curate import curation


@pytest.fixture
def run(tmp_path: Path) -> Path:
    made = curation(tmp_path)
    curate(made)
    return made.run


def failed(run: Path) -> list[str]:
    return [v.what for v in verify(run) if not v.is_fine]


def test_a_finished_run_agrees_with_everything_it_wrote_down(run: Path) -> None:
    assert failed(run) == []
    assert sum(1 for _ in verify(run)) > 35


@pytest.mark.parametrize(
    ("file", "told"),
    [
        ("01_tasks/tasks.jsonl", ["01_tasks/tasks.jsonl"]),
        ("03_scores/scores.jsonl", ["03_scores/scores.jsonl"]),
        ("05_mix/train.parquet", ["05_mix/train.parquet", "manifest: train.parquet"]),
    ],
)
def test_a_changed_byte_is_found(run: Path, file: str, told: list[str]) -> None:
    data = bytearray((run / file).read_bytes())
    data[len(data) // 2] ^= 1
    (run / file).write_bytes(data)
    assert failed(run) == told


def test_a_stage_made_from_another_one_is_found(run: Path) -> None:
    inputs = read_json(run / "04_samples" / "inputs.json")
    write_json(run / "04_samples" / "inputs.json", {**inputs, "scores": "0" * 64})
    assert failed(run) == ["04_samples was made from 03_scores", "manifest: inputs of 04_samples"]


def test_a_run_that_is_not_finished_says_so(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="01_tasks"):
        list(verify(tmp_path))
