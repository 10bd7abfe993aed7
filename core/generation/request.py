"""A request to the base model, its answer, and the protocol of predictors.

    with AnswerStore(Path("answers.jsonl")) as store:
        for request, answer in ask(requests, predictor, store):
            ...

Where it sits: prompt -> **request** -> predictor -> prediction.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import orjson

from core.files import sha256


class Kind(StrEnum):
    """How a task is scored: by exact match, or as free text."""

    EXACT_MATCH = "exact_match"
    GENERATION = "generation"


SHARD_SIZE = 128
"""Number of requests that a predictor gets in one call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One question to the base model."""

    task: str
    id: str
    kind: Kind
    prompt: str
    num_shared: int
    """Length of the prefix (preamble, definition, shots) that all prompts of the task share, in characters."""
    num_shots: int
    references: tuple[str, ...]
    max_new_tokens: int
    stop: tuple[str, ...]

    def key(self, revision: str) -> str:
        """Hash of everything that decides the answer."""
        return sha256(orjson.dumps([revision, self.prompt, self.max_new_tokens, self.stop, "greedy"]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A request that will not be answered, with the reason."""

    reason: str
    detail: str = ""


Answer = str | Refused


class Predictor(Protocol):
    """An engine that answers prompts with greedy decoding."""

    @property
    def in_flight(self) -> int:
        """Number of shards that it processes at once. If it is above 1, `complete` is called from several threads."""

    @property
    def keeps_answers(self) -> bool:
        """Whether its answers go into the answer store. Those of a replay are stored already."""

    @property
    def revision(self) -> str:
        """Identifies the weights; part of every request's key."""

    def fits(self, prompt: str, max_new_tokens: int) -> bool:
        """Whether prompt and answer fit into the model's context."""

    def complete(self, requests: Sequence[Request]) -> Sequence[Answer]:
        """One answer per request of a shard, in order.

        Raises:
            PredictionError: the engine failed. Stored answers are kept, so that the same command can go on.
        """


REFUSED_BY_SERVER = "refused_by_server"
"""Reason of a request that the server refused."""
