"""What is trained on, in four kinds: a text, a prompt with its answer, a conversation, a preference.

    >>> turn = Message(role=Role.USER, content="Hi.")
    >>> Conversation(messages=(turn, Message(role=Role.ASSISTANT, content="Hello."))).num_turns
    2

Every file of examples ends up as these four, whatever its layout was.

Where it sits: `reading` makes them; check, curation, rendering and training take them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Unusable(Exception):  # noqa: N818
    """A record gives no example. Readers of layouts raise it; `reading` makes a rejected record of it."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail


class Role(StrEnum):
    """Who speaks."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"
    """What a tool answered to a call of the assistant's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str
    """May be empty where the assistant only calls tools."""
    is_trained: bool = True
    """Whether an answer bears loss. Only the assistant's do."""
    tool_calls: str = ""
    """The assistant's calls as a JSON list, for the chat template; empty: none."""
    name: str = ""
    """Of the tool that answers."""
    tool_call_id: str = ""
    """Which call a tool answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What a record says of itself that is not trained on."""

    id: str = ""
    source: str = ""
    licence: str = ""
    """As written; see `licence.spdx`."""
    language: str = ""
    """ISO 639 code; empty: not said."""
    other: Mapping[str, str] = field(default_factory=dict)
    """Other columns that only describe, each as text or JSON."""


NOTHING_SAID = Description()


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A document for continued pretraining; all of it is trained on."""

    text: str
    description: Description = NOTHING_SAID

    @property
    def num_turns(self) -> int:
        """A text has none."""
        return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """Turns that end with the assistant's; at most one system message, which is the first."""

    messages: tuple[Message, ...]
    tools: str = ""
    """What the assistant may call, as a JSON list, for the chat template; empty: nothing."""
    description: Description = NOTHING_SAID

    @property
    def num_turns(self) -> int:
        """Messages with a text or a call."""
        return sum(bool(message.content.strip() or message.tool_calls) for message in self.messages)


def one_message(instruction: str, input_text: str) -> str:
    """What a user says in a chat: the input below the instruction."""
    return "\n\n".join(text for text in (instruction, input_text) if text.strip())


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompted:
    """An instruction, perhaps with an input, and its accepted answers."""

    instruction: str
    input: str
    """Empty: the instruction says all."""
    outputs: tuple[str, ...]
    """At least one. The first is trained on."""
    system: str = ""
    description: Description = NOTHING_SAID

    @property
    def num_turns(self) -> int:
        """Question and answer, and a system text before them."""
        return 3 if self.system else 2

    def as_conversation(self, earlier: tuple[Message, ...] = ()) -> Conversation:
        """The same as turns, the input below the instruction, with earlier turns before them."""
        system = (Message(role=Role.SYSTEM, content=self.system, is_trained=False),) if self.system.strip() else ()
        asked = Message(role=Role.USER, content=one_message(self.instruction, self.input), is_trained=False)
        answer = Message(role=Role.ASSISTANT, content=self.outputs[0])
        return Conversation(messages=(*system, *earlier, asked, answer), description=self.description)


@dataclass(frozen=True, slots=True, kw_only=True)
class Preference:
    """A prompt with a better and a worse answer."""

    prompt: tuple[Message, ...]
    chosen: tuple[Message, ...]
    rejected: tuple[Message, ...]
    description: Description = NOTHING_SAID

    @property
    def num_turns(self) -> int:
        """Of the prompt and of both answers."""
        return len(self.prompt) + len(self.chosen) + len(self.rejected)


Example = Text | Prompted | Conversation | Preference


class ExampleKind(StrEnum):
    """The four kinds, as counts name them."""

    TEXT = "text"
    PROMPTED = "prompted"
    CONVERSATION = "conversation"
    PREFERENCE = "preference"


def kind(example: Example) -> ExampleKind:
    """Which of the four an example is."""
    return ExampleKind(type(example).__name__.lower())
