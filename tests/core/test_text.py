import doctest
import re
import unicodedata
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import score
from core import text as text_module
from core.text import formula_form, is_formula, nfc, plain_form, tokens, words
from curation.ni import shape

ANY = st.text(max_size=60)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("It fell by -3/4, to 1.5e-3 or $3.50 (50%).", "it fell by -3/4 to 1.5e-3 or $3.50 50%"),
        ("-5 and +5, 10-20, x=-2, (-.5)", "-5 and +5 10 20 x -2 -.5"),
        ("1,000 of 12,345,678; 1,2,3", "1,000 of 12,345,678 1 2 3"),
        ("v1.2.3 on 3/4/2020 at 12:30.", "v 1.2.3 on 3/4/2020 at 12 30"),
        ("covid-19 COVID19 F-16", "covid 19 covid 19 f 16"),
        ("Он сказал: «Да».", "он сказал да"),
        ("北京是首都。", "北 京 是 首 都"),
        ("Hyvää päivää, Äiti!", "hyvää päivää äiti"),
        ("नमस्ते दुनिया", "नमस्ते दुनिया"),
        ("\u22125 °C", "\u22125 c"),
        ("age > 5, a|b ~c", "age > 5 a b c"),
    ],
)
def test_words_of_any_script_and_whole_numbers_are_tokens(text: str, found: str) -> None:
    assert tokens(text) == found.split()


@given(ANY)
def test_nfc_and_nfd_are_one_text(text: str) -> None:
    apart = unicodedata.normalize("NFD", text)
    for form in (nfc, words, tokens, plain_form, formula_form, is_formula):
        assert form(apart) == form(nfc(text))  # type: ignore[operator]


@given(st.text(alphabet=st.characters(max_codepoint=127), max_size=60))
def test_plain_words_are_what_rouge_score_finds(text: str) -> None:
    assert words(text) == re.findall("[a-z0-9]+", text.lower())


FORMULAS = [
    "5", "-5", "1.5", "3/4", "1,000", "50%", "$3.50", "1e-5", "2E3", "[1, -2]", "(1.0, 2)", "{1; 2}", "1 2 3", "x = -2",
    "2*pi", "-m**2 + 3*m", "x-2", "[x, -y]", "sqrt(2)/2", "a/b", "12:30", "2020-01-05", "velocity = -5", "½",
]  # fmt: skip
WORDS = [
    "five",
    "A",
    "(B)",
    "A.",
    "- B",
    "n/a",
    "N/A",
    "F-16",
    "e-mail",
    "yes/no",
    "2nd",
    "3a, 5c",
    "name = Emil, job = baker",
    "key=value",
    "C++",
    "5 apples",
    "?",
    "",
]


@pytest.mark.parametrize("text", FORMULAS)
def test_a_number_a_list_or_a_formula_is_told(text: str) -> None:
    assert is_formula(text)


@pytest.mark.parametrize("text", WORDS)
def test_words_and_labels_are_no_formula(text: str) -> None:
    assert not is_formula(text)


@pytest.mark.parametrize(
    ("a", "b"), [("[1.0, 2]", "[ 1.0,2 ]"), ("x=-2", "x = - 2"), ("(1, 2)\n", "(1,2)"), ("1  2", "1\t2"), ("[]", "[ ]")]
)
def test_white_space_in_a_formula_does_not_count(a: str, b: str) -> None:
    assert formula_form(a) == formula_form(b)


@pytest.mark.parametrize(("a", "b"), [("1 2", "12"), ("1. 5", "1.5"), ("1 .5", "1.5"), ("X = 1", "x = 1"), ("5.", "5")])
def test_nothing_else_in_a_formula_is_normalised(a: str, b: str) -> None:
    assert formula_form(a) != formula_form(b)


@pytest.mark.parametrize("module", [text_module, shape, score])
def test_the_examples_in_the_modules_hold(module: ModuleType) -> None:
    failed, tried = doctest.testmod(module)
    assert tried > 0
    assert failed == 0
