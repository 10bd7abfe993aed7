"""The 25 instruction types of IFEval: for each, whether a text follows it.

    follows = make_check("length_constraints:number_words", Arguments({...}, where="..."), Rules(), draw=Random(0))
    follows("Only four words here.")

Every check gives what the reference's checker gives, in time linear in the text: the reference's patterns for bullets,
placeholders and titles are quadratic, and 1 MB of line ends or brackets would hold them for hours. Keywords are taken
literally. The reference reads them as patterns, which differs where one holds a special character; none of the 541
prompts has such a keyword.

Source: Zhou et al. 2023 (arXiv 2311.07911) and its published program.

Where it sits: arguments, sentences -> **checks** -> suite.
"""

import json
import random
import re
import string
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from evaluation.errors import EvaluationError
from evaluation.ifeval.arguments import Arguments
from evaluation.ifeval.sentences import NLTK, PUNKT, PunktModel, num_capital_words, num_sentences, num_words
from evaluation.language_detector import LANGDETECT, langdetect_language

Check = Callable[[str], bool]

LetterRule = Literal["literal", "upstream"]

ENGLISH_ANSWERS = ("My answer is yes.", "My answer is no.", "My answer is maybe.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What differs between languages and scorers."""

    constrained_responses: tuple[str, ...] = ENGLISH_ANSWERS
    case_language: str = "en"
    """The language that a text in capitals, or in lower case, must have."""
    detect_in_lower_case: bool = False
    """Tell the language of a text in capitals from its lower case. langdetect passes over words in capitals: of three
    Finnish sentences in capitals it called none Finnish, and of the same in lower case all."""
    punkt_model: PunktModel = "english"
    letter_rule: LetterRule = "literal"
    """`literal`: the character itself is counted, in lower case. `upstream`: one that is no letter from a to z is
    replaced by a letter drawn at random."""


Maker = Callable[[Arguments, Rules, random.Random], Check]

LIBRARIES = {
    "language:response_language": (LANGDETECT,),
    "change_case:english_capital": (LANGDETECT,),
    "change_case:english_lowercase": (LANGDETECT,),
    "length_constraints:number_sentences": (PUNKT,),
    "change_case:capital_word_frequency": (PUNKT, NLTK),
}
"""What a type's check imports."""


def make_check(kind: str, arguments: Arguments, rules: Rules, draw: random.Random, where: str) -> Check:
    """The check of one instruction.

    Args:
        kind: `CATEGORY:NAME`.
        draw: Used by the letter rule `upstream` alone.
        where: Begins the message about an unknown type.

    Raises:
        EvaluationError: an unknown type, or an argument that is missing or wrong.
    """
    if kind not in MAKERS:
        raise EvaluationError(f"{where}: unknown instruction type {kind!r}. Known are {', '.join(sorted(MAKERS))}.")
    return MAKERS[kind](arguments, rules, draw)


def _lines(text: str) -> list[str]:
    return text.split("\n")  # not splitlines: the reference's patterns know this line end alone


def _is_in_language(text: str, language: str) -> bool:
    """As the reference: a text without any letter to decide by passes."""
    return langdetect_language(text) in (language, None)


def _no_comma(arguments: Arguments, rules: Rules, draw: random.Random) -> Check:
    return lambda text: "," not in text


def _num_words(arguments: Arguments, rules: Rules, draw: random.Random) -> Check:
    fulfils = arguments.relation("relation", "num_words")
    return lambda text: fulfils(num_words(text))


def _num_sentences(arguments: Arguments, rules: Rules, draw: random.Random) -> Check:
    fulfils = arguments.relation("relation", "num_sentences")
    return lambda text: fulfils(num_sentences(text, rules.punkt_model))


def _paragraphs(arguments: Arguments, rules: Rules, draw: random.Random) -> Check:
    """Paragraphs are separated by `***`; a blank one is allowed at the beginning and at the end alone."""
    wanted = arguments.whole("num_paragraphs")

    def follows(text: str) -> bool:
        parts = re.split(r"\s?\*\*\*\s?", text)
        blank = [place for place, part in enumerate(parts) if not part.strip()]
        return all(place in (0, len(parts) - 1) for place in blank) and len(parts) - len(blank) == wanted

    return follows


def _nth_paragraph(arguments: Arguments, rules: Rules, draw: random.Random) -> Check:
    """Paragraphs are separated by an empty line; the n-th must begin with a word."""
    wanted, place = arguments.whole("num_paragraphs"), arguments.whole("nth_paragraph")
    first_word = arguments.text("first_word").lower()

    def follows(text: str) -> bool:
        paragraphs = text.split("\n\n")
        num = sum(1 for paragraph in paragraphs if paragraph.strip())
        if not 1 <= place <= num or num != wanted:
            return False
        words = paragraphs[place - 1].split()  # blank ones count here, as in the reference
        return bool(words) and _bare_word(words[0]) == first_word

    return follows


def _bare_word(word: str) -> str:
    """Without quotation marks before it, up to the first punctuation mark, in lower case."""
    return re.split(r"[.,?!'\"]", word.lstrip("'").lstrip('"'), maxsplit=1)[0].lower()


def _keywords(arguments: Arguments, rules: Rules, draw: random.Random) -> Check:
    patterns = [_literal(word) for word in arguments.texts("keywords")]
    return lambda text: all(pattern.search(text) for pattern in patterns)


def _forbidden(arguments: Arguments, rules: Rules, draw: random.Random) -> Check:
    patterns = [_literal(word, r"\b{}\b") for word in arguments.texts("forbidden_words")]
    return lambda text: not any(pattern.search(text) for pattern in patterns)


def _keyword_frequency(arguments: Arguments, rules: Rules, draw: random.Random) -> Check:
    fulfils = arguments.relation("relation", "frequency")
    pattern = _literal(arguments.text("keyword"))
    return lambda text: fulfils(len(pattern.findall(text)))


def _literal(word: str, frame: str = "{}") -> re.Pattern[str]:
    return re.compile(frame.format(re.escape(word)), re.IGNORECASE)


def _letter_frequency(arguments: Arguments, rules: Rules, draw: random.Random) -> Check:
    fulfils = arguments.relation("let_relation", "let_frequency")
    letter = arguments.text("letter").lower()
    if rules.letter_rule == "upstream" and letter not in set(string.ascii_lowercase):
        letter = draw.choice(string.ascii_lowercase)
    return lambda text: fulfils(text.lower().count(letter))


def _response_language(arguments: Arguments, rules: Rules, draw: random.Random) -> Check:
    language = arguments.text("language")
    return lambda text: _is_in_language(text, language)


def _capital(arguments: Arguments, rules: Rules, draw: random.Random) -> Check:
    def follows(text: str) -> bool:
        shown = text.lower() if rules.detect_in_lower_case else text
        return text.isupper() and _is_in_language(shown, rules.case_language)

    return follows


def _lowercase(arguments: Arguments, rules: Rules, draw: random.Random) -> Check:
    return lambda text: text.islower() and _is_in_language(text, rules.case_language)


def _capital_words(arguments: Arguments, rules: Rules, draw: random.Random) -> Check:
    fulfils = arguments.relation("capital_relation", "capital_frequency")
    return lambda text: fulfils(num_capital_words(text, rules.punkt_model))


def _placeholders(arguments: Arguments, rules: Rules, draw: random.Random) -> Check:
    wanted = arguments.whole("num_placeholders")
    return lambda text: sum(_num_brackets(line) for line in _lines(text)) >= wanted


def _num_brackets(line: str) -> int:
    """Pairs of `[` and the next `]`."""
    num = place = 0
    while (start := line.find("[", place)) >= 0 and (end := line.find("]", start)) >= 0:
        num, place = num + 1, end + 1
    return num


def _postscript(arguments: Arguments, rules: Rules, draw: random.Random) -> Check:
    marker = arguments.text("postscript_marker")
    special = {"P.P.S": r"p\.\s?p\.\s?s", "P.S.": r"p\.\s?s\."}
    pattern = re.compile(special.get(marker, re.escape(marker.lower())))
    return lambda text: pattern.search(text.lower()) is not None


def _bullets(arguments: Arguments, rules: Rules, draw: random.Random) -> Check:
    wanted = arguments.whole("num_bullets")
    return lambda text: _num_star_bullets(text) + _num_dash_bullets(text) == wanted


def _num_star_bullets(text: str) -> int:
    """Lines that begin with one `*`. A `*` alone on its line takes the next line as its text."""
    num = 0
    lines = iter(_lines(text))
    for line in lines:
        bullet = line.lstrip()
        if bullet.startswith("*") and not bullet.startswith("**"):
            if bullet == "*" and next(lines, None) is None:
                continue  # the end of the text: a bullet without anything after it
            num += 1
    return num


def _num_dash_bullets(text: str) -> int:
    return sum(line.lstrip().startswith("-") for line in _lines(text))


def _highlights(arguments: Arguments, rules: Rules, draw: random.Random) -> Check:
    """`*text*` and `**text**`; the double form counts in both patterns, as in the reference."""
    wanted = arguments.whole("num_highlights")

    def follows(text: str) -> bool:
        single = re.findall(r"\*[^\n*]*\*", text)
        double = re.findall(r"\*\*[^\n*]*\*\*", text)
        return sum(bool(found.strip("*").strip()) for found in (*single, *double)) >= wanted

    return follows


def _title(arguments: Arguments, rules: Rules, draw: random.Random) -> Check:
    return lambda text: any(title.lstrip("<").rstrip(">").strip() for title in _titles(text))


def _titles(text: str) -> Iterator[str]:
    """`<<...>>`, the longest of each line."""
    for line in _lines(text):
        start, end = line.find("<<"), line.rfind(">>")
        if start >= 0 and end > start + 2:
            yield line[start : end + 2]


def _sections(arguments: Arguments, rules: Rules, draw: random.Random) -> Check:
    wanted = arguments.whole("num_sections")
    pattern = re.compile(rf"\s?{re.escape(arguments.text('section_spliter'))}\s?\d+\s?")
    return lambda text: sum(1 for _ in pattern.finditer(text)) >= wanted


def _json(arguments: Arguments, rules: Rules, draw: random.Random) -> Check:
    def follows(text: str) -> bool:
        inner = text.strip()
        for fence in ("```json", "```Json", "```JSON", "```"):
            inner = inner.removeprefix(fence)
        try:
            json.loads(inner.removesuffix("```").strip())
        except (ValueError, RecursionError):
            return False
        return True

    return follows


def _constrained(arguments: Arguments, rules: Rules, draw: random.Random) -> Check:
    return lambda text: any(answer in text for answer in rules.constrained_responses)


def _two_responses(arguments: Arguments, rules: Rules, draw: random.Random) -> Check:
    """Two different texts, separated by `******`; a blank one is allowed at the beginning and at the end alone."""

    def follows(text: str) -> bool:
        parts = [part.strip() for part in text.split("******")]
        texts = [part for part in parts if part]
        return all(parts[1:-1]) and len(texts) == 2 and texts[0] != texts[1]

    return follows


def _repeat_prompt(arguments: Arguments, rules: Rules, draw: random.Random) -> Check:
    beginning = arguments.text("prompt_to_repeat").lower()
    return lambda text: text.strip().lower().startswith(beginning)


def _end_phrase(arguments: Arguments, rules: Rules, draw: random.Random) -> Check:
    end = arguments.text("end_phrase").lower()
    return lambda text: text.strip().strip('"').lower().endswith(end)


def _quotation(arguments: Arguments, rules: Rules, draw: random.Random) -> Check:
    def follows(text: str) -> bool:
        inner = text.strip()
        return len(inner) > 1 and inner[0] == inner[-1] == '"'

    return follows


MAKERS: dict[str, Maker] = {
    "change_case:capital_word_frequency": _capital_words,
    "change_case:english_capital": _capital,
    "change_case:english_lowercase": _lowercase,
    "combination:repeat_prompt": _repeat_prompt,
    "combination:two_responses": _two_responses,
    "detectable_content:number_placeholders": _placeholders,
    "detectable_content:postscript": _postscript,
    "detectable_format:constrained_response": _constrained,
    "detectable_format:json_format": _json,
    "detectable_format:multiple_sections": _sections,
    "detectable_format:number_bullet_lists": _bullets,
    "detectable_format:number_highlighted_sections": _highlights,
    "detectable_format:title": _title,
    "keywords:existence": _keywords,
    "keywords:forbidden_words": _forbidden,
    "keywords:frequency": _keyword_frequency,
    "keywords:letter_frequency": _letter_frequency,
    "language:response_language": _response_language,
    "length_constraints:nth_paragraph_first_word": _nth_paragraph,
    "length_constraints:number_paragraphs": _paragraphs,
    "length_constraints:number_sentences": _num_sentences,
    "length_constraints:number_words": _num_words,
    "punctuation:no_comma": _no_comma,
    "startend:end_checker": _end_phrase,
    "startend:quotation": _quotation,
}
"""Every type of the 541 prompts."""
