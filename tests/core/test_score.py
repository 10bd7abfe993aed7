import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rouge_score import rouge_scorer

from core.errors import ScoreError
from core.generation.prediction import Prediction, read_predictions
from core.generation.request import Kind
from core.score import (
    EmptyRule,
    Normaliser,
    Rouge,
    RougeLScorer,
    RougePackageScorer,
    RougeText,
    ScoreParameters,
    WordsAndNumbersScorer,
    exact_match,
    rouge_l_scorer,
    score,
)
from core.text import is_formula
from curation.ni.bucket import BucketParameters, bucket_tasks
from curation.preset import preset
from tests.conftest import REDUCED

TEXT = st.text(alphabet=st.sampled_from("ab cdehrsuning'.,-AB éß漢\n9 running flies happily"), max_size=80)
REFERENCE = rouge_scorer.RougeScorer(["rougeL"], use_stemmer=True)
OURS = RougeLScorer()


def upstream(prediction: str, references: list[str]) -> float:
    return max(REFERENCE.score(reference, prediction)["rougeL"].fmeasure for reference in references)


@given(TEXT, st.lists(TEXT, min_size=1, max_size=3))
def test_rouge_l_equals_rouge_score_to_the_last_bit(prediction: str, references: list[str]) -> None:
    assert OURS(prediction, references) == upstream(prediction, references)


def test_rouge_l_equals_rouge_score_on_real_predictions(real_data: Path) -> None:
    predictions = list(read_predictions(real_data / "gpt3-predictions" / "predictions.jsonl"))
    for p in random.Random(1).sample(predictions, min(400, len(predictions))):
        assert OURS(p.prediction, p.references) == upstream(p.prediction, list(p.references))


@given(TEXT, TEXT)
def test_rouge_l_is_in_range_symmetric_and_one_for_equals(a: str, b: str) -> None:
    assert 0.0 <= OURS(a, [b]) <= 1.0
    assert OURS(a, [b]) == pytest.approx(OURS(b, [a]))
    assert OURS(a, [a]) in (0.0, 1.0)


@given(TEXT, st.lists(TEXT, min_size=1, max_size=4))
def test_another_reference_never_lowers_a_score(prediction: str, references: list[str]) -> None:
    assert OURS(prediction, references) >= OURS(prediction, references[:1])


def test_many_distinct_tokens_do_not_collide() -> None:
    scorer = RougeLScorer()
    words = [f"w{n}" for n in range(70_000)]  # past the surrogates, which are no characters
    assert scorer(" ".join(words), [words[60_000]]) == pytest.approx(2 / 70_001)
    assert scorer(" ".join(words[:60_000]), [words[60_000]]) == 0.0


@pytest.mark.parametrize(
    ("prediction", "references", "strict", "stripped", "normalised"),
    [
        ("Paris", ["Paris"], True, True, True),
        (" Paris", ["Paris"], False, True, True),
        ("paris.", ["Paris"], False, False, True),
        ("the  Paris", ["The Paris!"], False, False, True),
        ("", ["Paris"], False, False, False),
        ("?", ["!"], False, False, False),
        ("?", ["?"], True, True, True),
        ("", ["?"], False, False, False),
        ("B", ["A", "B"], True, True, True),
    ],
)
def test_the_normaliser_decides(
    prediction: str, references: list[str], strict: bool, stripped: bool, normalised: bool
) -> None:
    found = [exact_match(prediction, references, n) for n in Normaliser]
    assert found == [strict, stripped, normalised, normalised]


RECOMMENDED = preset("recommended").scores
WORDS_AND_NUMBERS = rouge_l_scorer(RECOMMENDED)


def right(given: str, *references: str) -> bool:
    return exact_match(given, references, RECOMMENDED.normaliser)


WRONG_NUMBERS = [
    ("1.5", "15"), ("3/4", "34"), ("[1, -2]", "[1, 2]"), ("-5", "5"), ("[-11, -8, 0, -16]", "[11, 8, 0, 16]"),
    ("1 2", "12"), ("1,000", "1.000"), ("50%", "50"), ("$3.50", "$350"), ("x = -2", "x = 2"), ("2/3", "23"),
    ("1e-5", "1e5"), ("(1, 2)", "(12)"), ("2020-01-05", "20200105"), ("a-b", "ab"), ("x", "-x"), ("12:30", "1230"),
    ("2*pi", "2/pi"), ("-1", "The answer is 1"), ("age > 5", "age < 5"),
]  # fmt: skip


@pytest.mark.parametrize(("given", "reference"), WRONG_NUMBERS)
def test_a_wrong_number_is_wrong_by_both_metrics(given: str, reference: str) -> None:
    for a, b in ((given, reference), (reference, given)):
        assert not right(a, b)
        assert WORDS_AND_NUMBERS(a, [b]) == 0.0


@pytest.mark.parametrize(
    ("given", "reference"),
    [
        ("[1.0,2]", "[1.0, 2]"), (" -5", "-5"), ("x=-2", "x = -2"), ("3/4", "3/4"), ("1,000", "1,000"),
        ("Paris.", "paris"), ("A.", "A"), ("(b)", "B"), ("It's over!", "its over"), ("by -5 points", "By -5 points."),
        ("Москва.", "москва"), ("北京。", "北京"), ("Hyvää päivää", "hyvää päivää."), ("Straße", "STRASSE"),
        ("Hyva\u0308a\u0308", "Hyv\u00e4\u00e4"), ("?", "?"), ("[ ]", "[]"), ("नमस्ते", "नमस्ते"),
    ],
)  # fmt: skip
def test_a_right_answer_of_any_script_is_right_by_both_metrics(given: str, reference: str) -> None:
    assert right(given, reference)
    if given != "It's over!":  # `it s` are two words to ROUGE
        assert WORDS_AND_NUMBERS(given, [reference]) == 1.0


