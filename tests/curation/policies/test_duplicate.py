import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.files import read_jsonl
from curation.policies.duplicate import DedupKey, NearDuplicates, exact_key, signature

ASK = "Answer the question."


def words(rng: random.Random, num: int) -> list[str]:
    return [f"w{rng.randrange(10**6)}" for _ in range(num)]


def repeats(path: Path, *texts: str, answer: str = "yes", threshold: float = 0.9) -> dict[int, int]:
    near = NearDuplicates(threshold, path / "signatures.bin")
    for text in texts:
        near.add(signature(text, answer, ASK))
    return near.find()


def test_nfc_and_nfd_are_one_text(tmp_path: Path) -> None:
    composed, apart = ["Grüße an die Bürger von Köln " * 3, "Gru\u0308ße an die Bu\u0308rger von Ko\u0308ln " * 3]
    for key in DedupKey:
        assert exact_key(composed, "", key) == exact_key(apart, "", key)
        assert exact_key(ASK, composed, key) == exact_key(ASK, apart, key)
    assert repeats(tmp_path, composed, apart) == {1: 0}
    assert signature("x", composed, apart) == signature("x", apart, composed)


def similarity(a: list[str], b: list[str]) -> float:
    """Jaccard, from the definition."""
    left, right = ({tuple(text[i : i + 5]) for i in range(len(text) - 4)} for text in (a, b))
    return len(left & right) / len(left | right)


@pytest.mark.parametrize(
    ("other", "same_pair", "same_input"),
    [
        (("Say yes or no.", "Is it raining?"), True, True),
        (("Translate.", "Is it raining?"), False, True),
        (("Say yes or no.", "Is it snowing?"), False, False),
        (("Say yes or no. ", "Is it raining?"), False, True),
    ],
)
def test_a_key_tells_rows_by_instruction_and_input_or_by_input(
    other: tuple[str, str], same_pair: bool, same_input: bool
) -> None:
    first = ("Say yes or no.", "Is it raining?")
    both, alone = DedupKey.INSTRUCTION_AND_INPUT, DedupKey.INPUT
    assert (exact_key(*first, both) == exact_key(*other, both)) == same_pair
    assert (exact_key(*first, alone) == exact_key(*other, alone)) == same_input
    assert len(exact_key(*first, both)) == 16


@pytest.mark.parametrize("key", list(DedupKey))
def test_rows_without_input_are_told_by_their_instruction(key: DedupKey) -> None:
    assert exact_key("Why is the sky blue?", "", key) != exact_key("Why is grass green?", "", key)
    assert exact_key("Why is the sky blue?", "", key) == exact_key("Why is the sky blue?", "", key)


def test_instruction_and_input_do_not_run_into_each_other() -> None:
    key = DedupKey.INSTRUCTION_AND_INPUT
    assert exact_key("ab", "c", key) != exact_key("a", "bc", key)


def test_a_signature_has_520_bytes_whatever_the_text() -> None:
    assert {len(signature(text, "yes", ASK)) for text in ("", "one", "one two three four five six " * 50)} == {520}


def test_a_text_with_one_word_changed_repeats_the_first(tmp_path: Path) -> None:
    text = words(random.Random(1), 100)
    changed = [*text[:-1], "changed"]
    assert repeats(tmp_path, " ".join(text), "another text altogether, of no use", " ".join(changed)) == {2: 0}


def test_case_and_white_space_make_no_difference(tmp_path: Path) -> None:
    assert repeats(tmp_path, "The cat sat on the mat today", "the  CAT sat\non the mat Today") == {1: 0}


def test_the_same_text_with_another_answer_or_question_is_no_duplicate(tmp_path: Path) -> None:
    text = " ".join(words(random.Random(2), 50))
    near = NearDuplicates(0.9, tmp_path / "signatures.bin")
    for answer, instruction in (("yes", ASK), ("no", ASK), ("yes", "Is it true?"), (" YES\n", ASK)):
        near.add(signature(text, answer, instruction))
    assert near.find() == {3: 0}


def test_half_of_a_text_in_common_is_no_duplicate(tmp_path: Path) -> None:
    rng = random.Random(3)
    half = words(rng, 100)
    assert repeats(tmp_path, " ".join(half + words(rng, 100)), " ".join(half + words(rng, 100))) == {}


def test_a_lower_threshold_takes_looser_duplicates(tmp_path: Path) -> None:
    rng = random.Random(4)
    text = words(rng, 100)
    changed = text[:90] + words(rng, 10)
    assert 0.8 < similarity(text, changed) < 0.84
    assert repeats(tmp_path, " ".join(text), " ".join(changed), threshold=0.9) == {}
    assert repeats(tmp_path, " ".join(text), " ".join(changed), threshold=0.7) == {1: 0}


