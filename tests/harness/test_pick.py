from pathlib import Path

import pytest

from curation.stage import read_json
from harness.checkpoint import seal
from harness.errors import CheckpointError
from harness.pick import Picked, pick
from tests.harness.test_checkpoint import save


def choose(run: Path, computed: dict[str, float] | None = None) -> Picked:
    def loss_of(checkpoint: Path) -> float:
        return (computed or {})[checkpoint.name]

    return pick(run=run, output=run / "output", base=Path("base"), four_bit=True, loss_of=loss_of)


def test_the_lowest_validation_loss_wins_and_its_adapter_is_copied(tmp_path: Path) -> None:
    for step, loss in ((10, 2.0), (20, 1.0), (30, 1.5)):
        save(tmp_path / "output", step, loss)
    picked = choose(tmp_path)
    assert (picked.checkpoint, picked.validation_loss) == ("checkpoint-20", 1.0)
    adapter = tmp_path / "08_pick" / "adapter"
    original = tmp_path / "output" / "checkpoint-20" / "adapter_model.safetensors"
    assert (adapter / "adapter_model.safetensors").read_bytes() == original.read_bytes()
    assert not (adapter / "optimizer.pt").exists()
    assert read_json(tmp_path / "08_pick" / "picked.json")["checkpoint"] == "checkpoint-20"


def test_of_equal_losses_the_earlier_step_wins(tmp_path: Path) -> None:
    for step in (30, 20):
        save(tmp_path / "output", step, 1.0)
    assert choose(tmp_path).step == 20


def test_a_missing_loss_is_computed_and_said_so(tmp_path: Path) -> None:
    save(tmp_path / "output", 10, 2.0)
    save(tmp_path / "output", 20, None)
    picked = choose(tmp_path, {"checkpoint-20": 1.5})
    assert picked.checkpoint == "checkpoint-20"
    assert [c.measured_by for c in picked.candidates] == ["trainer", "picker"]


def test_damaged_and_nan_checkpoints_are_rejected_with_a_reason(tmp_path: Path) -> None:
    save(tmp_path / "output", 10, 3.0)
    (save(tmp_path / "output", 20, 1.0) / "adapter_model.safetensors").write_bytes(b"x")
    seal(save(tmp_path / "output", 30, 0.5), step=30, validation_loss=None)
    picked = choose(tmp_path, {"checkpoint-30": float("nan")})
    assert picked.checkpoint == "checkpoint-10"
    assert {r.id: r.reason for r in picked.rejected} == {"checkpoint-20": "damaged", "checkpoint-30": "not_finite"}
    reasons = (tmp_path / "08_pick" / "dropped.jsonl").read_text()
    assert "adapter_model.safetensors has 1 bytes" in reasons


def test_a_later_pick_replaces_the_earlier_one(tmp_path: Path) -> None:
    save(tmp_path / "output", 10, 2.0)
    choose(tmp_path)
    save(tmp_path / "output", 20, 1.0)
    assert choose(tmp_path).checkpoint == "checkpoint-20"
    assert not list((tmp_path / "08_pick").glob("*.tmp"))


def test_no_whole_checkpoint_is_an_error_with_the_first_reason(tmp_path: Path) -> None:
    (tmp_path / "output").mkdir()
    with pytest.raises(CheckpointError, match="there is none"):
        choose(tmp_path)
    (save(tmp_path / "output", 10) / "optimizer.pt").unlink()
    with pytest.raises(CheckpointError, match=r"optimizer\.pt is missing"):
        choose(tmp_path)
