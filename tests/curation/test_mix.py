import json
from collections import Counter
from pathlib import Path

import datasets
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import MixError
from curation.mix import TRAIN, VALIDATION, MixParameters, split, validation_size, write_parts

USUAL = MixParameters()


def test_validation_holds_every_task_in_proportion() -> None:
    labels = [f"t{n % 4}" for n in range(1_000)]
    parts = split(labels, USUAL, scale=0.05)
    assert Counter(labels[n] for n in parts[VALIDATION]) == {"t0": 25, "t1": 25, "t2": 25, "t3": 25}
    assert sorted([*parts[TRAIN], *parts[VALIDATION]]) == list(range(1_000))
    assert parts[TRAIN] != sorted(parts[TRAIN])


@given(st.lists(st.sampled_from("abcdef"), min_size=2, max_size=200), st.booleans())
def test_every_row_is_in_one_part(labels: list[str], stratified: bool) -> None:
    parts = split(labels, MixParameters(stratified=stratified), scale=0.01)
    assert sorted([*parts[TRAIN], *parts[VALIDATION]]) == list(range(len(labels)))
    assert parts[TRAIN]
    assert parts[VALIDATION]


def test_another_seed_splits_otherwise() -> None:
    labels = ["t"] * 100
    assert split(labels, USUAL, scale=1) == split(labels, USUAL, scale=1)
    assert split(labels, USUAL, scale=1) != split(labels, MixParameters(seed=1), scale=1)


def test_more_tasks_than_validation_rows_still_split() -> None:
    parts = split([f"t{n}" for n in range(30)], USUAL, scale=1)
    assert (len(parts[TRAIN]), len(parts[VALIDATION])) == (27, 3)


def test_a_mix_of_one_row_is_an_error() -> None:
    with pytest.raises(MixError, match="nothing to train on"):
        split(["t"], USUAL, scale=1)


@pytest.mark.parametrize(
    ("num", "scale", "expected"), [(206_000, 1.0, 2_000), (2_000, 0.02, 64), (100, 0.01, 10), (2, 0.01, 1)]
)
def test_the_validation_part_scales(num: int, scale: float, expected: int) -> None:
    assert validation_size(num, USUAL, scale) == expected


def test_the_scripts_set_two_percent_aside() -> None:
    assert validation_size(206_000, MixParameters(validation_rows=None), 0.5) == 4_120


def test_both_formats_hold_the_same_rows_and_load_with_datasets(tmp_path: Path) -> None:
    rows = [
        {
            "id": f"r{n}",
            "output": f"line\n{n} \u6f22",
            "bucket": None if n % 2 else n,
            "num_tokens": n,
            "llm_generated": False,
        }
        for n in range(7)
    ]
    path, offsets = tmp_path / "rows.jsonl", []
    with path.open("w") as f:
        for row in rows:
            offsets.append(f.tell())
            f.write(json.dumps(row) + "\n")
    order = [4, 0, 6, 2, 5]
    write_parts(path, offsets, {TRAIN: order, VALIDATION: [1, 3]}, tmp_path)
    for kind, suffix in (("json", "jsonl"), ("parquet", "parquet")):
        loaded = datasets.load_dataset(
            kind, data_files=str(tmp_path / f"train.{suffix}"), split="train", cache_dir=str(tmp_path / "cache")
        )
        assert list(loaded) == [rows[n] for n in order]