def test_the_lowest_threshold_that_is_taken_is_kept_to(tmp_path: Path) -> None:
    rng = random.Random(5)
    texts: list[str] = []
    for _ in range(60):
        text = words(rng, 100)
        changed = text[:84] + words(rng, 16)
        assert similarity(text, changed) > 0.7
        texts += [" ".join(text), " ".join(changed)]
    assert len(repeats(tmp_path, *texts, threshold=0.6)) >= 57


def test_what_repeats_a_repeat_repeats_the_first(tmp_path: Path) -> None:
    text = words(random.Random(6), 200)
    chain = [" ".join([*text[:-1], ending]) for ending in ("one", "two", "three")]
    assert repeats(tmp_path, *chain) == {1: 0, 2: 0}


def test_a_row_near_a_dropped_one_but_not_near_the_kept_one_stays(tmp_path: Path) -> None:
    rng = random.Random(8)
    first = words(rng, 200)
    second = first[:190] + words(rng, 10)
    third = words(rng, 10) + second[10:]
    assert similarity(first, second) == similarity(second, third) > 0.9
    assert similarity(first, third) < 0.82
    assert repeats(tmp_path, *(" ".join(text) for text in (first, second, third)), threshold=0.86) == {1: 0}
    assert repeats(tmp_path, *(" ".join(text) for text in (second, third)), threshold=0.86) == {1: 0}


def test_rows_of_one_template_do_not_hide_the_repeats_among_them(tmp_path: Path) -> None:
    """100 rows that share 100 words of 115, and with them most bands, then each of them again with one word changed."""
    rng = random.Random(7)
    template = words(rng, 100)
    rows = [template + words(rng, 15) for _ in range(100)]
    again = list(range(100))
    rng.shuffle(again)
    texts = [" ".join(row) for row in rows] + [" ".join([*rows[n][:-1], "changed"]) for n in again]
    assert similarity(rows[0], rows[1]) < 0.8
    assert repeats(tmp_path, *texts) == {100 + place: n for place, n in enumerate(again)}


def test_many_equal_rows_all_repeat_the_first(tmp_path: Path) -> None:
    assert repeats(tmp_path, *["the same five words again"] * 60) == dict.fromkeys(range(1, 60), 0)


def test_rows_far_apart_are_compared_though_the_first_were_written_to_disk(tmp_path: Path) -> None:
    """2,500 signatures of 520 bytes: more than the buffer of 1 MiB."""
    texts = [f"text number {n} of many" for n in range(2_500)]
    near = NearDuplicates(0.9, tmp_path / "signatures.bin")
    for text in texts:
        near.add(signature(text, "yes", ASK))
    near.add(signature(texts[0], "yes", ASK))
    assert near.find() == {2_500: 0}


def test_the_scratch_file_of_an_earlier_run_is_not_read_and_goes_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "work" / "signatures.bin"
    stopped = NearDuplicates(0.9, path)
    stopped.add(signature("left behind by a run that was stopped", "yes", ASK))
    stopped._flush()
    near = NearDuplicates(0.9, path)
    near.add(signature("a row of this run", "yes", ASK))
    near.add(signature("a row of this run", "yes", ASK))
    assert near.find() == {1: 0}
    assert not path.exists()


def test_no_rows_have_no_repeats(tmp_path: Path) -> None:
    assert repeats(tmp_path) == {}


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.lists(st.integers(0, 3), min_size=1, max_size=15))
def test_planted_repeats_are_found_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, seed: int, copies: list[int]
) -> None:
    """Each text comes with up to three copies, whose last word differs: Jaccard .98."""
    rng = random.Random(seed)
    rows: list[tuple[int, str]] = []
    for number, num_copies in enumerate(copies):
        text = words(rng, 100)
        rows += [(number, " ".join([*text[:-1], f"end{n}"])) for n in range(num_copies + 1)]
    rng.shuffle(rows)
    first: dict[int, int] = {}
    expected = {place: first[n] for place, (n, _) in enumerate(rows) if first.setdefault(n, place) != place}
    assert repeats(tmp_path_factory.mktemp("near"), *(text for _, text in rows)) == expected


def test_real_questions_with_a_word_added_are_found_and_no_others(tmp_path: Path, real_data: Path) -> None:
    questions = [r["question"] for r in read_jsonl(real_data / "gsm8k" / "train.jsonl")][:600]
    longest = sorted({q for q in questions if len(q.split()) >= 50})
    assert len(longest) >= 60
    found = repeats(tmp_path, *longest, *(f"{q} Please." for q in longest))
    assert found == {len(longest) + n: n for n in range(len(longest))}
