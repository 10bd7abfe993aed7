"""The layouts that data comes in, each found by the columns that a record has.

    >>> layout_of(Columns({"instruction": "Add.", "output": "3", "messages": None}))
    <Layout.ALPACA: 'alpaca'>

Each record is looked at by itself: files are joined from several, and then hold several layouts.

Where it sits: columns -> **layout** -> reading.
"""

from collections.abc import Callable, Mapping
from enum import StrEnum

from core.example.columns import Columns
from core.example.example import Example, Prompted, Text, Unusable
from core.example.messages import conversation, read_messages, with_system
from core.example.preference import read_preference
from core.example.prompted import ANSWERS, INPUTS, QUESTIONS, read_prompted


class Layout(StrEnum):
    """How a record says what it holds."""

    ALPACA = "alpaca"
    """`instruction`, `input`, `output`, `system`, `history`."""
    DOLLY = "dolly"
    """`instruction`, `context`, `response`."""
    PROMPT_COMPLETION = "prompt-completion"
    """`prompt`, `completion`, as texts or as messages."""
    QUESTION_ANSWER = "question-answer"
    """`question`, `answer` or `answers`, `context`."""
    MESSAGES = "messages"
    """OpenAI: `messages` of `role` and `content`, with `tools`."""
    SHAREGPT = "sharegpt"
    """`conversations` of `from` and `value`; or of bare texts, the user's first."""
    PREFERENCE = "preference"
    """`chosen` and `rejected`, as texts or messages, with `prompt`."""
    TEXT = "text"
    """`text` alone."""
    NATURAL_INSTRUCTIONS = "natural-instructions"
    """A task file with `Definition` and `Instances`."""


CHATS = ("messages", "conversations", "conversation", "dialogue", "dialog", "chat")
TEXTS = ("text", "content", "document")
_DEFINITION = "definition"


def layout_of(columns: Columns) -> Layout | None:
    """The layout of a record; None: it has no columns that are known.

    Columns that hold something decide. Only where they fit no layout do empty ones count: then something is missing,
    and the reader says what.
    """
    names = columns.names()
    return _fitting(columns, columns.filled()) or _fitting(columns, names) or _partly(names)


def _fitting(columns: Columns, names: frozenset[str]) -> Layout | None:
    if {"chosen", "rejected"} <= names:
        return Layout.PREFERENCE
    if chat := next((name for name in CHATS if name in names), ""):
        return Layout.SHAREGPT if _is_sharegpt(columns, chat) else Layout.MESSAGES
    if {_DEFINITION, "output"} <= names and "input" in names:
        return Layout.NATURAL_INSTRUCTIONS
    has_answer = any(name in names for name in ANSWERS)
    if has_answer and any(name in names for name in (*QUESTIONS, *INPUTS)):
        return _prompted(names)
    return Layout.TEXT if any(name in names for name in TEXTS) else None


def _partly(names: frozenset[str]) -> Layout | None:
    """Where a question or an answer is missing."""
    if names & {*QUESTIONS, *ANSWERS, *INPUTS}:
        return _prompted(names)
    return Layout.PREFERENCE if names & {"chosen", "rejected"} else None


def _prompted(names: frozenset[str]) -> Layout:
    question = next((name for name in QUESTIONS if name in names), "instruction")
    if question == "instruction":
        return Layout.DOLLY if "response" in names and "output" not in names else Layout.ALPACA
    return Layout.PROMPT_COMPLETION if question == "prompt" else Layout.QUESTION_ANSWER


def _is_sharegpt(columns: Columns, name: str) -> bool:
    turns = columns.peek(name)
    first = turns[0] if isinstance(turns, list) and turns else None
    return (isinstance(first, dict) and "from" in first) or (isinstance(first, str) and name != "messages")


def read_layout(layout: Layout, columns: Columns) -> Example:
    """A record in a layout.

    Raises:
        Unusable: it gives no example.
    """
    return _READERS[layout](columns)


def _read_chat(columns: Columns) -> Example:
    name = columns.first(*CHATS)
    if not name:
        raise Unusable("malformed", "lacks `messages` (or `conversations`)")
    return conversation(with_system(columns, read_messages(columns, name)), columns)


def _read_text(columns: Columns) -> Example:
    text = columns.take(*TEXTS)
    if not isinstance(text, str):
        raise Unusable("malformed", "lacks `text` as text")
    if not text.strip():
        raise Unusable("empty_text", "the text is empty")
    return Text(text=text, description=columns.description())


def _read_instance(columns: Columns) -> Example:
    """An instance has the definition that it shares, or an instruction of its own; without input it asks nothing."""
    own = columns.peek("instruction")
    example = read_prompted(columns, ("instruction",) if isinstance(own, str) and own else (_DEFINITION,), ("output",))
    if isinstance(example, Prompted) and not own and not example.input.strip():
        raise Unusable("empty_input", "the input is empty")
    return example


def _asking(*questions: str, answers: tuple[str, ...] = ANSWERS) -> Callable[[Columns], Example]:
    def read(columns: Columns) -> Example:
        return read_prompted(columns, questions, answers)

    return read


_READERS: Mapping[Layout, Callable[[Columns], Example]] = {
    Layout.ALPACA: _asking("instruction"),
    Layout.DOLLY: _asking("instruction", answers=("response", *ANSWERS)),
    Layout.PROMPT_COMPLETION: _asking("prompt", answers=("completion", *ANSWERS)),
    Layout.QUESTION_ANSWER: _asking("question", "query", answers=("answer", "answers", *ANSWERS)),
    Layout.MESSAGES: _read_chat,
    Layout.SHAREGPT: _read_chat,
    Layout.PREFERENCE: read_preference,
    Layout.TEXT: _read_text,
    Layout.NATURAL_INSTRUCTIONS: _read_instance,
}
