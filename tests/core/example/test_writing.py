"""What is written is read back: every example of the test files, of every layout."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.example.example import Conversation, Description, Message, Preference, Role
from core.example.reading import Read, open_source, read_record
from core.example.writing import as_row
from core.records.record import Place, Record

EXAMPLES = Path(__file__).parents[2] / "data" / "examples"


def back(row: dict[str, Any]) -> Read:
    """The row as a reader finds it, which uses all of its columns."""
    read = read_record(Record(place=Place(file="x"), columns=json.loads(json.dumps(row))))
    assert isinstance(read, Read), read
    assert read.unused == ()
    return read


@pytest.mark.parametrize("path", sorted(p for p in EXAMPLES.iterdir() if p.suffix != ".md"), ids=lambda path: path.name)
def test_reading_what_was_written_gives_the_example(path: Path) -> None:
    found = [item.example for item in open_source(path).examples() if isinstance(item, Read)]
    assert found
    for example in found:
        assert back(as_row(example)).example == example


def test_what_bears_no_loss_stays_so_and_calls_and_descriptions_stay() -> None:
    described = Description(id="a", source="s", licence="CC0", language="fi", other={"url": "https://example.tw"})
    call = '[{"type":"function","function":{"name":"add","arguments":"{}"}}]'
    messages = (
        Message(role=Role.SYSTEM, content="Be kind.", is_trained=False),
        Message(role=Role.USER, content="Add.", is_trained=False),
        Message(role=Role.ASSISTANT, content="", is_trained=False, tool_calls=call),
        Message(role=Role.TOOL, content="3", is_trained=False, name="add", tool_call_id="1"),
        Message(role=Role.ASSISTANT, content=" 3 \n"),
    )
    conversation = Conversation(messages=messages, tools='[{"name":"add"}]', description=described)
    assert back(as_row(conversation)).example == conversation
    answer = messages[-1]
    preference = Preference(
        prompt=messages[:4],
        chosen=(answer,),
        rejected=(replace(answer, content="\n\nHuman: 4"),),
        description=described,
    )
    assert back(as_row(preference)).example == preference
