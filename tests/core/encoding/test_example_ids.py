"""What is trained of each kind of example, with the demo's tokenizer, which has no chat template."""

from pathlib import Path
from typing import Any

import pytest

from core.encoding.example_ids import ExampleEncoder
from core.encoding.labels import trained_runs
from core.example.example import Conversation, Example, Message, Preference, Prompted, Role, Text, Unusable
from core.example.mix_line import MixExample
from core.example.prompt import training_prompt
from core.model.token_ids import RowIds, rows_ids
from harness.base_model import load_tokenizer

QUESTION = Message(role=Role.USER, content="One?", is_trained=False)
TWO, THREE = (Message(role=Role.ASSISTANT, content=text) for text in ("Two.</s>", "Three."))
TALK = Conversation(messages=(QUESTION, TWO, QUESTION, THREE))


@pytest.fixture(scope="module")
def tokenizer(demo_base: Path) -> Any:
    return load_tokenizer(demo_base)


def encode(tokenizer: Any, example: Example, *, trains_prompt: bool = False) -> RowIds | Unusable:
    item = MixExample(id="1", source="mine", example=example, trains_prompt=trains_prompt)
    return ExampleEncoder(tokenizer=tokenizer).encode([item])[0]


def trained(tokenizer: Any, row: RowIds | Unusable) -> list[str]:
    assert isinstance(row, RowIds)
    return [text for text, is_trained in trained_runs(tokenizer, row) if is_trained]


def test_a_prompted_example_is_rendered_by_the_alpaca_prompt(tokenizer: Any) -> None:
    row = encode(tokenizer, Prompted(instruction="Add.", input="1 2", outputs=("3", "three")))
    assert [row] == rows_ids(tokenizer, [(training_prompt("Add.", "1 2"), "3")])


def test_a_conversation_trains_its_answers_and_their_ends(tokenizer: Any) -> None:
    assert trained(tokenizer, encode(tokenizer, TALK)) == ["Two.<|im_end|>", "Three.<|im_end|>"]


@pytest.mark.parametrize("example", [TALK, Prompted(instruction="Add.", input="", outputs=("3",))])
def test_the_whole_example_is_trained_but_its_first_token(tokenizer: Any, example: Example) -> None:
    row = encode(tokenizer, example, trains_prompt=True)
    assert isinstance(row, RowIds)
    assert row.num_answer_tokens == len(row.input_ids) - 1
    assert row.labels[1:] == row.input_ids[1:]


def test_a_text_is_trained_whole_and_ends_once(tokenizer: Any) -> None:
    row = encode(tokenizer, Text(text="Once upon a time.</s>\n"))
    assert isinstance(row, RowIds)
    assert trained(tokenizer, row) == ["Once upon a time.</s>"]
    assert row.input_ids[0] == tokenizer.bos_token_id
    assert row.input_ids[-1] == tokenizer.eos_token_id


def test_what_cannot_be_trained_says_why(tokenizer: Any) -> None:
    reasons = []
    for example in (
        Prompted(instruction="Add.", input="", outputs=("</s>",)),
        Preference(prompt=(QUESTION,), chosen=(QUESTION,), rejected=(QUESTION,)),
        Conversation(messages=(QUESTION, Message(role=Role.ASSISTANT, content="<|im_start|>"))),
    ):
        found = encode(tokenizer, example)
        assert isinstance(found, Unusable)
        reasons.append(found.reason)
    assert reasons == ["no_answer", "preference", "template"]


def test_removed_ends_are_counted_and_order_is_kept(tokenizer: Any) -> None:
    prompted = Prompted(instruction="Add.", input="", outputs=("3</s>",))
    encoder = ExampleEncoder(tokenizer=tokenizer)
    items = [MixExample(id=str(n), source="", example=e) for n, e in enumerate((TALK, prompted, Text(text="x y z")))]
    together = encoder.encode(items)
    assert together == [encode(tokenizer, item.example) for item in items]
    assert encoder.num_ends_removed == 2
    assert encoder.chat_template.startswith("chat template: ChatML, for the base has none")
