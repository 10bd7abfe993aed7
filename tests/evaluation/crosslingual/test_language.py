"""Detectors and dictionaries against the calibration on texts that people wrote."""

import gzip
import json
from pathlib import Path

import pytest

from evaluation.crosslingual.instructions import read_instructions
from evaluation.crosslingual.language import Detector, load_detector, primary_subtag, why_no_detector
from evaluation.crosslingual.spelling import load_checker, words
from evaluation.errors import EvaluationError

LANGUAGES = ("en", "fr", "pt", "ru")


def needs(detector: Detector) -> None:
    reason = why_no_detector(detector)
    if reason:
        pytest.skip(reason)


@pytest.fixture(scope="module")
def prompts(shared_data: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for item in read_instructions(shared_data / "crosslingual"):
        found.setdefault(item.language, []).append(item.text)
    return found


@pytest.fixture(scope="module")
def answers(shared_data: Path) -> dict[str, list[str]]:
    with gzip.open(shared_data / "finnish" / "dolly_en_fi.jsonl.gz", "rt", encoding="utf-8") as f:
        rows = [json.loads(line) for line in f]
    return {language: [row[language]["response"] for row in rows] for language in ("fi", "en")}


@pytest.mark.parametrize(
    ("detector", "right"),
    [(Detector.FASTTEXT_LITE, [113, 113, 112, 113]), (Detector.LANGDETECT, [110, 112, 109, 113])],
)
def test_detectors_on_human_prompts(detector: Detector, right: list[int], prompts: dict[str, list[str]]) -> None:
    needs(detector)
    detect = load_detector(detector)
    assert [sum(detect(text) == language for text in prompts[language]) for language in LANGUAGES] == right


def test_fasttext_on_dolly_answers(answers: dict[str, list[str]]) -> None:
    needs(Detector.FASTTEXT_LITE)
    detect = load_detector(Detector.FASTTEXT_LITE)
    assert {tag: sum(detect(text) == tag for text in texts) for tag, texts in answers.items()} == {
        "fi": 2681,
        "en": 2918,
    }
    long = [text for text in answers["fi"] if len(text) >= 100]
    assert (sum(detect(text) == "fi" for text in long), len(long)) == (2012, 2102)


def test_langdetect_on_every_third_dolly_answer_in_any_order(answers: dict[str, list[str]]) -> None:
    needs(Detector.LANGDETECT)
    detect = load_detector(Detector.LANGDETECT)
    found = {tag: [detect(text) for text in texts[::3]] for tag, texts in answers.items()}
    assert {tag: labels.count(tag) for tag, labels in found.items()} == {"fi": 869, "en": 926}
    long = [text for text in answers["fi"] if len(text) >= 100][::3]
    assert (sum(detect(text) == "fi" for text in long), len(long)) == (664, 701)
    backwards = [detect(text) for text in answers["fi"][:150:3][::-1]]
    assert backwards[::-1] == found["fi"][:50]


@pytest.mark.parametrize("detector", list(Detector))
def test_a_blank_text_has_no_language(detector: Detector) -> None:
    needs(detector)
    detect = load_detector(detector)
    assert [detect(text) for text in ("", " \n")] == [None, None]


def test_a_number_is_english_to_fasttext_and_undecided_to_langdetect() -> None:
    needs(Detector.FASTTEXT_LITE)
    needs(Detector.LANGDETECT)
    assert load_detector(Detector.FASTTEXT_LITE)("1998") == "en"  # 14 of the 2,918 English Dolly answers
    assert load_detector(Detector.LANGDETECT)("1998") is None


def test_fasttext_sees_line_ends_as_spaces_and_only_the_beginning() -> None:
    needs(Detector.FASTTEXT_LITE)
    text = "The weather is fine\ntoday and we are going out to the park with all the children. " * 2
    mixed = text + "Aujourd'hui, nous irons tous ensemble au parc avec les enfants du quartier. " * 20
    assert load_detector(Detector.FASTTEXT_LITE)(mixed) == "en"
    assert load_detector(Detector.FASTTEXT_LITE, None)(mixed) == "fr"
    assert load_detector(Detector.FASTTEXT_LITE)("今天天氣很好，我們一起去公園玩吧。") == primary_subtag("zh-TW")


@pytest.mark.parametrize(
    ("language", "num", "share", "of_english"),
    [("en", 3021, 0.9901, None), ("fr", 3159, 0.9877, 0.312), ("pt", 3039, 0.9727, 0.224), ("ru", 2568, 0.9724, 0.0)],
)
def test_spelling_of_human_prompts(
    language: str, num: int, share: float, of_english: float | None, prompts: dict[str, list[str]]
) -> None:
    pytest.importorskip("hunspell", reason="chunspell (extra `eval`) is not installed")
    checker = load_checker(language, None)
    if checker is None:
        pytest.skip(f"no dictionary of {language} is installed (extra `spelling`)")
    found = checker.count("\n".join(prompts[language]))
    assert found.num == num
    assert found.accepted / found.num == pytest.approx(share, abs=0.002)
    if of_english is not None:
        english = checker.count("\n".join(prompts["en"]))
        assert english.accepted / english.num == pytest.approx(of_english, abs=0.002)


def test_words_are_letters_with_apostrophes_and_hyphens() -> None:
    assert words("L’été, peut-être: 3 x_y «Ёлка» don't- 42nd") == [
        "L'été", "peut-être", "x", "y", "Ёлка", "don't", "nd",
    ]  # fmt: skip


def test_a_dictionary_of_the_users_own(tmp_path: Path) -> None:
    pytest.importorskip("hunspell", reason="chunspell (extra `eval`) is not installed")
    (tmp_path / "fr_FR.aff").write_text("SET ISO8859-1\n")
    (tmp_path / "fr_FR.dic").write_text("1\nbonjour\n")
    checker = load_checker("fr", tmp_path)
    assert checker is not None
    found = checker.count("bonjour monde, Bonjour мир")  # no Cyrillic in this dictionary's encoding
    assert (found.num, found.accepted) == (4, 2)
    with pytest.raises(EvaluationError, match=r"no pt_BR\.aff and pt_BR\.dic in it"):
        load_checker("pt", tmp_path)
    assert load_checker("fi", tmp_path) is None
