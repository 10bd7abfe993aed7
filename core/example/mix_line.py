"""A line of `train.jsonl` and `validation.jsonl`: one example as JSON, and the example that a line holds.

    >>> line = as_line(MixExample(id="a-1", source="tales", example=Text(text="Once.")))
    >>> line
    {'id': 'a-1', 'source': 'tales', 'text': 'Once.'}
    >>> read_line(line).example.text
    'Once.'

The keys of a line say how it is rendered: `instruction`, `input` and `output` by the Alpaca prompt, `messages` by the
chat template of the base, `text` as it is; `prompt`, `chosen` and `rejected` are a pair for a preference objective. A
`weight` of 0 keeps a message from being trained.

Where it sits: reading and curation -> **mix_line** -> example_ids, questions of a comparison.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core.example.columns import Columns
from core.example.example import Conversation, Example, Message, Preference, Prompted, Role, Text, Unusable
from core.example.layout import Layout, read_layout


@dataclass(frozen=True, slots=True, kw_only=True)
class MixExample:
    """One example of a mix."""

    id: str
    source: str
    origin: str = ""
    """The place in the original data; empty: not told."""
    example: Example
    trains_prompt: bool = False
    """Whether the prompt is trained too, and not only the answers; of a text everything is."""


def as_line(item: MixExample) -> dict[str, object]:
    """The line of an example."""
    head: dict[str, object] = {"id": item.id, "source": item.source}
    head |= {"origin": item.origin} if item.origin else {}
    whole = {"train_on_inputs": True} if item.trains_prompt else {}
    match example := item.example:
        case Text():
            return head | {"text": example.text}
        case Prompted():
            system = f"{example.system}\n\n" if example.system.strip() else ""
            asked = {"instruction": system + example.instruction, "input": example.input}
            return head | asked | {"output": example.outputs[0]} | whole
        case Conversation():
            return head | dialogue_columns(example) | whole
        case Preference():
            sides = {name: getattr(example, name) for name in ("prompt", "chosen", "rejected")}
            return head | {name: [_as_message(message) for message in side] for name, side in sides.items()}


def dialogue_columns(conversation: Conversation) -> dict[str, object]:
    """The columns `messages` and, where there are some, `tools`."""
    tools = {"tools": json.loads(conversation.tools)} if conversation.tools else {}
    return {"messages": [_as_message(message) for message in conversation.messages], **tools}


def _as_message(message: Message) -> dict[str, object]:
    line: dict[str, object] = {"role": message.role.value, "content": message.content}
    if message.tool_calls:
        line["tool_calls"] = json.loads(message.tool_calls)
    line |= {name: given for name in ("name", "tool_call_id") if (given := getattr(message, name))}
    return line if message.is_trained or message.role is not Role.ASSISTANT else line | {"weight": 0}


def read_line(line: Mapping[str, Any], *, number: int = 1) -> MixExample:
    """The example that a line holds.

    Args:
        number: Of the line; its id if it has none.
    Raises:
        Unusable: it holds none.
    """
    return MixExample(
        id=str(line.get("id", number)),
        source=str(line.get("source", "")),
        origin=str(line.get("origin", "")),
        example=_example(line),
        trains_prompt=line.get("train_on_inputs") is True,
    )


def _example(line: Mapping[str, Any]) -> Example:
    if "chosen" in line:
        return read_layout(Layout.PREFERENCE, Columns(line))
    if "messages" in line:
        return read_layout(Layout.MESSAGES, Columns(line))
    if "text" in line and "instruction" not in line:
        return read_layout(Layout.TEXT, Columns(line))
    given = [line.get(name) for name in ("instruction", "input", "output")]
    if not all(isinstance(text, str) for text in given) or line["output"].isspace():
        raise Unusable("malformed", "lacks instruction, input or output as text (or messages, or text)")
    return Prompted(instruction=line["instruction"], input=line["input"], outputs=(line["output"],))
