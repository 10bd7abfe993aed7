from pathlib import Path

import pytest

from core.files import write_json
from harness.checkpoint.content import ADAPTER_FILES, RESUME_FILES
from harness.checkpoint.seal import (
    SEAL,
    Checkpoint,
    inspect,
    inspect_all,
    rotate,
    seal,
    set_aside,
    share_saved,
)


def save(output: Path, step: int, loss: float | None = 1.0) -> Path:
    folder = output / f"checkpoint-{step}"
    folder.mkdir(parents=True)
    for name in (*ADAPTER_FILES, *RESUME_FILES):
        (folder / name).write_bytes(f"{name} {step}".encode() * 10)
    seal(folder, step=step, validation_loss=loss)
    return folder


def test_a_sealed_checkpoint_is_whole(tmp_path: Path) -> None:
    folder = save(tmp_path, 40, 1.25)
    assert inspect(folder) == Checkpoint(path=folder, step=40, validation_loss=1.25)


@pytest.mark.parametrize("name", [*ADAPTER_FILES, *RESUME_FILES])
@pytest.mark.parametrize("damage", ["missing", "truncated", "altered"])
def test_every_kind_of_damage_to_every_file_is_recognised(tmp_path: Path, name: str, damage: str) -> None:
    path = save(tmp_path, 40) / name
    data = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(data[:-3] if damage == "truncated" else bytes([data[0] ^ 1]) + data[1:])
    result = inspect(path.parent)
    assert isinstance(result, str)
    assert name in result


@pytest.mark.parametrize("content", [None, "", "{", "[]", '{"step": 1}'])
def test_a_missing_or_broken_seal_is_recognised(tmp_path: Path, content: str | None) -> None:
    folder = save(tmp_path, 40)
    (folder / SEAL).unlink()
    if content is not None:
        (folder / SEAL).write_text(content)
    assert "seal" in str(inspect(folder))


def test_a_file_that_was_never_saved_is_recognised(tmp_path: Path) -> None:
    folder = save(tmp_path, 40)
    (folder / "optimizer.pt").unlink()
    seal(folder, step=40, validation_loss=1.0)
    assert inspect(folder) == "optimizer.pt was never saved"


def test_a_loss_that_is_not_finite_is_recognised(tmp_path: Path) -> None:
    assert inspect(save(tmp_path, 40, float("nan"))) == "its validation loss is nan"
    assert inspect(save(tmp_path, 50, float("inf"))) == "its validation loss is inf"
    assert rotate(tmp_path, save_total_limit=1) == [tmp_path / "checkpoint-40"]


def test_damaged_checkpoints_are_set_aside_with_their_reason(tmp_path: Path) -> None:
    save(tmp_path, 10)
    (save(tmp_path, 20) / "optimizer.pt").unlink()
    good, bad = inspect_all(tmp_path)
    assert [c.step for c in good] == [10]
    assert [(d.id, d.detail) for d in bad] == [("checkpoint-20", "optimizer.pt is missing")]
    assert [d.detail for d in set_aside(tmp_path)] == ["optimizer.pt is missing"]
    assert (tmp_path / "damaged-checkpoint-20").is_dir()
    assert inspect_all(tmp_path)[1] == []


def test_rotation_keeps_the_best_and_the_newest(tmp_path: Path) -> None:
    for step, loss in ((10, 3.0), (20, 1.0), (30, 2.0), (40, 2.5), (50, None)):
        save(tmp_path, step, loss)
    gone = rotate(tmp_path, save_total_limit=2)
    assert [p.name for p in gone] == ["checkpoint-10", "checkpoint-30", "checkpoint-40"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoint-20", "checkpoint-50"]


def test_rotation_deletes_no_more_than_it_must(tmp_path: Path) -> None:
    for step in (10, 20, 30):
        save(tmp_path, step, 1.0 / step)
    assert [p.name for p in rotate(tmp_path, save_total_limit=2)] == ["checkpoint-10"]
    assert rotate(tmp_path, save_total_limit=5) == []


def test_how_much_an_interrupted_training_has_saved(tmp_path: Path) -> None:
    assert share_saved(tmp_path) == 0
    for step, steps in ((4, 8), (6, 8), (7, 0)):
        write_json(tmp_path / f"checkpoint-{step}" / "trainer_state.json", {"global_step": step, "max_steps": steps})
    (tmp_path / "checkpoint-8").mkdir()
    assert share_saved(tmp_path) == 0.75
