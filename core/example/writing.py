"""Writes examples as rows in layouts that `reading` recognises.

These are `instruction` with `input` and `output`, `messages`, `chosen` with `rejected`, and `text`.

    >>> as_row(Text(text="Good morning.", description=Description(id="a", language="en")))
    {'id': 'a', 'language': 'en', 'text': 'Good morning.'}

Reading a written row gives an equal example. An instruction stays apart from its input, because the Alpaca prompt shows
where the input begins.

Where it sits: the counterpart of reading, used by the builders of `curation`. `mix_line` writes the lines of a mix.
"""

from collections.abc import Iterable
from dataclasses import replace

from core.example.example import Conversation, Description, Example, Message, Preference, Prompted, Text
from core.example.mix_line import dialogue_columns


def as_row(example: Example) -> dict[str, object]:
    """Returns the columns of an example."""
    row = _described(example.description)
    match example:
        case Text():
            return row | {"text": example.text}
        case Prompted():
            system = {"system": example.system} if example.system.strip() else {}
            output = example.outputs[0] if len(example.outputs) == 1 else list(example.outputs)
            return row | system | {"instruction": example.instruction, "input": example.input, "output": output}
        case Conversation():
            return row | dialogue_columns(example)
        case Preference():
            sides = {"prompt": example.prompt, "chosen": example.chosen, "rejected": example.rejected}
            return row | {name: _messages(side) for name, side in sides.items()}


def _described(description: Description) -> dict[str, object]:
    said = {
        "id": description.id,
        "source": description.source,
        "licence": description.licence,
        "language": description.language,
        **description.other,
    }
    return {name: value for name, value in said.items() if value}


def _messages(side: Iterable[Message]) -> object:
    """Returns messages without weights: the columns of a preference say which of them are trained."""
    return dialogue_columns(Conversation(messages=tuple(replace(m, is_trained=True) for m in side)))["messages"]
