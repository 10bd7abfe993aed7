"""The trainer's own parts, without a training run."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from core.model.language_model import LanguageModel
from core.model.libraries import disable_cpu_repack
from core.model.token_ids import IGNORED_LABEL
from harness.checkpoint.content import ADAPTER_FILES, RESUME_FILES
from harness.checkpoint.seal import SAVING, Checkpoint, inspect, inspect_all, save_sealed
from harness.data.pack import PackPlan
from harness.inside.trainer import (
    ExactTrainer,
    PlannedBatches,
    batch_digest,
    micro_step_seed,
    num_real_tokens,
    split_batch,
)


def packed(*rows: tuple[int, ...]) -> dict[str, torch.Tensor]:
    """A batch whose rows are made of samples of these lengths."""
    positions = torch.stack([torch.cat([torch.arange(n) for n in row]) for row in rows])
    ids = torch.arange(positions.numel()).reshape(positions.shape)
    return {"input_ids": ids, "labels": ids.clone(), "position_ids": positions}


def test_batches_come_as_axolotl_wants_them() -> None:
    batches = [[[3, 1], [2]], [[0]]]
    assert list(PlannedBatches(batches, "bins")) == batches
    assert list(PlannedBatches(batches, "joined")) == [[[3, 1, 2]], [[0]]]
    assert list(PlannedBatches(batches, "rows")) == [[3, 1, 2], [0]]
    assert len(PlannedBatches(batches, "rows")) == 2


def test_a_batch_is_halved_by_rows_then_between_samples() -> None:
    batch = packed((3, 5), (8,), (4, 4))
    first, second = split_batch(batch)
    assert (first["input_ids"].shape, second["input_ids"].shape) == ((1, 8), (2, 8))
    left, right = split_batch(first)
    assert left["position_ids"].tolist() == [[0, 1, 2]]
    assert right["position_ids"].tolist() == [[0, 1, 2, 3, 4]]
    assert len(split_batch(left)) == 1
    assert torch.equal(torch.cat([left["input_ids"], right["input_ids"]], dim=1), first["input_ids"])


class Upstream:
    """Stands below the mixin: a card that holds so many tokens, and a loss that is the mean of the labels."""

    most_tokens = 1_000

    def prediction_step(self, model: Any, inputs: Any, loss_only: bool, ignore_keys: Any = None) -> Any:
        if inputs["input_ids"].numel() > self.most_tokens:
            raise torch.OutOfMemoryError("CUDA out of memory")
        labels = inputs["labels"][..., 1:]
        return labels[labels != IGNORED_LABEL].double().mean(), None, None


class Trainer(ExactTrainer, Upstream):
    def __init__(self, most_tokens: int) -> None:
        self.most_tokens = most_tokens
        self.halvings: list[str] = []
        self._summed_loss, self._num_answer_tokens = 0.0, 0
        self.args = SimpleNamespace(device="cpu")
        self.state = SimpleNamespace(global_step=7)
        events = SimpleNamespace(emit=lambda event: self.halvings.append(event.event))
        self.budget = SimpleNamespace(events=events)  # type: ignore[assignment]


def test_an_evaluation_that_does_not_fit_is_halved_and_tells_the_same() -> None:
    batch = packed((16,), (6, 10))
    for row in (0, 1):
        for start in (0, 6) if row else (0,):
            batch["labels"][row, start] = IGNORED_LABEL  # the first token of a sample is never an answer
    roomy, tight = Trainer(1_000), Trainer(10)
    loss = roomy.prediction_step(None, packed_without_long(batch), True)[0]
    assert roomy.halvings == []
    same = tight.prediction_step(None, packed_without_long(batch), True)[0]
    assert float(same) == pytest.approx(float(loss))
    assert tight.halvings == ["evaluation_halved"]
    assert tight._num_answer_tokens == roomy._num_answer_tokens
    with pytest.raises(torch.OutOfMemoryError):
        Trainer(5).prediction_step(None, packed_without_long(batch), True)


def packed_without_long(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The row of two samples alone."""
    return {key: value[1:].clone() for key, value in batch.items()}


def test_a_digest_follows_tokens_labels_and_positions() -> None:
    digests = {batch_digest(packed((8,))), batch_digest(packed((3, 5)))}
    for key in ("input_ids", "labels"):
        changed = packed((8,))
        changed[key][0, 3] += 1
        digests.add(batch_digest(changed))
    assert len(digests) == 4
    assert batch_digest(packed((8,))) == batch_digest(packed((8,)))


