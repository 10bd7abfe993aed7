"""The types that batcher, engine and work exchange: a request in tokens, and its answer.

Where it sits: request -> **job** -> engine, batcher.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from submission.engine.request import GenerationRequest
from submission.server.api import Token

Finish = Literal["stop", "length"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """An answer, before it becomes an HTTP response."""

    text: str
    tokens: tuple[Token, ...]
    logprob: float
    num_prompt_tokens: int = field(default=0, compare=False)
    num_new_tokens: int = field(default=0, compare=False)
    """Generated tokens, those after the start of a stop string included."""
    finish: Finish = field(default="length", compare=False)
    """`stop`: an end token or a stop string; `length`: as many tokens as were allowed."""
    end: Token | None = field(default=None, compare=False)
    """The end token, if one ended the answer. It has no text and is not one of `tokens`."""
    clamped_to: int | None = None
    """The number of new tokens that the context window allowed; None if all requested tokens fit."""


@dataclass(slots=True, kw_only=True, eq=False)
class TokenStream:
    """Where the tokens of an answer go before it is whole."""

    send: Callable[[Sequence[Token]], None]
    num_sent: int = 0
    """A row that is started again does not send them twice."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Job:
    """A request in tokens that fits the model's context window."""

    request: GenerationRequest
    prompt_ids: tuple[int, ...]
    max_new_tokens: int
    stop: tuple[str, ...]
    is_given_up: Callable[[], bool] = lambda: False
    """Called before every token; true after the deadline, or if the client has disconnected."""
    seed: int = 0
    """Of the sampler. A job without a seed of its own keeps the one it drew, so that it can be started again."""
    end_ids: frozenset[int] = frozenset()
    """Ids that end the answer besides the model's own."""
    stream: TokenStream | None = None

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
