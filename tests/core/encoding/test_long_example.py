import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.encoding.long_example import LongExamples, fitted
from core.example.example import Unusable
from core.model.token_ids import IGNORED_LABEL, RowIds

TOKENS = ["a", " b", ".", "\n", "\n\n"]


def row(ids: list[int]) -> RowIds:
    return RowIds(input_ids=tuple(ids), labels=(IGNORED_LABEL, *ids[1:]))


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.integers(2, 20))
def test_the_pieces_of_a_text_are_the_text(ids: list[int], limit: int) -> None:
    pieces = fitted(row(ids), limit, LongExamples.SPLIT, text_of=lambda token: TOKENS[token])
    joined = [token for piece in pieces for token in piece.input_ids]
    lost = len(ids) - len(joined)
    assert joined == ids[: len(joined)]
    assert lost <= 1, "a last piece of one token trains nothing"
    assert all(len(piece.input_ids) <= limit for piece in pieces)
    assert all(piece.labels[0] == IGNORED_LABEL and piece.labels[1:] == piece.input_ids[1:] for piece in pieces)


@pytest.mark.parametrize(
    ("text", "first"),
    [("a a a\n\na a a a a", 7), ("a a\na a a a a a a", 8), ("a a a a\na a a a a", 8), ("a a a a a a a a a", 8)],
)
def test_a_piece_ends_with_a_paragraph_or_a_line_of_its_second_half(text: str, first: int) -> None:
    vocabulary = {"a": 1, " ": 2, "\n": 3}
    pieces = fitted(row([vocabulary[c] for c in text]), 8, LongExamples.SPLIT, text_of=lambda token: "?a \n"[token])
    assert len(pieces[0].input_ids) == first


def test_truncated_keeps_the_beginning_and_drop_says_how_long_it_was() -> None:
    (piece,) = fitted(row([1, 2, 3, 4]), 3, LongExamples.TRUNCATE)
    assert piece == row([1, 2, 3])
    with pytest.raises(Unusable, match="4 tokens, sequence_len 3"):
        fitted(row([1, 2, 3, 4]), 3, LongExamples.DROP)
    masked = RowIds(input_ids=(1, 2, 3, 4), labels=(IGNORED_LABEL,) * 3 + (4,))
    with pytest.raises(Unusable, match="none of the first 3 is trained"):
        fitted(masked, 3, LongExamples.TRUNCATE)
    assert fitted(masked, 4, LongExamples.DROP) == [masked]


def test_auto_splits_texts_and_drops_others() -> None:
    assert LongExamples.AUTO.of_text() is LongExamples.SPLIT
    assert LongExamples.AUTO.of_answers() is LongExamples.DROP
    assert LongExamples.SPLIT.of_answers() is LongExamples.TRUNCATE
    assert LongExamples.DROP.of_text() is LongExamples.DROP
