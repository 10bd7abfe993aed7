"""A prompt with a better and a worse answer, as texts or as messages.

    {"prompt": "...", "chosen": "...", "rejected": "..."}
    {"chosen": [turn, ..., answer], "rejected": [turn, ..., answer]}

Where it sits: columns -> **preference**; reading calls it.
"""

import re

from core.example.columns import Columns
from core.example.example import Message, Preference, Role, Unusable
from core.example.messages import read_messages, untrained
from core.example.prompted import QUESTIONS

_SPEAKER = re.compile(r"\n\n(Human|Assistant):[ ]?")
"""Of the transcripts in Anthropic's helpful-and-harmless data."""


def read_preference(columns: Columns) -> Preference:
    """A pair of answers to one prompt.

    Raises:
        Unusable: without a prompt, an answer is empty, or both are equal.
    """
    chosen, rejected = (_side(columns, name) for name in ("chosen", "rejected"))
    shared = _num_shared(chosen, rejected)
    before = _with_prompt(_prompt(columns), chosen[:shared])
    if not any(message.role is Role.USER for message in before):
        raise Unusable("malformed", "lacks `prompt` (or `question`, `instruction`) as text or messages")
    better, worse = chosen[shared:], rejected[shared:]
    for name, side in (("chosen", better), ("rejected", worse)):
        if not side or side[-1].role is not Role.ASSISTANT or not side[-1].content.strip():
            raise Unusable("empty_output", f"`{name}` does not end with an answer")
    return Preference(prompt=untrained(before), chosen=better, rejected=worse, description=columns.description())


def _with_prompt(prompt: tuple[Message, ...], shared: tuple[Message, ...]) -> tuple[Message, ...]:
    """The prompt, then the turns that both sides begin with; turns that end the one and begin the other stand once.

    Where the shared turns begin with another question than the prompt's, they are the prompt, and the column is not.
    """
    (system, asked), (own_system, turns) = _divided(prompt), _divided(shared)
    nums = range(min(len(asked), len(turns)), 0, -1)
    said = [[message.content.strip() for message in part] for part in (asked, turns)]
    num = next((num for num in nums if said[0][-num:] == said[1][:num]), 0)
    if num == 0 and turns and turns[0].role is Role.USER:
        asked = ()
    return (*(own_system or system), *asked, *turns[num:])


def _divided(messages: tuple[Message, ...]) -> tuple[tuple[Message, ...], tuple[Message, ...]]:
    """System texts at the beginning, and the turns after them."""
    num = next((n for n, message in enumerate(messages) if message.role is not Role.SYSTEM), len(messages))
    return messages[:num], messages[num:]


def _side(columns: Columns, name: str) -> tuple[Message, ...]:
    value = columns.peek(name)
    if value is None:
        raise Unusable("malformed", f"lacks `{name}` as text or messages")
    if not isinstance(value, str):
        return read_messages(columns, name)
    columns.take(name)
    if value.startswith("\n\nHuman:"):
        return _transcript(value)
    if not value.strip():
        raise Unusable("empty_output", f"`{name}` is empty")
    return (Message(role=Role.ASSISTANT, content=value),)


def _transcript(text: str) -> tuple[Message, ...]:
    """`Human:` and `Assistant:` in turn."""
    pieces = _SPEAKER.split(text)[1:]
    role_of = {"Human": Role.USER, "Assistant": Role.ASSISTANT}
    return tuple(Message(role=role_of[who], content=said) for who, said in zip(pieces[::2], pieces[1::2], strict=True))


def _num_shared(chosen: tuple[Message, ...], rejected: tuple[Message, ...]) -> int:
    """Turns that both sides begin with.

    Raises:
        Unusable: all are.
    """
    if [m.content.strip() for m in chosen] == [m.content.strip() for m in rejected]:
        raise Unusable("equal_sides", "`chosen` and `rejected` are the same")
    pairs = zip(chosen, rejected, strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(chosen), len(rejected)))


def _prompt(columns: Columns) -> tuple[Message, ...]:
    """Of a column of its own, an input behind it, a system text before it."""
    name = columns.first(*QUESTIONS)
    if not name:
        return ()
    if not isinstance(columns.peek(name), str):
        return read_messages(columns, name)
    texts = [columns.take(name), columns.take("input"), system := columns.take("system", "system_prompt")]
    if not all(text is None or isinstance(text, str) for text in texts):
        raise Unusable("malformed", "`input` or `system` is not text")
    question = "\n\n".join(text for text in texts[:2] if text and text.strip())
    first = (Message(role=Role.SYSTEM, content=system, is_trained=False),) if system and system.strip() else ()
    return (*first, Message(role=Role.USER, content=question)) if question else first