def test_a_wrong_number_in_a_sentence_is_wrong_and_costs_one_word() -> None:
    assert not right("The mean is -5.5.", "The mean is 5.5.")
    assert WORDS_AND_NUMBERS("The mean is -5.5.", ["The mean is 5.5."]) == 0.75


def test_any_reference_may_be_the_right_one() -> None:
    assert right("-5", "minus five", "-5")
    assert WORDS_AND_NUMBERS("-5", ["minus five", "-5"]) == 1.0


@given(st.text(alphabet=st.sampled_from("abcdehr sunning'.,-AB\n flies happily"), max_size=80), st.data())
def test_the_short_way_of_plain_words_gives_the_same_score(text: str, data: st.DataObject) -> None:
    other = data.draw(st.text(alphabet="abcdehr sunning'.,-AB\n flies happily", max_size=80))
    short = WordsAndNumbersScorer()
    long = WordsAndNumbersScorer()
    long._plain = long._rouge_l
    assert short(text, [other]) == long(text, [other])


@given(st.text(alphabet=st.sampled_from("abcdehr sunning'.,-AB\n flies happily"), max_size=80), st.data())
def test_without_numbers_plain_english_scores_as_it_did(text: str, data: st.DataObject) -> None:
    other = data.draw(st.text(alphabet="abcdehr sunning'.,-AB\n flies happily", max_size=80))
    if OURS(other, [other]) and not is_formula(text) and not is_formula(other):
        assert WORDS_AND_NUMBERS(text, [other]) == OURS(text, [other])
        assert right(text, other) == exact_match(text, [other], Normaliser.NORMALISED)


@pytest.mark.parametrize("scorer", [RougeLScorer(), RougePackageScorer()])
def test_no_reference_is_an_error(scorer: RougeLScorer) -> None:
    with pytest.raises(ScoreError):
        scorer("x", [])
    with pytest.raises(ScoreError):
        exact_match("x", [], Normaliser.STRICT)


def prediction(text: str, kind: Kind = Kind.GENERATION) -> Prediction:
    return Prediction(
        task="t", id="i", kind=kind, num_shots=0, references=("a red fox",), prediction=text, request_sha256=""
    )


def value(text: str, parameters: ScoreParameters) -> float:
    return score(prediction(text), parameters, rouge_l_scorer(parameters)).score


@pytest.mark.parametrize("rouge", list(Rouge))
def test_empty_prediction_scores_zero_unless_the_winners_rule_is_asked_for(rouge: Rouge) -> None:
    assert value("", ScoreParameters(rouge=rouge)) == 0.0
    assert value(" \n\nlate", ScoreParameters(rouge=rouge, empty=EmptyRule.REFERENCE)) == 1.0


def test_only_the_text_up_to_the_first_blank_line_counts() -> None:
    parameters = ScoreParameters()
    assert value("a red fox\n\n### Input: and more", parameters) == 1.0
    exact = score(prediction(" A red fox.\n\nx", Kind.EXACT_MATCH), parameters, rouge_l_scorer(parameters))
    assert exact.score == 1.0


WHOLE = {
    ("rouge-score", "zero"): [[516, 330, 325, 206, 155, 96, 51, 21], [429, 375, 360, 285, 288, 232, 171, 160]],
    ("rouge", "reference"): [[567, 363, 321, 200, 108, 71, 25, 45], [772, 360, 356, 238, 182, 173, 113, 106]],
    ("rouge", "zero"): [[597, 363, 321, 200, 108, 71, 25, 15], [780, 360, 356, 238, 182, 173, 113, 98]],
}
"""Buckets of task003 and task040 in 4,000 GPT-3 predictions, measured independently with both packages."""
OF_REDUCED = {
    ("rouge-score", "zero"): [[26, 14, 16, 12, 11, 4, 2, 0], [36, 13, 18, 11, 8, 16, 9, 4]],
    ("rouge", "reference"): [[26, 14, 14, 20, 5, 3, 1, 2], [45, 21, 18, 8, 4, 14, 3, 2]],
    ("rouge", "zero"): [[28, 14, 14, 20, 5, 3, 1, 0], [45, 21, 18, 8, 4, 14, 3, 2]],
}
"""The same of the 200 predictions that are shipped."""


@pytest.mark.parametrize(("rouge", "empty"), WHOLE)
def test_buckets_of_real_predictions_are_the_measured_ones(real_data: Path, rouge: str, empty: str) -> None:
    text = RougeText.CLEANED if rouge == "rouge" else RougeText.RAW
    parameters = ScoreParameters(rouge=Rouge(rouge), rouge_text=text, empty=EmptyRule(empty))
    rouge_l = rouge_l_scorer(parameters)
    path = real_data / "gpt3-predictions" / "predictions.jsonl"
    predictions = sorted(read_predictions(path), key=lambda p: p.task)
    buckets = bucket_tasks((score(p, parameters, rouge_l) for p in predictions), BucketParameters())
    measured = OF_REDUCED if real_data == REDUCED else WHOLE
    assert [list(b.histogram) for b in buckets] == measured[rouge, empty]
