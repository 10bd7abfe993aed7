"""Every instruction type on texts that can be checked by eye, and on texts that are made to hold a scorer up."""

import random
import time
from typing import Any

import pytest

from evaluation.errors import EvaluationError
from evaluation.ifeval.arguments import Arguments
from evaluation.ifeval.checks import MAKERS, Check, Rules, make_check

EXAMPLES: dict[str, tuple[dict[str, Any], list[str], list[str]]] = {
    "change_case:capital_word_frequency": (
        {"capital_relation": "at least", "capital_frequency": 2}, ["I AM here.", "A-B-C and D"], ["I am here.", ""],
    ),
    "change_case:english_capital": (
        {}, ["THIS TEXT IS IN ENGLISH, AND ALL OF IT IS IN CAPITALS."], ["This Is Not.", "DIES IST EIN SATZ."],
    ),
    "change_case:english_lowercase": (
        {}, ["this text is in english, and there is no capital in it."], ["This is not.", "dies ist ein satz."],
    ),
    "combination:repeat_prompt": (
        {"prompt_to_repeat": "Tell a joke. "}, [" tell a JOKE. Why not?"], ["Sure! Tell a joke.", "A joke."],
    ),
    "combination:two_responses": (
        {}, ["a******b", "******a******b******"], ["a******a", "a******b******c", "a", "a************b"],
    ),
    "detectable_content:number_placeholders": (
        {"num_placeholders": 2}, ["[a] and [b]", "[][]"], ["[a]", "[a\n] [b]", "[[a]"],
    ),
    "detectable_content:postscript": ({"postscript_marker": "P.S."}, ["a\np. s. b", "P.S. b"], ["PS b", "p.p.s b"]),
    "detectable_format:constrained_response": (
        {}, ["Well: My answer is no.", "My answer is maybe."], ["My answer is perhaps.", "my answer is no."],
    ),
    "detectable_format:json_format": (
        {}, ['```json\n{"a": [1]}\n```', "3", '"a"'], ["{'a': 1}", 'So: {"a": 1}', "```json```"],
    ),
    "detectable_format:multiple_sections": (
        {"section_spliter": "SECTION", "num_sections": 2}, ["SECTION 1 a\nSECTION 2 b", "SECTION1SECTION22"],
        ["SECTION 1", "Section 1 Section 2"],
    ),
    "detectable_format:number_bullet_lists": (
        {"num_bullets": 2}, ["* a\n* b", "  * a\n\n  - b", "*\na\n* b", "* a\n*b", "--- \n* b"],
        ["* a", "* a\n* b\n* c", "** a **\n* b", "* a\n*"],
    ),
    "detectable_format:number_highlighted_sections": (
        {"num_highlights": 2}, ["*a* and *b*", "**a** b *c*"], ["*a*", "* * and *a*", "*a\nb* *c*", "**a** b"],
    ),
    "detectable_format:title": ({}, ["<<A title>>\nText", "a <<<b>>> c"], ["<title>", "<< >>", "<<a\nb>>", "<<>>"]),
    "keywords:existence": ({"keywords": ["cat", "c++"]}, ["A CAT writes C++."], ["A cat writes C.", "c++"]),
    "keywords:forbidden_words": ({"forbidden_words": ["can"]}, ["It canters.", "Toucan"], ["I CAN.", "can-do"]),
    "keywords:frequency": (
        {"keyword": " run ", "frequency": 2, "relation": "at least"}, ["Run, running."], ["A run."],
    ),
    "keywords:letter_frequency": (
        {"letter": "#", "let_frequency": 2, "let_relation": "at least"}, ["# a #"], ["# a", "abcdefghij" * 9],
    ),
    "language:response_language": (
        {"language": "de"}, ["Das ist ein Satz in deutscher Sprache.", "123"], ["This is a sentence in English."],
    ),
    "length_constraints:nth_paragraph_first_word": (
        {"num_paragraphs": 2, "nth_paragraph": "2", "first_word": "Send"},
        ["a\n\nSend it.", "a\n\n\"send\" it", "a\n\n'Send, it"], ["a\n\nb", "send", "a\n\nsend\n\nb", "a\n\n\n\nsend"],
    ),
    "length_constraints:number_paragraphs": (
        {"num_paragraphs": 2}, ["a\n***\nb", "***a***b***"], ["a", "a***b***c", "a*** ***b"],
    ),
    "length_constraints:number_sentences": (
        {"relation": "less than", "num_sentences": 3}, ["Dr. Smith left. He was tired."], ["One. Two. Three."],
    ),
    "length_constraints:number_words": (
        {"relation": "at least", "num_words": 3}, ["one two three", "it's me", "a-b-c"], ["one two", "..."],
    ),
    "punctuation:no_comma": ({}, ["No comma、here; none."], ["One, two"]),
    "startend:end_checker": ({"end_phrase": "Peace! "}, ["So: PEACE!", '"peace!"\n'], ["Peace! Bye.", "Peace"]),
    "startend:quotation": ({}, ['"a"', ' "a" b "c"\n'], ['"a', "'a'", '"', "“a”"]),
}  # fmt: skip