def test_every_micro_step_has_a_seed_of_its_own() -> None:
    seeds = {micro_step_seed(seed, step, micro) for seed in (1, 2) for step in range(50) for micro in range(4)}
    assert len(seeds) == 400
    torch.manual_seed(max(seeds))


def test_padding_is_no_token() -> None:
    ids = torch.tensor([[5, 6, 7, 0, 0]])
    assert num_real_tokens({"input_ids": ids}, pad_token_id=0) == 3
    assert num_real_tokens({"input_ids": ids, "attention_mask": torch.tensor([[1, 1, 2, 2, 0]])}, pad_token_id=9) == 4


def test_the_plan_says_how_many_micro_batches_there_are() -> None:
    plan = PackPlan.make([5, 6, 7], capacity=16, bins_per_batch=1, epochs=2, seed=1)
    assert len(PlannedBatches(plan.micro_batches, "bins")) == plan.epoch_ends[-1]


def test_gradients_survive_an_evaluation(demo_base: Path) -> None:
    """On CPUs with AVX512-BF16 bitsandbytes repacks its weights at the first evaluation and loses the gradient."""
    model = LanguageModel.load(demo_base, precision="4bit").model
    disable_cpu_repack(model)
    ids = torch.tensor([[1, 5, 6, 7, 8, 9]])

    def gradient() -> torch.Tensor:
        embedded = model.get_input_embeddings()(ids).detach().requires_grad_()
        model.train()
        model(inputs_embeds=embedded, labels=ids).loss.backward()
        assert embedded.grad is not None
        return embedded.grad

    before = gradient()
    with torch.no_grad():
        model.eval()
        logits = model(ids).logits
    after = gradient()
    assert float(before.norm()) > 0
    assert torch.equal(before, after)
    with torch.no_grad():
        model.eval()
        assert torch.equal(model(ids).logits, logits)


# --- saves


def writer(output: Path, step: int, size: int = 10) -> Any:
    def write() -> None:
        folder = output / SAVING / f"checkpoint-{step}"
        folder.mkdir(parents=True)
        for name in (*ADAPTER_FILES, *RESUME_FILES):
            (folder / name).write_bytes(os.urandom(size))

    return write


def save(output: Path, step: int, loss: float, *, size: int = 10, keep: int = 10, run_id: str = "run") -> Any:
    write = writer(output, step, size)
    return save_sealed(output, write, step=step, validation_loss=loss, run_id=run_id, save_total_limit=keep)


def test_a_checkpoint_is_whole_or_not_there(tmp_path: Path) -> None:
    def breaks() -> None:
        writer(tmp_path, 2)()
        raise RuntimeError("half-way")

    assert save(tmp_path, 1, 0.5).whole
    with pytest.raises(RuntimeError, match="half-way"):
        save_sealed(tmp_path, breaks, step=2, validation_loss=0.4, save_total_limit=10)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoint-1", SAVING] or sorted(
        p.name for p in tmp_path.iterdir()
    ) == ["checkpoint-1"]


def test_what_another_run_wrote_is_not_resumed_from(tmp_path: Path) -> None:
    save(tmp_path, 1, 0.5, run_id="mine")
    save(tmp_path, 2, 0.4, run_id="theirs")
    good, bad = inspect_all(tmp_path, run_id="mine")
    assert [c.step for c in good] == [1]
    assert [(d.id, d.detail) for d in bad] == [("checkpoint-2", "another run wrote it")]


@pytest.fixture
def small_disk(tmp_path: Path) -> Any:
    """A file system of 1 MiB."""
    import subprocess

    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("no right to mount a small file system here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_on_a_full_disk_the_oldest_spare_one_goes_and_then_only_the_save(small_disk: Path) -> None:
    for step, loss in ((1, 0.1), (2, 0.9), (3, 0.8)):
        assert save(small_disk, step, loss, size=50_000).whole  # 300 kB each: three fit
    fourth = save(small_disk, 4, 0.7, size=50_000)
    assert (fourth.whole, fourth.deleted) == (True, ("checkpoint-2",))
    assert isinstance(inspect(small_disk / "checkpoint-4"), Checkpoint)
    large = save(small_disk, 5, 0.6, size=150_000)
    assert (large.whole, large.deleted) == (False, ("checkpoint-3",))
    good, bad = inspect_all(small_disk)
    assert ([c.step for c in good], bad) == ([1, 4], [])  # the best and the newest
