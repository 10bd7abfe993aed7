"""Splits a text into lines to translate and pieces that are copied byte for byte.

    >>> [piece.text for piece in pieces("  One.\\n\\n```\\nx = 1\\n```\\n") if piece.is_translated]
    ['One.']

White space, line ends, fenced code, lines that consist of one code span, and lines without a letter are copied. The
joined pieces are the text.

Where it sits: below translate.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

_FENCE = re.compile(r"[ \t>]*(`{3,}|~{3,})(.*)", re.DOTALL)
"""The first line of a code block, which may be inside a quotation or a list."""

_SPAN = re.compile(r"(`+)(?!`).*(?<!`)\1", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A piece of a text."""

    text: str
    is_translated: bool


def pieces(text: str) -> Iterator[Piece]:
    """Yields the pieces of a text in order."""
    fence = ""
    for line in _lines(text):
        if fence:
            fence = "" if _closes(line, fence) else fence
            yield Piece(text=line, is_translated=False)
        elif fence := _opened(line):
            yield Piece(text=line, is_translated=False)
        else:
            yield from _of_line(line)


def _lines(text: str) -> Iterator[str]:
    """Yields each line with its end. Only a line feed ends a line; other line separators are part of it."""
    start = 0
    while (end := text.find("\n", start)) >= 0:
        yield text[start : end + 1]
        start = end + 1
    if start < len(text):
        yield text[start:]


def _opened(line: str) -> str:
    """Returns the fence that a line opens; empty if it opens none. A fence of backticks has no backtick after it."""
    found = _FENCE.fullmatch(line)
    if not found or (found[1][0] == "`" and "`" in found[2]):
        return ""
    return found[1]


def _closes(line: str, fence: str) -> bool:
    found = _FENCE.fullmatch(line)
    return found is not None and found[1].startswith(fence) and not found[2].strip()


def _of_line(line: str) -> Iterator[Piece]:
    """Separates the white space at both ends of a line from its text."""
    core = line.strip()
    if not any(map(str.isalpha, core)) or _SPAN.fullmatch(core):
        yield Piece(text=line, is_translated=False)
        return
    start = line.index(core)
    for text, is_translated in ((line[:start], False), (core, True), (line[start + len(core) :], False)):
        if text:
            yield Piece(text=text, is_translated=is_translated)
