"""A request to the base model, its answer, and the protocol of predictors.

    with AnswerStore(Path("answers.jsonl")) as store:
        for request, answer in ask(requests, predictor, store):
            ...

Where it sits: prompt -> **request** -> predictor -> prediction.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, runtime_checkable

import orjson

from core.example.example import Message
from core.files import sha256
from core.model.completion import Completion


class Kind(StrEnum):
    """How a task is scored: by exact match, or as free text."""

    EXACT_MATCH = "exact_match"
    GENERATION = "generation"


SHARD_SIZE = 128
"""Number of requests that a predictor gets in one call."""

SHARD_SIZE_IN_PARTS = 1024
"""The same for a `BatchPredictor`, which loses no answer of the call when it is killed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One question to a model."""

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
    messages: tuple[Message, ...] = ()
    """Rendered by the chat template of the model, in place of `prompt`, which is then empty."""
    response_prefix: str = ""
    """With `messages`: what the answer is made to begin with. It is no part of the answer."""
    repetition_penalty: float = 1.0

    def key(self, revision: str) -> str:
        """Hash of everything that decides the answer."""
        decides: list[object] = [revision, self.prompt, self.max_new_tokens, self.stop, "greedy"]
        if self.messages:
            decides += [self.messages, self.response_prefix]
        if self.repetition_penalty != 1.0:
            decides.append(self.repetition_penalty)
        return sha256(orjson.dumps(decides))


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


@runtime_checkable
class BatchPredictor(Protocol):
    """A predictor that gives its answers in parts, so that they are stored and counted as they come."""

    def complete_batches(self, requests: Sequence[Request]) -> Iterator[Mapping[int, str]]:
        """The answers of each part by the number of the request. A part without answers shows that it is at work."""


class Responder(Protocol):
    """A predictor whose answers come with their length and the reason why they ended."""

    @property
    def in_flight(self) -> int:
        """As in `Predictor`."""

    @property
    def revision(self) -> str:
        """As in `Predictor`."""

    def rendered(self, request: Request) -> str | None:
        """The text that the model receives. None: a server renders it."""

    def fits(self, prompt: str, max_new_tokens: int) -> bool:
        """Whether a rendered prompt and the answer fit into the model's context."""

    def respond(self, requests: Sequence[Request]) -> Sequence[Completion | Refused]:
        """One answer per request of a shard, in order.

        Raises:
            PredictionError: as `Predictor.complete`.
        """


REFUSED_BY_SERVER = "refused_by_server"
"""Reason of a request that the server refused."""
