from pathlib import Path

import pytest

from core.files import read_json
from harness.checkpoint.pick import Picked, pick
from harness.checkpoint.scores import Scores
from harness.checkpoint.seal import seal
from harness.errors import CheckpointError
from tests.harness.checkpoint.test_seal import save


def choose(run: Path, *, verify: bool = True) -> Picked:
    return pick(run=run, output=run / "output", base=Path("base"), precision="4bit", verify=verify)


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


def test_the_highest_score_of_the_caller_wins_and_damaged_checkpoints_still_lose(tmp_path: Path) -> None:
    for step, loss in ((10, 1.0), (20, 2.0), (30, 1.5)):
        save(tmp_path / "output", step, loss)
    scores = Scores(source="judged.json", of={"checkpoint-10": 0.2, "checkpoint-20": 0.7, "checkpoint-30": 0.7})

    def by_score(scores: Scores) -> Picked:
        return pick(run=tmp_path, output=tmp_path / "output", base=Path("base"), precision="4bit", criterion=scores)

    picked = by_score(scores)
    assert (picked.checkpoint, picked.validation_loss) == ("checkpoint-30", 1.5), "of equal scores the lower loss"
    assert picked.rule == "highest score of judged.json; of equal scores the lower validation loss"
    assert {c.checkpoint: c.score for c in picked.candidates} == scores.of
    assert [c.verdict for c in picked.candidates] == [
        "0.5 below the highest score", "the highest score", "the highest score"
    ]  # fmt: skip
    (tmp_path / "output" / "checkpoint-30" / "adapter_model.safetensors").write_bytes(b"x")
    (tmp_path / "output" / "checkpoint-20" / "adapter_model.safetensors").write_bytes(b"y")
    with pytest.raises(CheckpointError, match=r"judged\.json: checkpoint-20 is no complete checkpoint"):
        by_score(scores)
    assert by_score(Scores(source="judged.json", of={"checkpoint-10": 0.2})).checkpoint == "checkpoint-10"
    with pytest.raises(CheckpointError, match=r"judged\.json: no score of checkpoint-10"):
        by_score(Scores(source="judged.json", of={"checkpoint-50": 0.2}))


def test_a_missing_loss_is_not_computed_here_and_said_so(tmp_path: Path) -> None:
    save(tmp_path / "output", 10, 2.0)
    save(tmp_path / "output", 20, None)
    picked = choose(tmp_path)
    assert picked.checkpoint == "checkpoint-10"
    assert [(r.id, r.detail) for r in picked.rejected] == [
        ("checkpoint-20", "no validation loss: `oneday pick` computes it")
    ]


def test_damaged_and_nan_checkpoints_are_rejected_with_a_reason(tmp_path: Path) -> None:
    save(tmp_path / "output", 10, 3.0)
    (save(tmp_path / "output", 20, 1.0) / "adapter_model.safetensors").write_bytes(b"x")
    seal(save(tmp_path / "output", 30, 0.5), step=30, validation_loss=float("nan"))
    picked = choose(tmp_path)
    assert picked.checkpoint == "checkpoint-10"
    assert {r.id: r.reason for r in picked.rejected} == {"checkpoint-20": "damaged", "checkpoint-30": "damaged"}
    reasons = (tmp_path / "08_pick" / "dropped.jsonl").read_text()
    assert "adapter_model.safetensors has 1 bytes" in reasons


def test_where_no_time_is_left_nothing_is_read_and_what_is_published_is_linked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import harness.checkpoint.seal

    save(tmp_path / "output", 10, 3.0)
    best = save(tmp_path / "output", 20, 1.0) / "adapter_model.safetensors"
    read: list[Path] = []
    hashed = harness.checkpoint.seal.file_sha256
    monkeypatch.setattr(harness.checkpoint.seal, "file_sha256", lambda path: (read.append(path), hashed(path))[1])
    assert choose(tmp_path, verify=False).checkpoint == "checkpoint-20"
    assert read == []
    assert choose(tmp_path).checkpoint == "checkpoint-20"
    assert {path.parent.name for path in read} == {"checkpoint-20"}
    published = tmp_path / "08_pick" / "adapter" / best.name
    assert published.stat().st_ino == best.stat().st_ino
    best.write_bytes(bytes([best.read_bytes()[0] ^ 1]) + best.read_bytes()[1:])
    picked = choose(tmp_path)
    assert picked.checkpoint == "checkpoint-10"
    assert [(r.id, r.detail) for r in picked.rejected] == [("checkpoint-20", f"{best.name} was altered")]


