import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import MixError
from core.generation.request import Kind
from curation.add import added_rows
from curation.candidate import Candidate
from curation.sample import Control, Quota, SampleParameters, allocate, draw, drawable_of
from curation.sources.source import NI_EXACT_MATCH, NI_GENERATION, NI_SOURCES

CELLS = st.lists(st.tuples(st.integers(0, 400), st.integers(0, 60)), min_size=1, max_size=12)


@given(st.integers(0, 500), CELLS)
def test_an_allocation_meets_its_target_or_takes_all_there_is(target: int, cells: list[tuple[int, int]]) -> None:
    weights, available = [float(w) for w, _ in cells], [a for _, a in cells]
    amounts = allocate(target, weights, available)
    assert all(0 <= amount <= a for amount, a in zip(amounts, available, strict=True))
    assert all(amount == 0 for amount, w in zip(amounts, weights, strict=True) if w == 0)
    assert sum(amounts) == min(target, sum(a for w, a in cells if w > 0))


@given(st.integers(0, 500), CELLS)
def test_an_allocation_is_fair_between_cells_that_are_not_full(target: int, cells: list[tuple[int, int]]) -> None:
    weights, available = [float(w) for w, _ in cells], [a for _, a in cells]
    amounts = allocate(target, weights, available)
    rates = [a / w for a, w, have in zip(amounts, weights, available, strict=True) if w > 0 and a < have]
    slack = max((1 / w for w in weights if w > 0), default=0)
    assert not rates or max(rates) - min(rates) <= 2 * slack


def test_what_a_cell_cannot_give_goes_to_the_others_in_proportion() -> None:
    assert allocate(100, [1, 1, 2], [10, 100, 100]) == [10, 30, 60]
    assert allocate(3, [350, 350, 50], [9, 9, 9]) == [2, 1, 0]


def candidate(number: int, kind: Kind, bucket: int, task: str = "t", *, solved: bool = False) -> Candidate:
    return Candidate(
        source=NI_SOURCES[kind],
        task=task,
        id=f"{task}-{number:03d}",
        kind=kind,
        bucket=bucket,
        solved=solved,
        exact=b"",
        num_tokens=0,
    )


def test_generation_takes_40_percent_of_the_worst_bucket_and_10_of_each_other() -> None:
    pool = [candidate(n, Kind.GENERATION, n % 7) for n in range(700)]
    chosen, _ = draw(pool, {NI_GENERATION: 100}, SampleParameters())
    assert Counter(c.bucket for c in chosen) == {0: 40, 1: 10, 2: 10, 3: 10, 4: 10, 5: 10, 6: 10}


def test_pooled_rows_are_drawn_at_random_whatever_their_task_and_bucket() -> None:
    pool = [candidate(n, Kind.EXACT_MATCH, 0, "worst") for n in range(900)]
    pool += [candidate(n, Kind.EXACT_MATCH, 9, "best") for n in range(100)]
    pooled, left = draw(pool, {NI_EXACT_MATCH: 500}, SampleParameters(quota=Quota.POOLED))
    assert len(pooled) == len(left) == 500
    assert 30 <= Counter(c.task for c in pooled)["best"] <= 70  # its tenth; quotas by bucket give it an eighth of 250
    again, _ = draw(reversed(pool), {NI_EXACT_MATCH: 500}, SampleParameters(quota=Quota.POOLED))
    assert again == pooled
    other, _ = draw(pool, {NI_EXACT_MATCH: 500}, SampleParameters(quota=Quota.POOLED, seed=7))
    assert other != pooled


def test_pooled_generation_keeps_the_papers_shares() -> None:
    pool = [candidate(n, Kind.GENERATION, n % 7) for n in range(700)]
    for quota in (Quota.POOLED, Quota.PROPORTIONAL):
        chosen, _ = draw(pool, {NI_GENERATION: 100}, SampleParameters(quota=quota))
        assert Counter(c.bucket for c in chosen) == {0: 40, 1: 10, 2: 10, 3: 10, 4: 10, 5: 10, 6: 10}


def test_a_task_in_a_worse_bucket_gives_more() -> None:
    pool = [candidate(n, Kind.EXACT_MATCH, 0, "bad") for n in range(300)]
    pool += [candidate(n, Kind.EXACT_MATCH, 9, "good") for n in range(300)]
    chosen, _ = draw(pool, {NI_EXACT_MATCH: 160}, SampleParameters())
    assert Counter(c.task for c in chosen) == {"bad": 140, "good": 20}


