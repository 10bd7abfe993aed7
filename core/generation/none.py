"""No predictor: stands where nothing is asked, as in an estimate, or where every row is taken whatever the base knows.

Where it sits: in a curation before its engine is built.
"""

from collections.abc import Sequence

from core.generation.request import Answer, Request


class NoPredictor:
    """Answers nothing."""

    in_flight = 1
    keeps_answers = False
    revision = "none asked"

    def fits(self, prompt: str, max_new_tokens: int) -> bool:
        """Nothing is asked."""
        raise AssertionError

    def complete(self, requests: Sequence[Request]) -> Sequence[Answer]:
        """Nothing is asked."""
        raise AssertionError