def check(kind: str, arguments: dict[str, Any], rules: Rules | None = None, seed: int = 0) -> Check:
    where = f"items: {kind}"
    return make_check(kind, Arguments(arguments, where), rules or Rules(), random.Random(seed), "items")


def test_every_type_has_an_example() -> None:
    assert set(EXAMPLES) == set(MAKERS)
    assert len(MAKERS) == 25


@pytest.mark.parametrize("kind", EXAMPLES)
def test_texts_that_follow_and_texts_that_do_not(kind: str) -> None:
    arguments, passing, failing = EXAMPLES[kind]
    follows = check(kind, arguments)
    assert {text: follows(text) for text in (*passing, *failing)} == {t: t in passing for t in (*passing, *failing)}


HOSTILE = ["\n", "[", "<<", "*", "*\n", "\n\n", " ", "-\n", "`", "P.", "a.", "A", "{", '"', "***", "Section 1", "ä,"]


@pytest.mark.parametrize("kind", EXAMPLES)
def test_long_texts_are_checked_in_linear_time(kind: str) -> None:
    """The reference's patterns for bullets, placeholders and titles take hours for some of these."""
    arguments, _, _ = EXAMPLES[kind]
    follows = check(kind, arguments)
    for unit in HOSTILE:
        start = time.monotonic()
        follows(unit * (100_000 // len(unit)))
        assert time.monotonic() - start < 10, unit  # below 1 s on an idle core; a quadratic one needs 5e9 steps


def test_the_upstream_letter_rule_draws_a_letter_for_what_is_none() -> None:
    arguments = {"letter": "#", "let_frequency": 2, "let_relation": "at least"}
    upstream = Rules(letter_rule="upstream")
    passed = [check("keywords:letter_frequency", arguments, upstream, seed)("# a a #") for seed in range(60)]
    assert 0 < sum(passed) < 15  # `a` is one of 26
    assert passed == [check("keywords:letter_frequency", arguments, upstream, seed)("# a a #") for seed in range(60)]
    plain = {**arguments, "letter": "a"}
    assert check("keywords:letter_frequency", plain, upstream)("A a")


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        ("keywords:frequncy", {}, r"items: unknown instruction type 'keywords:frequncy'\. Known are change_case:"),
        ("length_constraints:number_words", {"relation": "at least"}, r"number_words lacks the argument num_words"),
        ("length_constraints:number_words", {"relation": "at most", "num_words": 3}, r"relation is 'at most'\. Use"),
        (
            "length_constraints:number_words",
            {"relation": "at least", "num_words": 2.5},
            r"num_words is 2\.5, not a",
        ),
        (
            "length_constraints:number_words",
            {"relation": "at least", "num_words": "x"},
            r"num_words is 'x', not a",
        ),
        ("keywords:existence", {"keywords": "cat"}, r"keywords is no list of texts"),
        ("keywords:existence", {"keywords": None}, r"lacks the argument keywords"),
        ("startend:end_checker", {"end_phrase": " "}, r"end_phrase is ' ', not a text"),
    ],
)
def test_an_argument_that_cannot_be_used_is_named(kind: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        check(kind, arguments)


def test_numbers_written_as_text_or_with_a_point_are_read() -> None:
    for value in ("3", 3.0, 3):
        assert check("length_constraints:number_words", {"relation": "less than", "num_words": value})("one two")
