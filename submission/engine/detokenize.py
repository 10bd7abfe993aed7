"""Text of tokens as they come: what each new token adds to the text before it.

    stream = Detokenizer(tokenizer, context=prompt_ids)
    [stream.push(i) for i in new_ids] + [stream.finish()]

A character cut across tokens counts for the token that completes it. The cost of a token does not grow with the text.

Where it sits: under the engine.
"""

from collections.abc import Sequence
from typing import Any

REPLACEMENT = "\ufffd"
"""What bytes that are no whole character decode to."""

LONGEST_CHARACTER = 8
"""Tokens. A text that still ends in no character after so many holds bytes that will never be one."""


class Detokenizer:
    """Decodes from a boundary some tokens back, and takes off what was there already.

    Args:
        context: Ids before the first new one. With none, the text is one of its own: the tokenizer's first word mark
            is no space then.
    """

    def __init__(self, tokenizer: Any, *, context: Sequence[int] = ()) -> None:
        self._tokenizer = tokenizer
        self._ids = list(context[-LONGEST_CHARACTER:])
        self._start = 0
        self._read = len(self._ids)
        # from a whole character on: the anchor is as short as may be
        for start in range(len(self._ids) - 1, -1, -1):
            self._start = start
            if not self._decode(self._ids[start:]).startswith(REPLACEMENT):
                break

    def push(self, token_id: int) -> str:
        """The text that is certain with this token; empty as long as a character is not whole."""
        self._ids.append(token_id)
        return self._take(whole=True)

    def finish(self) -> str:
        """The text of a character that was cut at the end."""
        return self._take(whole=False)

    def _take(self, *, whole: bool) -> str:
        before = self._decode(self._ids[self._start : self._read])
        after = self._decode(self._ids[self._start :])
        waiting = len(self._ids) - self._read
        if whole and after.endswith(REPLACEMENT) and waiting < LONGEST_CHARACTER:
            return ""
        if waiting:
            self._start, self._read = self._read, len(self._ids)
        return after[len(before) :]

    def _decode(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=False))


def token_texts(tokenizer: Any, ids: Sequence[int], *, context: Sequence[int] = ()) -> list[str]:
    """The text of each id; in a row they are the text of all."""
    stream = Detokenizer(tokenizer, context=context)
    texts = [stream.push(token_id) for token_id in ids]
    if texts:
        texts[-1] += stream.finish()
    return texts
