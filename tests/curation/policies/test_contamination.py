import json
import random
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import SourceError, StageError
from core.files import read_json, read_jsonl
from curation.policies.contamination import Suites

NATALIA = (
    "Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in May. "
    "How many clips did Natalia sell altogether in April and May?"
)


def suite(path: Path, *records: object) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def numbered(first: int, last: int, word: str = "word") -> str:
    return " ".join(f"{word}{n}" for n in range(first, last))


@pytest.fixture
def gsm(tmp_path: Path) -> Suites:
    return Suites.read({"gsm": suite(tmp_path / "gsm.jsonl", {"question": numbered(0, 30)}, {"question": NATALIA})})


def test_thirteen_words_in_common_mark_a_row_and_twelve_do_not(gsm: Suites) -> None:
    assert gsm.find(f"before {numbered(4, 16)} after") is None
    match = gsm.find(f"before {numbered(4, 17)} after")
    assert match is not None
    assert str(match) == f"gsm:1: {numbered(4, 17)}"


CYRILLIC = "Сколько яблок осталось у Маши, если она отдала пять яблок брату и ещё три яблока своей сестре?"
HAN = "小明有五个苹果他给了弟弟两个苹果又给了妹妹一个苹果"


@pytest.mark.parametrize("question", [CYRILLIC, HAN, unicodedata.normalize("NFD", CYRILLIC)])
def test_a_question_in_another_script_is_found(tmp_path: Path, question: str) -> None:
    suites = Suites.read({"s": suite(tmp_path / "s.jsonl", {"q": question})})
    assert suites.num_unchecked == {"s": 0}
    assert suites.find(f"Задача 7. {unicodedata.normalize('NFC', question)}") is not None
    assert suites.find("Сколько груш осталось у Пети, если он съел одну? 小红有三个梨") is None


def test_the_span_goes_on_as_long_as_the_words_match(gsm: Suites) -> None:
    match = gsm.find(f"{numbered(2, 25)} word3 word9")
    assert match is not None
    assert match.span == numbered(2, 25)


def test_thirteen_words_in_another_order_do_not_match(gsm: Suites) -> None:
    assert gsm.find(" ".join(reversed(numbered(0, 30).split()))) is None


def test_case_punctuation_and_line_breaks_hide_nothing(gsm: Suites) -> None:
    match = gsm.find(NATALIA.upper().replace(" ", "\n").replace(",", " -- "))
    assert match is not None
    assert (match.suite, match.item) == ("gsm", 2)
    assert match.span.startswith("natalia sold clips to 48 of her friends in april and then")
    assert match.span.endswith("altogether in april and may")


@pytest.mark.parametrize(
    "record",
    [
        {"anything": NATALIA},
        {"turns": [{"role": "user", "content": NATALIA}]},
        {"choices": {"text": ["no", "perhaps", NATALIA]}, "label": 2},
    ],
)
def test_texts_are_found_wherever_they_stand_in_a_record(tmp_path: Path, record: object) -> None:
    found = Suites.read({"x": suite(tmp_path / "x.jsonl", {"n": 1, "q": "one"}, record)}).find(f"Solve: {NATALIA} Go.")
    assert found is not None
    assert found.item == 2


@pytest.mark.parametrize(("num_words", "checked"), [(9, False), (10, True), (12, True)])
def test_an_item_of_ten_words_is_compared_as_a_whole_and_a_shorter_one_is_counted(
    tmp_path: Path, num_words: int, checked: bool
) -> None:
    suites = Suites.read({"short": suite(tmp_path / "s.jsonl", {"q": numbered(0, num_words), "a": "yes"})})
    match = suites.find(f"well {numbered(0, num_words)} indeed")
    assert (match is not None) == checked
    assert suites.num_unchecked == {"short": 1 if checked else 2}  # the answer is never long enough


def test_half_of_a_short_item_does_not_match(tmp_path: Path) -> None:
    suites = Suites.read({"short": suite(tmp_path / "s.jsonl", {"q": numbered(0, 12)})})
    assert suites.find(numbered(0, 11)) is None


def test_words_of_different_items_do_not_make_a_match(tmp_path: Path) -> None:
    suites = Suites.read({"x": suite(tmp_path / "x.jsonl", {"q": numbered(0, 20)}, {"q": numbered(0, 20, "other")})})
    assert suites.find(f"{numbered(8, 20)} {numbered(0, 12, 'other')}") is None


def test_each_match_names_its_own_suite(tmp_path: Path) -> None:
    first = suite(tmp_path / "a.jsonl", {"q": numbered(0, 20)})
    second = suite(tmp_path / "b.jsonl", {"q": "short"}, {"q": NATALIA})
    match = Suites.read({"zeta": first, "alpha": second}).find(NATALIA)
    assert match is not None
    assert (match.suite, match.item) == ("alpha", 2)


