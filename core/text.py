"""Normal forms of texts for comparison: one Unicode form, words of any script, and numbers that stay whole.

    >>> tokens("It fell by 3/4, to -11.5 degrees.")
    ['it', 'fell', 'by', '3/4', 'to', '-11.5', 'degrees']
    >>> [is_formula(text) for text in ("1.5", "[1, -2]", "x = -2", "five", "option A")]
    [True, True, True, False, False]
    >>> formula_form("[1.0, -2]") == formula_form("[ 1.0,-2 ]")
    True

Where it sits: below score, kind, duplicate and contamination, all of which compare texts.
"""

import re
import unicodedata

import regex

_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
"""Scripts that are written without spaces between words: each character counts as a word."""

_CHARACTER = rf"[{_UNSPACED}]\p{{M}}*"
_LETTERS = rf"[[\p{{L}}\p{{M}}]--[{_UNSPACED}]]+"
_NUMBER = r"""
    (?: (?<! [\p{L}\p{M}\p{N}_)\]}%] ) [-+\u2212] )?    # a sign, and no hyphen behind a word or a number
    \p{Sc}?
    (?: \d{1,3} (?:,\d{3})+ (?!\d) | \d+ | (?<! [\p{L}\p{M}\p{N}] ) (?=\.\d) )
    (?: [./] \d+ )*                                      # 1.5, 3/4, 1.2.3, 3/4/2020
    (?: e [-+]? \d+ (?! [\p{L}\p{N}] ) )? %?
"""
_TOKEN = regex.compile(
    rf"{_NUMBER} | {_CHARACTER} | {_LETTERS} | \p{{N}} | [\p{{Sm}}--[|~=]]", regex.V1 | regex.VERBOSE
)
_WORD = regex.compile(rf"{_CHARACTER} | [[\p{{L}}\p{{M}}\p{{N}}]--[{_UNSPACED}]]+", regex.V1 | regex.VERBOSE)
_ASCII_WORD = re.compile(r"[a-z0-9]+")


_UNSPACED_CHARACTER = regex.compile(_CHARACTER)
_PIECE = regex.compile(rf"{_CHARACTER} | [^\s{_UNSPACED}]+", regex.V1 | regex.VERBOSE)


def pieces(text: str) -> list[str]:
    """What stands between white space; in a script without spaces, each character.

    >>> pieces("Hyvää yötä, maailma."), pieces("晚安 world")
    (['Hyvää', 'yötä,', 'maailma.'], ['晚', '安', 'world'])
    """
    if text.isascii() or not _UNSPACED_CHARACTER.search(text):
        return text.split()
    return [str(piece) for piece in _PIECE.findall(text)]


def nfc(text: str) -> str:
    """The composed form, so that one text in two encodings of its accents is one text."""
    return unicodedata.normalize("NFC", text)


def folded(text: str) -> str:
    """Composed and without case."""
    return nfc(nfc(text).casefold())


def words(text: str) -> list[str]:
    """Runs of letters and digits without case. In ASCII text this is what `[a-z0-9]+` finds."""
    if text.isascii():
        return _ASCII_WORD.findall(text.lower())
    return [str(word) for word in _WORD.findall(folded(text))]


def tokens(text: str) -> list[str]:
    """Words, numbers and mathematical symbols except `=`, without case.

    A number is one token with its sign, separators, fraction, exponent, currency and per cent sign.
    """
    return [str(token) for token in _TOKEN.findall(folded(text))]


_OTHER_THAN_WORDS = re.compile("[0-9+<>]")


def is_plain(text: str) -> bool:
    """Whether the tokens of a text are its words in a-z, as `rouge-score` finds them too."""
    return text.isascii() and _OTHER_THAN_WORDS.search(text) is None


def has_words(text: str) -> bool:
    """Whether a text contains a letter or a digit."""
    return _LETTER_OR_DIGIT.search(text) is not None


_LETTER_OR_DIGIT = regex.compile(r"[\p{L}\p{N}]")
_PUNCTUATION = regex.compile(r"[\p{P}\p{Sc}\p{Sk}|~=]+")
_DIGIT = regex.compile(r"\p{N}")


def plain_form(text: str) -> str:
    """A text without case, punctuation and superfluous white space. Parts with a digit are replaced by their tokens.

    >>> plain_form(" It's  over."), plain_form("by -5"), plain_form("Die Straße")
    ('its over', 'by -5', 'die strasse')
    """
    parts: list[str] = []
    for chunk in folded(text).split():
        if _DIGIT.search(chunk):
            parts += _TOKEN.findall(chunk)
        else:
            parts.append(_PUNCTUATION.sub("", chunk))
    return " ".join(part for part in parts if part)


_LOOSE_SPACE = regex.compile(r"(?<![\w.]) | (?![\w.])")


def formula_form(text: str) -> str:
    """A text with normalised white space: none beside a symbol, one space between words and numbers."""
    return str(_LOOSE_SPACE.sub("", " ".join(nfc(text).split())))


_LETTER = regex.compile(r"\p{L}")
_LONG_WORD = regex.compile(r"[\p{L}\p{M}]{2,}(?![\p{L}\p{M}]|\s*\()")
"""Names of functions such as `sqrt(2)` do not count."""

_SIDE_BY_SIDE = regex.compile(r"[\p{L}\p{M}\p{N}]\s+[\p{L}\p{N}]")
_EXPONENT = regex.compile(r"(?<=\d)[eE](?=[-+]?\d)")
_BEFORE, _AFTER = r"[\p{L}\p{M}\p{N})\]}]\s*", r"\s*[\p{L}\p{N}(\[{.\u221a]"
_OPERATOR = regex.compile(rf"{_BEFORE}[=+*^<>\u00b7\u00d7\u00f7\u2260-\u2265]{{1,2}}\s*[-+\u2212]?{_AFTER}")
_MINUS_OR_SLASH = regex.compile(rf"{_BEFORE}[-\u2212/]{_AFTER}|(?:^|[,;(\[{{]\s*)[-\u2212][\p{{L}}\p{{N}}(]")
_RECORD = regex.compile(r"[\p{L}\p{M}]{2,}\s*=\s*[\p{L}\p{M}]{2,}")
"""`town = Graz` states a property; it is not an equation."""

_NAME = regex.compile(r"\p{Lu}-\d+|[nN]/[aA]")
"""`F-16` is a name, not a subtraction."""


def is_formula(text: str) -> bool:
    """Whether a text is a number, a list or tuple of numbers, or a formula, which can be written in one way only.

    Letters count as variables if an operator joins them. `-` and `/` between words are not operators (`e-mail`).
    """
    composed = nfc(text).strip()
    if _SIDE_BY_SIDE.search(composed) and _LONG_WORD.search(composed):  # prose, the usual case
        return False
    bare = _EXPONENT.sub("", composed)
    if not _LETTER.search(bare):
        return _DIGIT.search(bare) is not None
    if _SIDE_BY_SIDE.search(bare) or _NAME.fullmatch(bare) or _RECORD.search(bare):
        return False
    if _OPERATOR.search(bare):
        return True
    return not _LONG_WORD.search(bare) and _MINUS_OR_SLASH.search(bare) is not None
