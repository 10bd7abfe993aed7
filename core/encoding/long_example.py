"""What becomes of an example that is longer than `sequence_len`: split, truncated or dropped.

    >>> row = RowIds(input_ids=(1, 2, 3), labels=(1, 2, 3))
    >>> [piece.input_ids for piece in fitted(row, 2, LongExamples.TRUNCATE)]
    [(1, 2)]

A text is split behind the last paragraph or line that fits, where there is one in the second half of the piece. The
pieces follow each other without a gap, so that together they have the text's tokens. A piece's first token bears no
loss.

Where it sits: example_ids -> **long_example** -> tokenised table.
"""

from collections.abc import Callable
from enum import StrEnum

from core.example.example import Unusable
from core.model.token_ids import IGNORED_LABEL, RowIds


class LongExamples(StrEnum):
    """What is done with an example that is too long."""

    AUTO = "auto"
    """Texts are split, and other examples are dropped."""
    SPLIT = "split"
    """Texts are split; of other examples, which have no pieces, the first tokens are kept."""
    TRUNCATE = "truncate"
    """The first tokens are kept."""
    DROP = "drop"
    """It is left out, with its reason."""

    def of_text(self) -> "LongExamples":
        """For a text."""
        return LongExamples.SPLIT if self is LongExamples.AUTO else self

    def of_answers(self) -> "LongExamples":
        """For an example with answers."""
        return {LongExamples.AUTO: LongExamples.DROP, LongExamples.SPLIT: LongExamples.TRUNCATE}.get(self, self)


BREAKS = ("\n\n", "\n")
"""Ends of a paragraph and of a line: where a text is split, the first of them before the second."""


def fitted(
    row: RowIds, limit: int, choice: LongExamples, *, text_of: Callable[[int], str] | None = None
) -> list[RowIds]:
    """The row in pieces of at most `limit` tokens.

    Args:
        choice: Not `auto`.
        text_of: The text that a token id stands for; pieces then end with a paragraph or a line.
    Raises:
        Unusable: it is dropped, or nothing trained is left of it.
    """
    length = len(row.input_ids)
    if length <= limit:
        return [row]
    if choice is LongExamples.DROP:
        raise Unusable("too_long", f"{length} tokens, sequence_len {limit}")
    if choice is LongExamples.TRUNCATE:
        return [_trained(_piece(row, 0, limit), length, limit)]
    breaks = _breaks(row, text_of)
    pieces, start = [], 0
    while start < length:
        stop = _stop(breaks, start, limit, length)
        pieces.append(_piece(row, start, stop))
        start = stop
    return [piece for piece in pieces if piece.num_answer_tokens]


def _trained(piece: RowIds, length: int, limit: int) -> RowIds:
    if not piece.num_answer_tokens:
        raise Unusable("too_long", f"{length} tokens, and none of the first {limit} is trained")
    return piece


def _piece(row: RowIds, start: int, stop: int) -> RowIds:
    return RowIds(input_ids=row.input_ids[start:stop], labels=(IGNORED_LABEL, *row.labels[start + 1 : stop]))


def _breaks(row: RowIds, text_of: Callable[[int], str] | None) -> list[set[int]]:
    """For each kind of break, the numbers of the tokens that a piece may begin with, in order."""
    if text_of is None:
        return []
    texts = [text_of(token) for token in row.input_ids]
    found: list[set[int]] = [set() for _ in BREAKS]
    for number in range(1, len(texts)):
        before = (texts[number - 2] if number > 1 else "") + texts[number - 1]
        if texts[number].startswith("\n"):
            continue  # the line ends of a paragraph stay together
        for kind, mark in enumerate(BREAKS):
            if before.endswith(mark):
                found[kind].add(number)
    return found


def _stop(breaks: list[set[int]], start: int, limit: int, length: int) -> int:
    """Where the piece that begins at `start` ends."""
    if length - start <= limit:
        return length
    for kind in breaks:
        for number in range(start + limit, start + limit // 2, -1):
            if number in kind:
                return number
    return start + limit