def test_a_smaller_ngram_finds_shorter_spans(tmp_path: Path) -> None:
    path = suite(tmp_path / "x.jsonl", {"q": numbered(0, 30)})
    row = f"{numbered(3, 14)} after"
    assert Suites.read({"x": path}, ngram=11).find(row) is not None
    assert Suites.read({"x": path}, ngram=12).find(row) is None


@pytest.mark.parametrize("ngram", [5, 7, 9])
def test_an_ngram_below_ten_is_found_too(tmp_path: Path, ngram: int) -> None:
    suites = Suites.read({"x": suite(tmp_path / "x.jsonl", {"q": numbered(0, 30)})}, ngram=ngram)
    match = suites.find(f"before {numbered(3, 3 + ngram)} after")
    assert match is not None
    assert match.span == numbered(3, 3 + ngram)


def test_a_file_without_any_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"n\.jsonl: holds no text\. `against=NAME=FILE` takes JSON lines"):
        Suites.read({"n": suite(tmp_path / "n.jsonl", {"label": 3}, {"label": [1, 2]})})
    with pytest.raises(SourceError, match="holds no text"):
        Suites.read({"n": suite(tmp_path / "n.jsonl")})


def test_a_missing_or_broken_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"nothing\.jsonl: cannot be read"):
        Suites.read({"n": tmp_path / "nothing.jsonl"})
    (tmp_path / "broken.jsonl").write_text('{"q": "a"}\nnot json\n')
    with pytest.raises(StageError, match=r"broken\.jsonl:2: not JSON"):
        Suites.read({"n": tmp_path / "broken.jsonl"})


def test_a_suite_that_repeats_another_is_no_empty_one(tmp_path: Path) -> None:
    whole = suite(tmp_path / "whole.jsonl", {"q": NATALIA}, {"q": numbered(0, 30)})
    part = suite(tmp_path / "part.jsonl", {"q": NATALIA})
    match = Suites.read({"a_whole": whole, "b_part": part}).find(NATALIA)
    assert match is not None


def test_a_span_stands_in_the_item_that_is_named(tmp_path: Path) -> None:
    texts = [numbered(0, 13), numbered(1, 14)]
    suites = Suites.read({"x": suite(tmp_path / "x.jsonl", *({"q": text} for text in texts))})
    match = suites.find(numbered(0, 14))
    assert match is not None
    assert match.span in texts[match.item - 1]


@settings(deadline=None)
@given(st.data())
def test_a_text_matches_exactly_if_it_shares_thirteen_words_in_a_row(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Against the definition, spelled out: up to 20 words of a suite's item stand somewhere in the row."""
    words = st.lists(st.sampled_from("abc"), min_size=13, max_size=60)
    item, row = data.draw(words), data.draw(words)
    at, start = data.draw(st.integers(0, len(row))), data.draw(st.integers(0, len(item) - 1))
    row[at:at] = item[start : start + data.draw(st.integers(0, 20))]
    path = suite(tmp_path_factory.mktemp("suite") / "x.jsonl", {"q": " ".join(item)})
    match = Suites.read({"x": path}).find(" ".join(row))
    grams = {tuple(item[i : i + 13]) for i in range(len(item) - 12)}
    assert (match is not None) == any(tuple(row[i : i + 13]) in grams for i in range(len(row) - 12))
    assert match is None or match.span in " ".join(row)


def test_planted_questions_of_gsm8k_are_all_found_and_other_rows_are_not(real_data: Path) -> None:
    """Planted between two copies of another task's input, with another case and other punctuation."""
    path = real_data / "gsm8k" / "train.jsonl"
    suites = Suites.read({"gsm8k": path})
    questions = [record["question"] for record in read_jsonl(path)]
    dialogues = real_data / "natural-instructions" / "tasks" / "task639_multi_woz_user_utterance_generation.json"
    rows = [instance["input"] for instance in read_json(dialogues)["Instances"]]
    assert not [row for row in rows if suites.find(row)]
    chosen = random.Random(7).sample(range(len(questions)), len(rows))
    for row, number in zip(rows, chosen, strict=True):
        planted = f"{row}\n{questions[number].upper().replace('.', ' ;')}\n{row}"
        match = suites.find(planted)
        assert match is not None, questions[number]
        assert match.span in plain(planted)
        assert " ".join(match.span.split()[:13]) in plain(questions[match.item - 1])


def plain(text: str) -> str:
    """Lower-cased words with one space between."""
    return " ".join("".join(c if c.isalnum() else " " for c in text.lower()).split())
