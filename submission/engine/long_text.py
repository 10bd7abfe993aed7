"""The ids at one end of a long text, without tokenising all of it.

    last_ids(encode, "word " * 200_000, 2_048)[-2_048:] == encode("word " * 200_000)[-2_048:]

A text is cut at a word boundary: before a space or after a newline. The tokenizers in use do not join characters across
such a boundary (BPE and unigram models split there, or have no token across it), so the ids are those of the whole
text. A cut may change the few ids next to it; therefore some more ids are read and discarded.

**Limit**: if 4,096 characters contain no such boundary, the cut is made anywhere, and ids up to the next boundary may
differ from those of the whole text.

Where it sits: under the engine.
"""

import re
from collections.abc import Callable
from enum import StrEnum

Encode = Callable[[str], list[int]]

CHARACTERS_PER_TOKEN = 4
"""A first guess. If it yields too few ids, twice as much text is read."""

SPARE = 64
"""Ids next to the cut that are read and discarded."""

REACH = 4_096
"""Characters that are searched for a word boundary."""

_PLACE = re.compile(r"(?<=\S)(?= )|(?<=\n)(?=\S)")


class Overlong(StrEnum):
    """What happens to a prompt that does not fit the model's context window."""

    LEFT_TRUNCATE = "left-truncate"
    """The beginning of the prompt is removed."""
    REFUSE = "refuse"


def last_ids(encode: Encode, text: str, num: int) -> list[int]:
    """The last `num` ids of a text and at least `SPARE` before them, or all ids if there are fewer."""
    length = CHARACTERS_PER_TOKEN * (num + SPARE)
    while length < len(text):
        target = len(text) - length
        place = _PLACE.search(text, max(0, target - REACH), target)
        ids = encode(text[place.start() if place else target :])
        if len(ids) >= num + SPARE:
            return ids
        length *= 2
    return encode(text)


def first_ids(encode: Encode, text: str, num: int) -> list[int]:
    """The first `num` ids of a text and at least `SPARE` after them, or all ids if there are fewer."""
    length = CHARACTERS_PER_TOKEN * (num + SPARE)
    while length < len(text):
        place = _PLACE.search(text, length, length + REACH)
        ids = encode(text[: place.start() if place else length])
        if len(ids) >= num + SPARE:
            return ids
        length *= 2
    return encode(text)
