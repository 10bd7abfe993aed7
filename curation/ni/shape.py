"""The shape of answers: single words, numbers, options of the input, fixed formats, short spans.

    for shape in shapes(task):
        shape.one_word, shape.option

Where it sits: task -> **shape** -> kind.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import regex

from core.text import folded, words
from curation.ni.task import Task

SHORT_WORDS, NAME_WORDS = 3, 5

MOST_LOOKED_AT = 1_000
"""Instances spread evenly over a task; a share then has a standard error of .016 or less."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerShape:
    """The properties of one answer that decide a task's kind; see `curation.ni.kind.Rule`."""

    in_definition: bool
    """Its words, apart from numbers, are words of the Definition; in a script without spaces, the whole answer is."""
    one_word: bool
    wordless: bool
    option: bool
    format: bool
    name: bool
    """At most five words that contain a capital or a digit. Short words between them need not: `Isle of Man`."""
    look_up: bool
    """At most three words, and the Definition asks for one certain thing."""
    in_input: bool
    """At most three words that occur in the input."""
    asks_for: str
    """The kind of free text that the Definition asks for; empty if none."""


def shapes(task: Task) -> Iterator[AnswerShape]:
    """The shapes of the first references of at most 1,000 instances."""
    step = max(1, -(-len(task.instances) // MOST_LOOKED_AT))
    for instance in task.instances[::step]:
        text, answer = instance.outputs[0], words(instance.outputs[0])
        instruction = instance.instruction or task.definition
        definition, labels = _definition_words(instruction)
        worded = [word for word in answer if not word.isdigit()]
        short = 0 < len(answer) <= SHORT_WORDS
        place = _place(text, instance.input)
        yield AnswerShape(
            in_definition=bool(worded)
            and all(word in definition for word in worded)
            and (len(answer) == len(text.split()) or _place(text, instruction) is not None or text.isascii()),
            one_word=len(text.split()) == 1 and (len(answer) == 1 or text.isascii()),
            wordless=bool(answer) and _WORD.search(text) is None,
            option=place is not None and _is_option(*place),
            format=place is None and _is_formatted(text, answer, instance.input, definition, labels),
            name=0 < len(answer) <= NAME_WORDS and _is_name(text),
            look_up=short and _asks_one_thing(instruction),
            in_input=short and place is not None,
            asks_for=asked_text(instruction),
        )


_WORD = regex.compile(r"[\p{L}\p{M}]{2,}")
_MARKED = regex.compile(
    r"[\"“‘'`] ([^\"“”‘’'`\n]{1,40}) [\"”’'`] | \b (\w+_\w+ | \p{Lu}{2,} | \p{L}+ (?<=\p{Ll}) \p{Lu} \w+) \b",
    regex.VERBOSE,
)
"""In quotation marks, `snake_case`, capitals or `CamelCase`."""


@lru_cache(maxsize=64)
def _definition_words(definition: str) -> tuple[frozenset[str], frozenset[str]]:
    """All words of a definition, and those that are marked as labels."""
    marked = (word for quoted, name in _MARKED.findall(definition) for word in words(quoted or name))
    return frozenset(words(definition)), frozenset(marked)


_IN_BRACKETS = regex.compile(r"\s* (?: \[.*\] | \(.*\) | \{.*\} ) \s*", regex.VERBOSE | regex.DOTALL)


def _is_formatted(
    text: str, answer: Sequence[str], given: str, definition: frozenset[str], labels: frozenset[str]
) -> bool:
    bracketed = _IN_BRACKETS.fullmatch(text) is not None
    if not answer or (not bracketed and labels.isdisjoint(answer)):
        return False
    allowed = labels | definition if bracketed else labels
    return {word for word in answer if word not in allowed} <= set(words(given))


def _is_name(text: str) -> bool:
    chunks = text.split()
    large = [any(character.isupper() or character.isdigit() for character in chunk) for chunk in chunks]
    return large[0] and large[-1] and all(is_large or len(c) <= 3 for is_large, c in zip(large, chunks, strict=True))


def _are_joined(a: str, b: str) -> bool:
    """Whether two neighbouring characters belong to one word."""
    return a.isalnum() and b.isalnum() and len(words(a + b)) == 1


def _place(answer: str, text: str) -> tuple[str, str] | None:
    """The text before and the text behind an answer that occurs in a text as whole words; None if it does not."""
    bare, whole = folded(answer).strip(" .\n"), folded(text)
    start = whole.find(bare) if bare else -1
    while start >= 0:
        end = start + len(bare)
        if not _are_joined(whole[start - 1 : start], bare[0]) and not _are_joined(bare[-1], whole[end : end + 1]):
            return whole[:start], whole[end:]
        start = whole.find(bare, start + 1)
    return None


_MARK = r"(?: \(? (?: [a-h] | [1-9] ) [.):] | \p{L}+ \s? [1-9] \s? [:)] | \p{L}+ \s [a-h] \s? [:)] )"
_LIST = r"\b (?: options? | choices? | candidates? ) \s? : (?: [^\n]* [,;/] )?"
_OPENS = regex.compile(
    rf"(?: ^ | [\n\t|] | <\w+> | (?: ^ | [\s>)] ) {_MARK} | {_LIST} ) [ '\"*•-]* $",
    regex.VERBOSE,
)
_CLOSES = regex.compile(rf"[ .,;'\"]* (?: $ | [\n\t|/] | <\w+> | (?<=[\s,;]) {_MARK} | (?<=[,;]) )", regex.VERBOSE)
"""Options of an input stand between line breaks, tags, bars or marks like `(A)`, `b.`, `3)`, `Option 2:`; or in a list
behind `Options:`."""

_NEAR = 200


def _is_option(before: str, behind: str) -> bool:
    alone = not before.strip() and not behind.strip()
    return not alone and bool(_CLOSES.match(behind[:_NEAR]) and _OPENS.search(before[-_NEAR:]))


_VERBS = (
    r"generate|write|create|compose|produce|craft|invent|formulate|suggest|propose|devise|think\sof|come\sup\swith"
    r"|make\sup|(?:give|provide|add)(?=\s(?:an?|some|your|another)\b)"
)
_TEXTS = (
    r"title|headline|heading|caption|slogan|tagline|hashtag|question|query|queries|sentence|story|stories|summary"
    r"|summaries|paraphrase|response|reply|replies|utterance|message|dialogue|description|explanation|poem|joke"
    r"|metaphor|simile|example|idea|hint|reason|statement|hypothesis|premise|name(?=\sfor\b)"
    r"|(?:incorrect|invalid|wrong|implausible|fake)\s(?:\w+\s)?(?:answer|option|alternative)"
)
_ASKS_FOR = regex.compile(
    rf"\b (?:{_VERBS}) \s+"
    r"(?: (?! (?:for|of|to|in|on|from|with|about|that|which|whose|by|based) \b ) [\w-]+ ,? \s+ ){0,5}?"
    rf"((?:{_TEXTS}) s?) \b",
    regex.VERBOSE | regex.IGNORECASE,
)
"""A verb such as `write`, at most five words without a preposition, and a kind of free text."""


@lru_cache(maxsize=64)
def asked_text(definition: str) -> str:
    """The kind of free text that a definition asks for: the object of `write`, `generate` and the like, or "".

    >>> asked_text("Your job is to generate a short title for the story.")
    'title'
    >>> asked_text("Write the answer to a question.")
    ''
    """
    match = _ASKS_FOR.search(definition)
    return str(match[1]).lower() if match else ""


_ONE_THING = regex.compile(
    r"\b (?: (?: return|give|find|name|identify|provide|output|tell|determine|state|report|write|generate|guess ) \s+"
    r"(?:only\s+)? (?:the|its|their) | answer \s+ (?:the|a|each|this) (?:\s+\w+)? \s+ question ) \b",
    regex.VERBOSE | regex.IGNORECASE,
)


@lru_cache(maxsize=64)
def _asks_one_thing(definition: str) -> bool:
    """True for `return the currency`, False for `write a title`."""
    return _ONE_THING.search(definition) is not None
