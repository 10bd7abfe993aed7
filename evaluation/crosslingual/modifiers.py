"""Modifiers of an instruction, and whether an answer fulfils one: by rule where a rule can say, else a judge decides.

    parse_modifier("markdown_template").rule("Use **salt**.")    # True

Where it sits: **modifiers** -> the suite `modifiers`.
Source: the rules are ours; the paper had people decide.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from evaluation.errors import EvaluationError

NAMES = (
    "short", "long", "list-N", "language", "markdown", "html", "arrow", "caps", "scientific", "simple", "two-hop",
)  # fmt: skip
"""As the paper's table calls them, in its order."""

CAPITAL_SHARE = 0.95
"""Share of words that begin with a capital from which an answer is capitalised."""

_BULLET = re.compile(r"(?:[-*•]|\d+[.)])(?:\s|$)")
_MARKDOWN = re.compile(
    r"""^\#{1,6}\s+\S          # heading
    | \*\*\S(?:.{0,300}?\S)?\*\*|__\S(?:.{0,300}?\S)?__          # bold
    | ^\s*(?:[-*+]|\d+[.)])\s+\S          # list item
    | ^\s*\|.*\|          # table row
    | \[[^\]\n]+\]\([^)\s]+\)          # link
    | ^\s*(?:```|~~~)          # code fence
    """,
    re.MULTILINE | re.VERBOSE,
)
_HTML_START = re.compile(r"<html[\s>]|<!doctype\s+html", re.IGNORECASE)
_HTML_END = re.compile(r"</html\s*>", re.IGNORECASE)
_HTML_BLOCK = re.compile(
    r"<(?:address|article|aside|blockquote|body|dd|details|div|dl|dt|fieldset|figure|footer|form|h[1-6]|header|hr|li|main"
    r"|nav|ol|p|pre|section|table|ul)[\s/>]",
    re.IGNORECASE,
)
_ARROW = re.compile(r"\s*(?:-->|→)")
_OTHER_BULLET = re.compile(r"\s*(?:[-*•](?!->)|\d+[.)])(?:\s|$)")
_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Modifier:
    """One modifier of an instruction."""

    name: str
    """One of `NAMES`."""
    rule: Callable[[str], bool] | None
    """Whether an answer fulfils it. None: the language detector or a judge decides."""


def parse_modifier(name: str) -> Modifier:
    """By the name in the file of types.

    Raises:
        EvaluationError: no such modifier.
    """
    if found := re.fullmatch(r"num_items_(\d+)", name):
        num = int(found.group(1))
        return Modifier(name="list-N", rule=lambda text: has_items(text, num))
    if re.fullmatch(r"lang_[a-z]{2}", name):
        return Modifier(name="language", rule=None)
    if name not in _MODIFIERS:
        raise EvaluationError(f"modifier {name!r} is unknown. Use {', '.join(_MODIFIERS)}, num_items_N or lang_XX.")
    return _MODIFIERS[name]


def has_items(text: str, num: int) -> bool:
    """Exactly `num` lines at the top level that begin with `-`, `*`, `•`, `N.` or `N)`. Commas make no list.

    >>> has_items("- a\\n  - inner\\n- b", 2), has_items("a, b", 2)
    (True, False)
    """
    bullets = [len(line) - len(line.lstrip()) for line in text.splitlines() if _BULLET.match(line.lstrip())]
    return bool(bullets) and bullets.count(min(bullets)) == num


def is_markdown(text: str) -> bool:
    """At least one heading, bold span, list item, table row, link or code fence."""
    return _MARKDOWN.search(text) is not None


def is_html(text: str) -> bool:
    """An opening `<html` or doctype, a closing `</html>`, and at least one block element between them."""
    start, ends = _HTML_START.search(text), list(_HTML_END.finditer(text))
    if start is None or not ends:
        return False
    return _HTML_BLOCK.search(text, start.end(), ends[-1].start()) is not None


def has_arrows(text: str) -> bool:
    """At least two lines begin with `-->` or `→`, and none with another bullet."""
    lines = text.splitlines()
    arrows = sum(_ARROW.match(line) is not None for line in lines)
    return arrows >= 2 and not any(_OTHER_BULLET.match(line) for line in lines)


def is_capitalised(text: str) -> bool:
    """At least 95 % of the words begin with a capital. Words of a script without case do not."""
    words = _WORD.findall(text)
    return bool(words) and sum(word[0].isupper() or word[0].istitle() for word in words) >= CAPITAL_SHARE * len(words)


_MODIFIERS = {
    "short": Modifier(name="short", rule=None),
    "long": Modifier(name="long", rule=None),
    "markdown_template": Modifier(name="markdown", rule=is_markdown),
    "html_template": Modifier(name="html", rule=is_html),
    "arrow_template": Modifier(name="arrow", rule=has_arrows),
    "cap_template": Modifier(name="caps", rule=is_capitalised),
    "scientific_style": Modifier(name="scientific", rule=None),
    "simple_style": Modifier(name="simple", rule=None),
    "complex_inst": Modifier(name="two-hop", rule=None),
}
