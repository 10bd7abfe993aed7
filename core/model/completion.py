"""What a model generated for one prompt: the text, why it ended, and how long it is.

    Completion(text=" Paris", finish="stop", num_tokens=1)

Where it sits: language_model and the predictors make it; evaluation stores it as a response.
"""

from dataclasses import dataclass
from typing import Literal

Finish = Literal["stop", "length"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """A generated text without special tokens."""

    text: str
    finish: Finish | None
    """`stop`: an end token or a stop string; `length`: `max_new_tokens` were generated. None: a server did not say."""
    num_tokens: int | None
    """Generated tokens without the end token. None: a server did not say."""
