"""The bodies of /v1/completions and /v1/chat/completions.

Fields have the names and defaults of OpenAI's API, so a request without a temperature is sampled at 1. A sampling
setting that is not served may hold its neutral value only, because ignoring it silently would give a wrong answer.

Where it sits: HTTP -> **request** -> engine.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from core.example.example import Message, Role
from submission.engine.request import GenerationRequest
from submission.server.api import MAX_PROMPT_CHARACTERS, WHOLE, ApiRequest, Prompt, all_whole

MAX_PROMPTS = 128
"""Prompts in one request."""

MAX_TOP = 20
"""Alternatives at each position. Source: OpenAI's limit of `top_logprobs`."""

DEFAULT_NEW_TOKENS = 16
"""Source: OpenAI's default of `max_tokens` in /v1/completions."""

Ids = Annotated[
    list[Annotated[int, Field(ge=0)]],
    Field(min_length=1, max_length=MAX_PROMPT_CHARACTERS),
    BeforeValidator(all_whole),
]
StopString = Annotated[str, Field(min_length=1, max_length=256)]
Zero = Annotated[float, Field(ge=0, le=0)]
One = Annotated[float, Field(ge=1, le=1)]


class StreamOptions(ApiRequest):
    """What a stream ends with."""

    include_usage: bool = False


class TextFormat(ApiRequest):
    """The only format of an answer that is served."""

    type: Literal["text"] = "text"


class SampledRequest(ApiRequest):
    """The fields that both endpoints have."""

    model: str | None = Field(default=None, max_length=1_000)
    """The name that /v1/models gives. Another name is an error, because its answers would come from the wrong model."""
    temperature: float = Field(default=1.0, ge=0, le=100)
    """At most 1e-5 means greedy."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    top_k: Annotated[int, Field(ge=-1), WHOLE] = -1
    """-1 or 0: all tokens. As in vLLM."""
    seed: Annotated[int, Field(ge=0, le=2**53 - 1), WHOLE] | None = None
    stop: StopString | Annotated[list[StopString], Field(max_length=32)] = Field(default=[])
    stream: bool = False
    stream_options: StreamOptions = StreamOptions()
    n: Annotated[int, Field(ge=1, le=1), WHOLE] = 1
    """Only 1 is served."""
    user: str = ""
    """Ignored."""

    presence_penalty: Zero = 0.0
    frequency_penalty: Zero = 0.0
    repetition_penalty: One = 1.0
    min_p: Zero = 0.0
    min_tokens: Annotated[int, Field(ge=0, le=0), WHOLE] = 0
    ignore_eos: Literal[False] = False
    logit_bias: dict[str, float] = Field(default={}, max_length=0)

    @property
    def stops(self) -> tuple[str, ...]:
        """The stop strings."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)

    def _generation(self, **more: Any) -> GenerationRequest:
        return GenerationRequest(
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=self.top_k if self.top_k > 0 else None,
            seed=self.seed,
            stop=self.stops,
            **more,
        )


class CompletionRequest(SampledRequest):
    """Prompts to complete, as text or as token ids."""

    prompt: Prompt | Ids | Annotated[list[Prompt] | list[Ids], Field(min_length=1, max_length=MAX_PROMPTS)]
    """Text gets the tokenizer's BOS token in front, where it has one; ids are read as they are."""
    max_tokens: Annotated[int, Field(ge=0), WHOLE] = DEFAULT_NEW_TOKENS
    echo: bool = False
    logprobs: Annotated[int, Field(ge=0, le=MAX_TOP), WHOLE] | None = None
    """The number of alternatives at each position. 0: only the log-probabilities of the tokens themselves."""
    best_of: Annotated[int, Field(ge=1, le=1), WHOLE] = 1
    suffix: Literal[""] = ""

    @property
    def prompts(self) -> Sequence[str | tuple[int, ...]]:
        """Every prompt, as a text or as ids."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        several: list[Any] = self.prompt if isinstance(self.prompt[0], str | list) else [self.prompt]
        return [prompt if isinstance(prompt, str) else tuple(prompt) for prompt in several]

    def generations(self) -> list[GenerationRequest]:
        """A request to the engine for each prompt."""
        return [
            self._generation(
                prompt=prompt,
                max_new_tokens=self.max_tokens,
                echo=self.echo,
                num_top=self.logprobs or 1,
                must_fit=self.echo,
            )
            for prompt in self.prompts
        ]


class TextPart(ApiRequest):
    """A part of a message. Only text is served."""

    type: Literal["text"]
    text: Prompt


class ChatMessage(ApiRequest):
    """One turn of a conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Prompt | Annotated[list[TextPart], Field(max_length=MAX_PROMPTS)]

    @property
    def text(self) -> str:
        """The content; parts are joined."""
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)

    def message(self) -> Message:
        """The turn as the chat template gets it. `developer` is OpenAI's newer name of `system`."""
        role = Role.SYSTEM if self.role == "developer" else Role(self.role)
        return Message(role=role, content=self.text)


class ChatRequest(SampledRequest):
    """A conversation to answer."""

    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=1_000)]
    max_completion_tokens: Annotated[int, Field(ge=1), WHOLE] | None = None
    """None: `max_tokens`, else as many as the context window leaves."""
    max_tokens: Annotated[int, Field(ge=1), WHOLE] | None = None
    """OpenAI's older name of `max_completion_tokens`."""
    logprobs: bool = False
    top_logprobs: Annotated[int, Field(ge=0, le=MAX_TOP), WHOLE] = 0
    response_format: TextFormat = TextFormat()
    tools: list[Any] = Field(default=[], max_length=0)
    tool_choice: Literal["none", "auto"] = "none"

    def generation(self) -> GenerationRequest:
        """The request to the engine."""
        return self._generation(
            messages=tuple(message.message() for message in self.messages),
            max_new_tokens=self.max_completion_tokens or self.max_tokens,
            num_top=max(1, self.top_logprobs),
            must_fit=True,
        )
