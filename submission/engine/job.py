"""A request in tokens, its answer, and how the two meet: the types between batcher, engine and work.

Where it sits: api -> **job** -> engine, batcher.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from submission.server.api import ProcessRequest, Token


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """An answer, before HTTP."""

    text: str
    tokens: tuple[Token, ...]
    logprob: float
    num_prompt_tokens: int = field(default=0, compare=False)
    clamped_to: int | None = None
    """New tokens that the window left room for, where more were asked for."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Job:
    """A request in tokens, fitted to the model's window."""

    request: ProcessRequest
    prompt_ids: tuple[int, ...]
    max_new_tokens: int
    stop: tuple[str, ...]
    is_given_up: Callable[[], bool] = lambda: False
    """Asked before every token: by a deadline, or a client that is gone."""

    @property
    def size(self) -> int:
        """Tokens that it may come to hold."""
        return len(self.prompt_ids) + self.max_new_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What is being answered at this moment."""

    num_rows: int
    size: int
    """Tokens that the largest of them may come to hold."""


Take = Callable[[Load], list[Job] | None]
OnDone = Callable[[Job, Completion | Exception], None]