@pytest.mark.parametrize(("rows", "bad"), [(160, 140), (16, 12), (2, 1)])
def test_a_small_mix_has_easier_rows_where_it_is_asked_for(rows: int, bad: int) -> None:
    """Weights of 7 to 1 at the full size, of 2.6 to 1 at a tenth, equal at a hundredth."""
    pool = [candidate(n, Kind.EXACT_MATCH, 0, "bad") for n in range(300)]
    pool += [candidate(n, Kind.EXACT_MATCH, 9, "good") for n in range(300)]
    chosen, _ = draw(pool, {NI_EXACT_MATCH: rows}, SampleParameters(full_weights_rows=160))
    assert Counter(c.task for c in chosen) == {"bad": bad, "good": rows - bad}


@given(st.integers(1, 10**6), st.integers(1, 10**6), st.sampled_from(Kind))
def test_flattened_weights_keep_their_order_and_what_is_never_drawn(rows: int, full: int, kind: Kind) -> None:
    plain, flat = SampleParameters(), SampleParameters(full_weights_rows=full)
    weights, flattened = plain.weights_for(kind, rows), flat.weights_for(kind, rows)
    assert list(flattened) == sorted(flattened, reverse=True)
    assert [w == 0 for w in weights] == [w == 0 for w in flattened]
    if rows >= full:
        assert flattened == weights
    if rows * 100 <= full:
        assert set(flattened) <= {0.0, 1.0}


def test_a_size_for_full_weights_is_a_number_of_rows_and_needs_a_target() -> None:
    with pytest.raises(MixError, match=r"`samples\.full_weights_rows=0`: not above 0"):
        SampleParameters(full_weights_rows=0)
    with pytest.raises(MixError, match=r"quotas per bucket have no target, so no size"):
        SampleParameters(full_weights_rows=10, quota=Quota.PER_BUCKET)


@given(st.randoms(use_true_random=False), st.integers(0, 60))
def test_a_draw_depends_on_the_seed_and_not_on_the_order(rng: random.Random, target: int) -> None:
    pool = [candidate(n, Kind.GENERATION, n % 7, f"t{n % 3}") for n in range(50)]
    shuffled = list(pool)
    rng.shuffle(shuffled)
    targets = {NI_GENERATION: target}
    assert draw(pool, targets, SampleParameters()) == draw(shuffled, targets, SampleParameters())


def test_every_candidate_is_chosen_once_or_dropped_with_a_reason() -> None:
    pool = [candidate(n, Kind.EXACT_MATCH, 3, solved=n % 2 == 0) for n in range(40)]
    chosen, dropped = draw(pool, {NI_EXACT_MATCH: 10}, SampleParameters(retain_share=0.2))
    assert Counter(c.solved for c in chosen) == {False: 8, True: 2}
    assert sorted([c.id for c in chosen] + [c.id for c, _ in dropped]) == [c.id for c in pool]
    assert Counter(reason for _, reason in dropped) == {"already_solved": 18, "over_quota": 12}


def test_solved_rows_never_take_more_than_their_share() -> None:
    weak = [candidate(n, Kind.EXACT_MATCH, 3) for n in range(1_000)]
    chosen, _ = draw(weak, {NI_EXACT_MATCH: 100}, SampleParameters(retain_share=0.25))
    assert len(chosen) == 100
    few = [*weak[:10], *(candidate(n, Kind.EXACT_MATCH, 3, "u", solved=True) for n in range(500))]
    chosen, _ = draw(few, {NI_EXACT_MATCH: 100}, SampleParameters(retain_share=0.25))
    assert Counter(c.solved for c in chosen) == {False: 10, True: 25}


def test_another_seed_draws_other_rows() -> None:
    pool = [candidate(n, Kind.GENERATION, 0) for n in range(100)]
    targets = {NI_GENERATION: 10}
    assert draw(pool, targets, SampleParameters(seed=1)) != draw(pool, targets, SampleParameters(seed=2))


