"""The ids at one end of a text, without tokenising all of it: a window of 2,048 tokens needs no 4 MB of text read.

    last_ids(encode, "word " * 200_000, 2_048)[-2_048:] == encode("word " * 200_000)[-2_048:]

A text is cut where words part: before a space, or behind a line's end. No tokenizer in use joins the characters on both
sides of such a place (BPE and unigram models split there, or have no token across it), so what is read there are the
same ids as in the whole text. A cut may change the few ids next to it: so many more are read and thrown away.

**Bound**: where 4,096 characters hold no such place the cut falls anywhere, and ids may differ from those of the whole
text, as far as the run without a space goes.

Where it sits: under the engine.
"""

import re
from collections.abc import Callable

Encode = Callable[[str], list[int]]

CHARACTERS_PER_TOKEN = 4
"""A first guess; where it is too low, twice as much text is read, until there are ids enough."""

SPARE = 64
"""Ids next to the cut that are read, and must not be used."""

REACH = 4_096
"""Characters in which a place to cut is looked for."""

_PLACE = re.compile(r"(?<=\S)(?= )|(?<=\n)(?=\S)")


def last_ids(encode: Encode, text: str, num: int) -> list[int]:
    """The last `num` ids of a text, and at least `SPARE` before them; all if it has no more than that."""
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
    """The first `num` ids of a text, and at least `SPARE` behind them; all if it has no more than that."""
    length = CHARACTERS_PER_TOKEN * (num + SPARE)
    while length < len(text):
        place = _PLACE.search(text, length, length + REACH)
        ids = encode(text[: place.start() if place else length])
        if len(ids) >= num + SPARE:
            return ids
        length *= 2
    return encode(text)
