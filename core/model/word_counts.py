"""Token counts of texts, word by word: a word that was counted before is looked up.

    counts = WordCounts(encode)
    counts.count(["Good morning.", "Good evening."])

This is exact for a SentencePiece model whose pieces never go beyond the end of a word, and that changes no character
but the space (`splits_at_spaces`). Llama's and Mistral's models are of this kind. On the rows of Natural Instructions
it is several times faster than encoding whole texts.

Where it sits: token_counter takes it where a tokenizer allows it.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any

SPACE = "\u2581"
"""What SentencePiece writes for a space. In a text it is taken for one, too."""

_WORD = re.compile(f"[ {SPACE}]+[^ {SPACE}\\n]*|\\n[^ {SPACE}\\n]*")
"""A word with the spaces or the line break before it."""

_MOST_WORDS = 60_000
"""In memory; all are forgotten when there are more."""


class WordCounts:
    """Counts the tokens of texts.

    Args:
        encode: Token ids of texts. It puts one space in front of a text that is not empty.
    """

    def __init__(self, encode: Callable[[Sequence[str]], Sequence[Sequence[int]]]) -> None:
        self._encode = encode
        self._known: dict[str, int] = {}

    def count(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text."""
        words = [_WORD.findall(f" {text}") if text else [] for text in texts]
        if len(self._known) > _MOST_WORDS:
            self._known = {}
        self._learn(set().union(*words) - self._known.keys())
        return [sum(map(self._known.__getitem__, of_text)) for of_text in words]

    def _learn(self, words: set[str]) -> None:
        spaced = [word for word in words if word[0] != "\n"]
        self._known.update(zip(spaced, map(len, self._encode([word[1:] for word in spaced])), strict=True))
        broken = [word for word in words if word[0] == "\n"]
        for word, ids in zip(broken, self._encode(broken), strict=True):
            self._known[word] = len(ids) - 1  # the space in front of the line break is a token of its own
        self._known |= dict.fromkeys((" ", SPACE), 1)  # encoded without its space, it would be an empty text


def splits_at_spaces(processor: Any) -> bool:
    """Whether a SentencePiece model encodes a text as its words one by one.

    It does if no piece has a space behind another character or a line break, each character is kept as it is, one
    space is put in front of a text, and any character can be encoded, if need be as bytes.
    """
    pieces = [processor.id_to_piece(i) for i in range(processor.get_piece_size())]
    if any(SPACE in piece.lstrip(SPACE) or "\n" in piece for piece in pieces) or SPACE not in pieces:
        return False
    if not any(processor.is_byte(i) for i in range(len(pieces))):
        return False
    characters = "".join(chr(code) for code in range(1, 0x3000) if chr(code) not in f" {SPACE}")
    kept = bool(processor.normalize(f"  {characters}  ") == f"{SPACE * 3}{characters}{SPACE * 2}")
    return kept and bool(processor.normalize("\t\n") == f"{SPACE}\t\n")