def test_the_scripts_take_fixed_rows_per_task_and_shares_per_bucket_of_a_task() -> None:
    parameters = SampleParameters(quota=Quota.PER_BUCKET, quota_factor=0.1, generation_shares=(0.8, *[0.2] * 6, 0.0))
    pool = [candidate(n, Kind.EXACT_MATCH, 0, "bad") for n in range(300)]
    pool += [candidate(n, Kind.EXACT_MATCH, 9, "good") for n in range(3)]
    pool += [candidate(n, Kind.GENERATION, n % 2, "g") for n in range(18)]
    pool += [candidate(n, Kind.GENERATION, 1, "h") for n in range(4)]
    chosen, _ = draw(pool, {NI_EXACT_MATCH: 1, NI_GENERATION: 1}, parameters)
    found = Counter((c.task, c.bucket) for c in chosen)
    assert found == {
        ("bad", 0): 35,
        ("good", 9): 3,
        ("g", 0): 7,
        ("g", 1): 1,
    }  # floor(.8 * 9), floor(.2 * 9), floor(.2 * 4)


def test_another_source_gives_its_first_rows_and_an_unwanted_one_none() -> None:
    pool = [candidate(n, Kind.GENERATION, 0) for n in range(3)]
    other = [c._replace(source="lima", kind=None, bucket=None, id=f"l{3 - n}") for n, c in enumerate(pool)]
    chosen, left = draw([*pool, *other], {"lima": 2}, SampleParameters())
    assert [c.id for c in chosen] == ["l2", "l3"]
    assert [(c.id, reason) for c, reason in left] == [
        ("l1", "over_quota"), *((c.id, "source_left_out") for c in pool)
    ]  # fmt: skip


def test_a_control_draws_by_size_or_equal_parts_and_asks_nothing() -> None:
    sizes = {"large": 800, "small": 60, "tiny": 10}
    pool = [
        candidate(n, Kind.GENERATION, 0, task)._replace(bucket=None)
        for task, size in sizes.items()
        for n in range(size)
    ]
    for seed in range(5):
        drawn = {
            control: Counter(
                c.task for c in draw(pool, {NI_GENERATION: 174}, SampleParameters(control=control, seed=seed))[0]
            )
            for control in (Control.RANDOM, Control.BALANCED)
        }
        assert drawn[Control.BALANCED] == {"large": 104, "small": 60, "tiny": 10}
        assert drawn[Control.RANDOM].total() == 174
        assert 140 <= drawn[Control.RANDOM]["large"] <= 174
    for control in (Control.RANDOM, Control.BALANCED):
        assert not any(SampleParameters(control=control).asks(is_own=own) for own in (True, False))
        with pytest.raises(MixError, match="no row is known to be solved"):
            SampleParameters(control=control, retain_share=0.25)


def test_a_share_outside_its_range_is_an_error() -> None:
    with pytest.raises(MixError, match=r"samples\.retain_share="):
        SampleParameters(retain_share=1.0)
    with pytest.raises(MixError, match="task_weights"):
        SampleParameters(task_weights=(0.0,) * 10)
    with pytest.raises(MixError, match="quota_factor"):
        SampleParameters(quota_factor=0)


def solved_and_weak(source: str, weak: int, solved: int) -> list[Candidate]:
    return [
        Candidate(
            source=source, task=source, id=f"{source}{n}", kind=Kind.GENERATION, bucket=7 if n >= weak else 0,
            solved=n >= weak, exact=b"%d" % n, num_tokens=10,
        )
        for n in range(weak + solved)
    ]  # fmt: skip


def test_own_rows_are_kept_whole_beside_retained_ones() -> None:
    """What is retained comes on top, and takes the place of no weak row."""
    parameters = SampleParameters(retain_share=0.25, add={"ni": 0.2})
    candidates = [*solved_and_weak("mine", 100, 200), *solved_and_weak(NI_GENERATION, 500, 0)]
    targets = added_rows(parameters.add, candidates, own=["mine"], weights={NI_GENERATION: 5}, parameters=parameters)
    chosen, _ = draw(candidates, targets, parameters)
    assert Counter((c.source, c.solved) for c in chosen if c.source == "mine") == {
        ("mine", False): 100,
        ("mine", True): 33,
    }


def test_what_can_be_drawn_counts_the_solved_rows_that_are_retained() -> None:
    candidates = [*solved_and_weak("mine", 300, 900), *solved_and_weak("other", 0, 5)]
    there = drawable_of(candidates, SampleParameters(retain_share=0.25))
    assert (there.rows, there.means) == ({"mine": 400}, {"mine": 10.0})
    assert drawable_of(candidates, SampleParameters()).rows == {"mine": 300}
