"""A predictor around another one, for those that change only what it answers or how its answers are keyed.

Where it sits: below the retries of a judge and the whole lines of a translation.
"""

from collections.abc import Sequence

from core.generation.request import Answer, Predictor, Request


class WrappedPredictor:
    """Does what the inner predictor does."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor

    @property
    def in_flight(self) -> int:
        """As of the inner one."""
        return self._predictor.in_flight

    @property
    def keeps_answers(self) -> bool:
        """As of the inner one."""
        return self._predictor.keeps_answers

    @property
    def revision(self) -> str:
        """As of the inner one."""
        return self._predictor.revision

    def fits(self, prompt: str, max_new_tokens: int) -> bool:
        """As of the inner one."""
        return self._predictor.fits(prompt, max_new_tokens)

    def complete(self, requests: Sequence[Request]) -> Sequence[Answer]:
        """As of the inner one."""
        return self._predictor.complete(requests)
