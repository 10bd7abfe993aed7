"""The answers of /v1/completions, /v1/chat/completions and /v1/models, whole and in the pieces of a stream.

Where it sits: engine -> **answer** -> HTTP.
"""

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Literal

from pydantic import BaseModel, model_serializer

from submission.engine.job import Completion, Finish
from submission.server.api import Token


class Usage(BaseModel):
    """How many tokens were read and generated."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int

    @classmethod
    def of(cls, completions: Sequence[Completion]) -> "Usage":
        """The sum over all answers of a request."""
        read, new = sum(c.num_prompt_tokens for c in completions), sum(c.num_new_tokens for c in completions)
        return cls(prompt_tokens=read, completion_tokens=new, total_tokens=read + new)


class TextLogprobs(BaseModel):
    """The tokens of a text. The first token of all has no context: null stands for its log-probability.

    The end token of an answer is the last, with an empty text: lm-eval takes off as many tokens as it asked for.
    """

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]

    @classmethod
    def of(cls, tokens: Sequence[Token], *, num_top: int, start: int = 0) -> "TextLogprobs":
        """From tokens whose text begins `start` characters into the whole text.

        Args:
            num_top: Alternatives at each position. The token itself is always among them.
        """
        lengths = list(accumulate((len(t.text) for t in tokens), initial=start))
        return cls(
            tokens=[t.text for t in tokens],
            token_logprobs=[t.logprob if t.top_logprob else None for t in tokens],
            top_logprobs=[_alternatives(t, num_top) for t in tokens],
            text_offset=lengths[: len(tokens)],
        )


def _alternatives(token: Token, num_top: int) -> dict[str, float] | None:
    if not token.top_logprob:
        return None
    best = dict(list(token.top_logprob.items())[:num_top])
    return best if token.text in best else {**best, token.text: token.logprob}


class TextChoice(BaseModel):
    """One completed prompt, or a piece of it."""

    index: int
    text: str
    logprobs: TextLogprobs | None = None
    finish_reason: Finish | None = None


class TextCompletion(BaseModel):
    """An answer of /v1/completions, or a piece of it."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[TextChoice]
    usage: Usage | None = None


class ChatToken(BaseModel):
    """A token and its log-probability."""

    token: str
    logprob: float
    bytes: list[int]


class ChatTokenLogprob(ChatToken):
    """A token of an answer, with the likeliest ones at its place."""

    top_logprobs: list[ChatToken]


class ChatLogprobs(BaseModel):
    """The tokens of an answer."""

    content: list[ChatTokenLogprob]

    @classmethod
    def of(cls, tokens: Sequence[Token], *, num_top: int) -> "ChatLogprobs":
        """From tokens with at least `num_top` alternatives each."""
        return cls(
            content=[
                ChatTokenLogprob(
                    **_chat_token(t.text, t.logprob).model_dump(),
                    top_logprobs=[_chat_token(*item) for item in list(t.top_logprob.items())[:num_top]],
                )
                for t in tokens
            ]
        )


def _chat_token(text: str, logprob: float) -> ChatToken:
    return ChatToken(token=text, logprob=logprob, bytes=list(text.encode()))


class AnswerMessage(BaseModel):
    """The assistant's turn."""

    role: Literal["assistant"] = "assistant"
    content: str


class ChatChoice(BaseModel):
    """The answer to a conversation."""

    index: int = 0
    message: AnswerMessage
    logprobs: ChatLogprobs | None = None
    finish_reason: Finish


class ChatCompletion(BaseModel):
    """An answer of /v1/chat/completions."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage


class Delta(BaseModel):
    """What a piece of a stream adds to the message."""

    role: Literal["assistant"] | None = None
    content: str | None = None

    @model_serializer
    def _as_dict(self) -> dict[str, str]:
        """Without what it does not add."""
        return {key: value for key, value in (("role", self.role), ("content", self.content)) if value is not None}


class ChatPieceChoice(BaseModel):
    """The answer's part in a piece of a stream."""

    index: int = 0
    delta: Delta
    logprobs: ChatLogprobs | None = None
    finish_reason: Finish | None = None


class ChatPiece(BaseModel):
    """A piece of a streamed answer of /v1/chat/completions."""

    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    choices: list[ChatPieceChoice]
    usage: Usage | None = None


class ModelEntry(BaseModel):
    """The served model."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "oneday"
    max_model_len: int
    """Tokens of the context window, as in vLLM."""


class ModelList(BaseModel):
    """The models of this server: one."""

    object: Literal["list"] = "list"
    data: list[ModelEntry]


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What every piece of one answer begins with."""

    model: str
    kind: Literal["cmpl", "chatcmpl"]
    created: int = field(default_factory=lambda: int(time.time()))
    unique: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def id(self) -> str:
        """Identifies the answer."""
        return f"{self.kind}-{self.unique}"

    def text(self, choices: list[TextChoice], usage: Usage | None = None) -> TextCompletion:
        """An answer of /v1/completions, or a piece of it."""
        return TextCompletion(id=self.id, created=self.created, model=self.model, choices=choices, usage=usage)

    def chat(self, choice: ChatChoice, usage: Usage) -> ChatCompletion:
        """An answer of /v1/chat/completions."""
        return ChatCompletion(id=self.id, created=self.created, model=self.model, choices=[choice], usage=usage)

    def chat_piece(self, choices: list[ChatPieceChoice], usage: Usage | None = None) -> ChatPiece:
        """A piece of an answer of /v1/chat/completions."""
        return ChatPiece(id=self.id, created=self.created, model=self.model, choices=choices, usage=usage)
