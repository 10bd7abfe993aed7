"""Examples as rows of JSON lines, in the layouts that `reading` takes: `messages`, `chosen` and `rejected`, `text`.

    >>> as_row(Text(text="Good morning.", description=Description(id="a", language="en")))
    {'id': 'a', 'language': 'en', 'text': 'Good morning.'}

Reading a written row gives an equal example; a prompt with its answer becomes a conversation.

Where it sits: the other direction of reading; the builders of `curation` write with it. A mix that is trained on has
lines of its own, see `mix_line`.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from core.example.example import Conversation, Description, Example, Message, Preference, Prompted, Text
from core.example.mix_line import dialogue_columns


def as_row(example: Example) -> dict[str, Any]:
    """The columns of an example."""
    row = _described(example.description)
    match example:
        case Text():
            return row | {"text": example.text}
        case Prompted():
            return row | dialogue_columns(example.as_conversation())
        case Conversation():
            return row | dialogue_columns(example)
        case Preference():
            sides = {"prompt": example.prompt, "chosen": example.chosen, "rejected": example.rejected}
            return row | {name: _messages(side) for name, side in sides.items()}


def _described(description: Description) -> dict[str, Any]:
    said = {
        "id": description.id,
        "source": description.source,
        "licence": description.licence,
        "language": description.language,
        **description.other,
    }
    return {name: value for name, value in said.items() if value}


def _messages(side: Iterable[Message]) -> object:
    """Without weights: of a preference the columns say what is trained."""
    return dialogue_columns(Conversation(messages=tuple(replace(m, is_trained=True) for m in side)))["messages"]
