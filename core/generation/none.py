"""The predictor of a curation that asks the base model nothing: an estimate, or one that takes every row.

Where it sits: in a curation until its engine is built.
"""

from collections.abc import Sequence

from core.generation.request import Answer, Request


class NoPredictor:
    """A predictor that must not be called."""

    in_flight = 1
    keeps_answers = False
    revision = "none asked"

    def fits(self, prompt: str, max_new_tokens: int) -> bool:
        """Nothing is asked."""
        raise AssertionError

    def complete(self, requests: Sequence[Request]) -> Sequence[Answer]:
        """Nothing is asked."""
        raise AssertionError
