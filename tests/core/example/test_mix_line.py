from dataclasses import replace

import pytest

from core.example.example import Conversation, Example, Message, Prompted, Role, Text, Unusable
from core.example.mix_line import MixExample, as_line, read_line

CALL = '[{"function":{"arguments":"{}","name":"now"},"type":"function"}]'
TALK = Conversation(
    messages=(
        Message(role=Role.SYSTEM, content="Be short.", is_trained=False),
        Message(role=Role.USER, content="Time?", is_trained=False),
        Message(role=Role.ASSISTANT, content="", tool_calls=CALL),
        Message(role=Role.TOOL, content="12:00", name="now", tool_call_id="1", is_trained=False),
        Message(role=Role.ASSISTANT, content="Noon.", is_trained=False),
        Message(role=Role.USER, content="Thanks", is_trained=False),
        Message(role=Role.ASSISTANT, content="You are welcome."),
    ),
    tools='[{"function":{"name":"now"},"type":"function"}]',
)


@pytest.mark.parametrize(
    "example", [Text(text="Once."), Prompted(instruction="Add.", input="1 2", outputs=("3",)), TALK]
)
@pytest.mark.parametrize("trains_prompt", [False, True])
def test_a_line_holds_the_example_that_was_written(example: Example, trains_prompt: bool) -> None:
    item = read_line(
        as_line(MixExample(id="a-1", source="mine", origin="a:1", example=example, trains_prompt=trains_prompt))
    )
    assert (item.id, item.source, item.origin) == ("a-1", "mine", "a:1")
    assert item.trains_prompt is (trains_prompt and not isinstance(example, Text))
    if isinstance(item.example, Conversation) and isinstance(example, Conversation):
        assert item.example.messages == example.messages
        assert item.example.tools == example.tools
    else:
        assert replace(item.example, description=example.description) == example


def test_the_system_text_of_a_prompted_example_stands_before_its_instruction() -> None:
    example = Prompted(instruction="Add.", input="", outputs=("3",), system="Be short.")
    line = as_line(MixExample(id="1", source="mine", example=example))
    assert line["instruction"] == "Be short.\n\nAdd."


def test_a_line_without_an_example_says_what_it_lacks() -> None:
    with pytest.raises(Unusable, match="lacks instruction, input or output"):
        read_line({"instruction": "x"})
    with pytest.raises(Unusable, match="ends with the user's turn"):
        read_line({"messages": [{"role": "user", "content": "x"}]})
