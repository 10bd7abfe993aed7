"""The types that batcher, engine and work exchange: a request in tokens, and its answer.

Where it sits: api -> **job** -> engine, batcher.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from submission.server.api import ProcessRequest, Token


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """An answer, before it becomes an HTTP response."""

    text: str
    tokens: tuple[Token, ...]
    logprob: float
    num_prompt_tokens: int = field(default=0, compare=False)
    clamped_to: int | None = None
    """The number of new tokens that the context window allowed; None if all requested tokens fit."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Job:
    """A request in tokens that fits the model's context window."""

    request: ProcessRequest
    prompt_ids: tuple[int, ...]
    max_new_tokens: int
    stop: tuple[str, ...]
    is_given_up: Callable[[], bool] = lambda: False
    """Called before every token; true after the deadline, or if the client has disconnected."""

    @property
    def size(self) -> int:
        """The largest number of tokens that the job can reach."""
        return len(self.prompt_ids) + self.max_new_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What is being answered now."""

    num_rows: int
    size: int
    """The largest number of tokens that any of the jobs can reach."""


Take = Callable[[Load], list[Job] | None]
OnDone = Callable[[Job, Completion | Exception], None]
