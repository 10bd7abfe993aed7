"""Nested mixes and language-uniform mixtures."""

from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import MixError
from core.stage import Dropped
from curation.builders.mix import nested_mix
from curation.builders.rows import Row
from oneday.demo.demo import DEMO_BASE
from tests.curation.builders.examples import built, chats, dropped, lines, row

ENGLISH = [row(f"{n}") for n in range(5)]
FINNISH = [row(f"{n}", source="fi") for n in range(4399)]


def mixed(percent: float, seed: int = 42) -> tuple[list[str], list[str], int]:
    """Ids of the base's part, of the added part, and how many were left out."""
    items = list(nested_mix(ENGLISH, FINNISH, percent=percent, seed=seed))
    ids = [item.id for item in items if isinstance(item, Row)]
    return ids[:5], ids[5:], sum(isinstance(item, Dropped) for item in items)


def test_the_paper_counts_and_every_mix_is_a_prefix_of_the_next() -> None:
    mixes = [mixed(percent) for percent in (0, 10, 20, 40, 60, 80, 100)]
    assert [len(added) for _, added, _ in mixes] == [0, 440, 880, 1760, 2639, 3519, 4399]
    assert all(len(added) + left == 4399 for _, added, left in mixes)
    for (base, added, _), (next_base, next_added, _) in pairwise(mixes):
        assert next_added[: len(added)] == added
        assert base == next_base == ["en/0", "en/1", "en/2", "en/3", "en/4"]
    assert sorted(mixes[-1][1]) == sorted(f"fi/{n}" for n in range(4399))


def test_the_seed_decides_the_permutation() -> None:
    assert mixed(10) == mixed(10)
    assert mixed(10)[1] != mixed(10, seed=43)[1]


def test_one_build_writes_every_mix_and_says_what_was_left_out(tmp_path: Path) -> None:
    base, added = chats(tmp_path / "en.jsonl", 3), chats(tmp_path / "fi.jsonl", 10)
    found = built("mix", tmp_path / "run", base=base, added=added, percent=[20, 50])
    small, large = (found.files[name].path for name in ("en-fi-20pct", "en-fi-50pct"))
    assert large.read_bytes().startswith(small.read_bytes())
    assert (found.tallies["row of en-fi-20pct"].kept, found.tallies["row of en-fi-50pct"].kept) == (5, 8)
    left = {(drop["unit"], drop["reason"], drop["id"]) for drop in dropped(tmp_path / "run")}
    kept = {line["id"] for line in lines(large)}
    assert {f"fi/{key}" for unit, _, key in left if unit == "row of en-fi-50pct"} == {
        f"fi/{n}" for n in range(10)
    } - kept


def test_a_share_that_is_none_is_refused(tmp_path: Path) -> None:
    base, added = chats(tmp_path / "en.jsonl", 3), chats(tmp_path / "fi.jsonl", 10)
    for percent, told in (([101], "not a share"), ([10, 10], "given twice")):
        with pytest.raises(MixError, match=told):
            built("mix", tmp_path / "run", base=base, added=added, percent=percent)


SIZES = {"en": 40, "fr": 25, "ru": 10, "pt": 31}


def uniform(folder: Path, run: str, **settings: object) -> tuple[Counter[str], Counter[str]]:
    """Rows of each language that were kept and that were dropped."""
    data = [f"{name}={chats(folder / f'{name}.jsonl', num, word=name * num)}" for name, num in SIZES.items()]
    found = built("uniform", folder / run, data=data, **settings)
    rows = lines(found.files["uniform"].path)
    assert len({row["id"] for row in rows}) == len(rows)
    return Counter(row["source"] for row in rows), Counter(drop["source"] for drop in dropped(folder / run))


def test_four_unequal_files_give_equal_shares(tmp_path: Path) -> None:
    kept, left = uniform(tmp_path, "smallest")
    assert kept == dict.fromkeys(SIZES, 10)
    assert kept + left == SIZES
    kept, _ = uniform(tmp_path, "size", size=38)
    assert kept == {"en": 10, "fr": 10, "ru": 9, "pt": 9}


def test_rows_are_repeated_only_if_that_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(MixError, match=r"needs 20 rows of ru, which has 10.*at most `size=40`"):
        uniform(tmp_path, "short", size=80)
    kept, left = uniform(tmp_path, "repeated", size=80, repeat=True)
    assert kept == dict.fromkeys(SIZES, 20)
    assert left == {"en": 20, "fr": 5, "pt": 11}
    found = built(
        "uniform", tmp_path / "all", data=[f"{n}={tmp_path / n}.jsonl" for n in SIZES], repeat=True
    )  # fmt: skip
    assert found.files["uniform"].num_repeats == 4 * 40 - sum(SIZES.values())
    assert found.tallies["row"].read == found.tallies["row"].kept == sum(SIZES.values())


def test_shares_of_tokens_are_equal_to_a_row(tmp_path: Path) -> None:
    data = [f"{name}={chats(tmp_path / f'{name}.jsonl', num, word=name * num)}" for name, num in SIZES.items()]
    found = built("uniform", tmp_path / "run", data=data, unit="tokens", tokenizer=str(DEMO_BASE))
    amounts = {line["language"]: (line["amount"], line["amount"] / line["rows"]) for line in found.tables["shares"]}
    share = min(total for total, _ in amounts.values())
    whole = next(line for line in found.tables["shares"] if line["rows"] == line["read"])["amount"]
    assert all(whole - 2 * a_row <= total <= whole for total, a_row in amounts.values())
    assert share > 0


@given(st.lists(st.integers(1, 30), min_size=2, max_size=4), st.integers(4, 60), st.booleans())
def test_no_row_is_lost_whatever_the_sizes(sizes: list[int], size: int, repeat: bool) -> None:
    import random

    from curation.builders.uniform import uniform as drawn

    languages = {f"l{n}": [row(f"{m}", source=f"l{n}") for m in range(num)] for n, num in enumerate(sizes)}
    rng = random.Random(size)
    taken = {
        name: [rng.randrange(len(rows)) for _ in range(size)] if repeat else [] for name, rows in languages.items()
    }
    items = list(drawn(languages, taken, seed=1))
    first = [item for item in items if isinstance(item, Row) and not item.is_repeat]
    left = [item for item in items if isinstance(item, Dropped)]
    assert len(first) + len(left) == sum(sizes)
