import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.data.pack import PackPlan, digest_of, pack_in_order, rows_of
from harness.errors import DataError

LENGTHS = [100, 300, 50, 512, 200, 210, 90, 30, 400, 111]


def make(lengths: list[int] = LENGTHS, *, epochs: float = 3, seed: int = 1, packed: bool = True) -> PackPlan:
    return PackPlan.make(lengths, capacity=512, bins_per_batch=2, epochs=epochs, seed=seed, packed=packed)


@settings(deadline=None)
@given(st.lists(st.integers(1, 512), min_size=1, max_size=60), st.integers(1, 4), st.integers(1, 4), st.booleans())
def test_every_epoch_has_every_row_once_and_no_bin_overflows(
    lengths: list[int], epochs: int, bins: int, packed: bool
) -> None:
    plan = PackPlan.make(lengths, capacity=512, bins_per_batch=bins, epochs=epochs, seed=3, packed=packed)
    assert plan.num_epochs == epochs
    start = 0
    for end in plan.epoch_ends:
        epoch = plan.micro_batches[start:end]
        assert sorted(rows_of(epoch)) == list(range(len(lengths)))
        assert all(len(batch) == bins for batch in epoch[:-1])
        start = end
    assert start == len(plan.micro_batches)
    for batch in plan.micro_batches:
        assert all(sum(lengths[row] for row in found) <= 512 for found in batch)
        assert packed or all(len(found) == 1 for found in batch)


def test_epochs_differ_and_seeds_differ_and_all_is_repeatable() -> None:
    plan = make()
    first, second = (
        plan.micro_batches[: plan.epoch_ends[0]],
        plan.micro_batches[plan.epoch_ends[0] : plan.epoch_ends[1]],
    )
    assert first != second
    assert plan == make()
    assert plan != make(seed=2)


def test_a_part_of_an_epoch_has_a_part_of_its_bins() -> None:
    whole, part = make(epochs=2), make(epochs=1.5)
    assert part.num_epochs == 2
    assert part.micro_batches == whole.micro_batches[: len(part.micro_batches)]
    assert whole.epoch_ends[0] < len(part.micro_batches) < len(whole.micro_batches)


def test_steps_are_counted_with_the_last_smaller_one() -> None:
    plan = make(epochs=1)
    num = len(plan.micro_batches)
    assert (plan.num_steps(1), plan.num_steps(num), plan.num_steps(num - 1)) == (num, 1, 2)


def test_packing_wastes_little() -> None:
    lengths = [40 + n % 200 for n in range(2_000)]
    assert make(lengths, epochs=1).efficiency > 0.97


def test_what_is_written_is_read_back_and_an_altered_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "packs.jsonl"
    digest = make().write(path)
    assert PackPlan.read(path) == make()
    assert make().write(tmp_path / "again.jsonl") == digest
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], *reversed(lines[1:])]) + "\n")
    with pytest.raises(DataError, match="was altered"):
        PackPlan.read(path)
    path.write_text("{}\n")
    with pytest.raises(DataError, match="not a pack plan"):
        PackPlan.read(path)
    with pytest.raises(DataError, match="not a pack plan"):
        PackPlan.read(tmp_path / "none.jsonl")


@given(st.lists(st.integers(1, 512), min_size=1, max_size=60), st.integers(1, 4))
def test_an_evaluation_reads_every_row_in_order(lengths: list[int], bins: int) -> None:
    batches = pack_in_order(lengths, capacity=512, bins_per_batch=bins)
    assert list(rows_of(batches)) == list(range(len(lengths)))
    assert max(Counter(map(len, batches))) <= bins
    assert all(sum(lengths[row] for row in found) <= 512 for batch in batches for found in batch)


def test_a_rehearsal_begins_with_the_hardest_micro_batches_of_the_run() -> None:
    rng = random.Random(0)
    lengths = [rng.randint(5, 512) for _ in range(500)]
    plan = make(lengths)
    rehearsed = plan.rehearsal(lengths, worst=4, typical=6, seed=3)
    assert len(rehearsed.micro_batches) == 10
    assert all(batch in plan.micro_batches for batch in rehearsed.micro_batches)
    hard = sorted((sum(lengths[r] ** 2 for r in rows_of([batch])) for batch in plan.micro_batches), reverse=True)
    assert [sum(lengths[r] ** 2 for r in rows_of([batch])) for batch in rehearsed.micro_batches[:4]] == hard[:4]
    assert rehearsed.lengths_sha256 == digest_of(lengths)
    assert rehearsed.num_steps(2) == 5


def test_a_rehearsal_of_a_short_plan_takes_its_batches_again() -> None:
    plan = make([30, 70, 20], epochs=1)
    rehearsed = plan.rehearsal([30, 70, 20], worst=4, typical=6, seed=3)
    assert len(plan.micro_batches) == 1
    assert rehearsed.micro_batches == plan.micro_batches * 10


def test_the_same_plan_and_seed_are_rehearsed_alike() -> None:
    plan, lengths = make(LENGTHS), LENGTHS
    first, second, other = (plan.rehearsal(lengths, worst=2, typical=4, seed=seed) for seed in (5, 5, 6))
    assert first == second != other
