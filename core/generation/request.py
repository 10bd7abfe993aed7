"""A request to the base model, its answer, and the protocol of whatever answers it.

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
    """How a task is scored: one right string, or free text."""

    EXACT_MATCH = "exact_match"
    GENERATION = "generation"


SHARD_SIZE = 128
"""Requests asked together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One question to the base model."""

    task: str
    id: str
    kind: Kind
    prompt: str
    num_shared: int
    """Characters at the prompt's start that the task's other prompts share: preamble, definition, shots."""
    num_shots: int
    references: tuple[str, ...]
    max_new_tokens: int
    stop: tuple[str, ...]

    def key(self, revision: str) -> str:
        """Hash of all that decides the answer."""
        return sha256(orjson.dumps([revision, self.prompt, self.max_new_tokens, self.stop, "greedy"]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A request that will never have an answer, and why."""

    reason: str
    detail: str = ""


Answer = str | Refused


class Predictor(Protocol):
    """An engine that answers prompts greedily."""

    @property
    def in_flight(self) -> int:
        """How many shards it works on at once. Above 1, `complete` is called from several threads."""

    @property
    def keeps_answers(self) -> bool:
        """Whether its answers are worth storing; those of a replay are stored already."""

    @property
    def revision(self) -> str:
        """Names the weights: part of every request's key."""

    def fits(self, prompt: str, max_new_tokens: int) -> bool:
        """Whether prompt and answer fit into the model's context."""

    def complete(self, requests: Sequence[Request]) -> Sequence[Answer]:
        """One answer per request of a shard, in order.

        Raises:
            PredictionError: the engine is gone; what was stored stays, the same command goes on.
        """


REFUSED_BY_SERVER = "refused_by_server"
"""Why a request was refused: the server said so."""