def test_a_later_pick_replaces_the_earlier_one(tmp_path: Path) -> None:
    save(tmp_path / "output", 10, 2.0)
    choose(tmp_path)
    save(tmp_path / "output", 20, 1.0)
    picked = choose(tmp_path)
    assert picked.checkpoint == "checkpoint-20"
    assert {path.name for path in (tmp_path / "08_pick").iterdir()} == {
        "adapter", "adapter-20", "picked.json", "dropped.jsonl",
    }  # fmt: skip
    assert (tmp_path / "08_pick" / "adapter").resolve().name == picked.adapter == "adapter-20"


def test_what_is_published_may_be_read_by_whoever_serves_it(tmp_path: Path) -> None:
    """safetensors writes files for their owner alone; a container serves as another user."""
    for file in save(tmp_path / "output", 10, 2.0).iterdir():
        file.chmod(0o600)
    choose(tmp_path)
    published = list((tmp_path / "08_pick" / "adapter").iterdir())
    assert len(published) == 2
    assert all(file.stat().st_mode & 0o044 == 0o044 for file in published)


def test_publishing_the_same_step_again_never_leaves_a_moment_without_it(tmp_path: Path) -> None:
    save(tmp_path / "output", 10, 2.0)
    assert [choose(tmp_path).adapter for _ in range(3)] == ["adapter-10", "adapter-10.1", "adapter-10"]


@pytest.mark.parametrize("dies_at", ["copyfile", "rename", "write_json", "symlink_to"])
def test_a_kill_while_publishing_leaves_the_pick_before_it_or_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dies_at: str
) -> None:
    save(tmp_path / "output", 10, 2.0)
    choose(tmp_path)
    save(tmp_path / "output", 20, 1.0)

    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        owner = {"copyfile": "harness.checkpoint.pick.shutil", "write_json": "harness.checkpoint.pick"}.get(
            dies_at, "pathlib.Path"
        )
        patched.setattr(f"{owner}.{dies_at}", die)
        with pytest.raises(KeyboardInterrupt):
            choose(tmp_path)
    picked = read_json(tmp_path / "08_pick" / "picked.json")
    for folder in (picked["adapter"], "adapter"):
        assert (tmp_path / "08_pick" / folder / "adapter_model.safetensors").is_file()
    assert picked["checkpoint"] == ("checkpoint-20" if dies_at == "symlink_to" else "checkpoint-10")
    assert choose(tmp_path).checkpoint == "checkpoint-20"
    assert (tmp_path / "08_pick" / "adapter").resolve().name.startswith("adapter-20")


def test_an_adapter_folder_of_an_older_version_gives_way_to_the_link(tmp_path: Path) -> None:
    save(tmp_path / "output", 10, 2.0)
    old = tmp_path / "08_pick" / "adapter"
    old.mkdir(parents=True)
    (old / "adapter_config.json").write_text("{}")
    choose(tmp_path)
    assert old.is_symlink()
    assert (old / "adapter_model.safetensors").is_file()


def test_no_whole_checkpoint_is_an_error_with_the_first_reason(tmp_path: Path) -> None:
    (tmp_path / "output").mkdir()
    with pytest.raises(CheckpointError, match="there is none"):
        choose(tmp_path)
    (save(tmp_path / "output", 10) / "optimizer.pt").unlink()
    with pytest.raises(CheckpointError, match=r"optimizer\.pt is missing"):
        choose(tmp_path)
