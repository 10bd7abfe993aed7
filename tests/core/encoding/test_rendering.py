"""Conversations as ids and labels: with ChatML, with templates of families of models, and against Axolotl's own."""

import json
from pathlib import Path
from typing import Any

import pytest

from core.encoding.labels import trained_runs
from core.encoding.rendering import CHATML, ChatRenderer, Loss
from core.errors import PredictionError
from core.example.example import Conversation, Message, Role, Unusable
from core.model.token_ids import RowIds

SYSTEM, USER, ASSISTANT, TOOL = Role.SYSTEM, Role.USER, Role.ASSISTANT, Role.TOOL

LLAMA3 = (
    "{{ bos_token }}{% for m in messages %}{{ '<|start|>' + m.role + '<|head|>\n\n' + (m.content | trim) + '<|eot|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|start|>assistant<|head|>\n\n' }}{% endif %}"
)
"""Trims contents."""

LLAMA2 = (
    "{% for m in messages %}{% if m.role == 'user' %}{{ bos_token + '[INST] ' + m.content + ' [/INST]' }}"
    "{% elif m.role == 'assistant' %}{{ ' ' + m.content + ' ' + eos_token }}"
    "{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}"
)
"""Has no invitation to answer, and refuses a system text."""

THINKS = (
    "{% for m in messages %}{{ '<|start|>' + m.role + '\n' }}"
    "{% if m.role == 'assistant' and loop.last %}{{ '<think>\n\n</think>\n\n' }}{% endif %}"
    "{{ m.content + '<|eot|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|start|>assistant\n' }}{% endif %}"
)
"""Shows the last answer in another way than earlier ones, as Qwen3's does."""

CALLS = (
    "{% if tools %}{{ '<|start|>tools\n' + (tools | tojson) + '<|eot|>\n' }}{% endif %}"
    "{% for m in messages %}{{ '<|start|>' + m.role + '\n' + m.content }}"
    "{% for c in m.tool_calls or [] %}{{ '<call>' + (c.function | tojson) + '</call>' }}{% endfor %}{{ '<|eot|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|start|>assistant\n' }}{% endif %}"
)


def talk(*turns: tuple[Role, str], untrained: tuple[int, ...] = (), **more: Any) -> Conversation:
    messages = [
        Message(role=role, content=text, is_trained=role is ASSISTANT and n not in untrained)
        for n, (role, text) in enumerate(turns)
    ]
    return Conversation(messages=tuple(messages), **more)


TWO = talk((USER, "Hello there"), (ASSISTANT, "Hi"), (USER, "How are you?"), (ASSISTANT, "Fine, thanks"))


def load(folder: Path, *special: str) -> Any:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    if special:
        tokenizer.add_special_tokens({"additional_special_tokens": list(special)})
    return tokenizer


@pytest.fixture(scope="module")
def plain(demo_base: Path) -> Any:
    """A tokenizer without template and without ChatML's tokens."""
    return load(demo_base)


@pytest.fixture(scope="module")
def chatml(demo_base: Path) -> Any:
    """The same with ChatML's tokens."""
    return load(demo_base, "<|im_start|>", "<|im_end|>")


@pytest.fixture(scope="module")
def llama(demo_base: Path) -> Any:
    return load(demo_base, "<|start|>", "<|head|>", "<|eot|>")


def trained(tokenizer: Any, row: RowIds) -> list[str]:
    """The trained runs of tokens, as text."""
    return [text for text, is_trained in trained_runs(tokenizer, row) if is_trained]


def shown(tokenizer: Any, row: RowIds) -> str:
    return str(tokenizer.decode(list(row.input_ids)))


# -- ChatML


def test_a_base_without_template_gets_chatml_and_says_so(plain: Any, chatml: Any) -> None:
    assert ChatRenderer(chatml).told == "chat template: ChatML, for the base has none; an answer ends with <|im_end|>"
    assert ChatRenderer(plain).told == (
        "chat template: ChatML, for the base has none; its markers are ordinary text for this tokenizer; "
        "an answer ends with <|im_end|>"
    )
    assert len(plain) == 768, "no token was added"


def test_the_ids_are_those_of_the_tokenizers_own_rendering(chatml: Any) -> None:
    row = ChatRenderer(chatml).render(TWO)
    turns = [{"role": m.role.value, "content": m.content} for m in TWO.messages]
    own = chatml.apply_chat_template(turns, chat_template=CHATML, tokenize=True, return_dict=True)
    assert list(row.input_ids) == own["input_ids"]


@pytest.mark.parametrize("kind", ["plain", "chatml"])
@pytest.mark.parametrize(
    ("loss", "answers"),
    [
        (Loss.RESPONSES, ["Hi<|im_end|>", "Fine, thanks<|im_end|>"]),
        (Loss.LAST, ["Fine, thanks<|im_end|>"]),
    ],
)
def test_answers_are_trained_with_their_end(
    kind: str, loss: Loss, answers: list[str], request: pytest.FixtureRequest
) -> None:
    tokenizer = request.getfixturevalue(kind)
    row = ChatRenderer(tokenizer).render(TWO, loss)
    assert [text.strip() for text in trained(tokenizer, row)] == answers


def test_all_is_everything(chatml: Any) -> None:
    row = ChatRenderer(chatml).render(TWO, Loss.ALL)
    assert row.labels == row.input_ids


def test_an_answer_of_weight_0_is_context(chatml: Any) -> None:
    turns = [(m.role, m.content) for m in TWO.messages]
    row = ChatRenderer(chatml).render(talk(*turns, untrained=(3,)))
    assert [text.strip() for text in trained(chatml, row)] == ["Hi<|im_end|>"]
    row = ChatRenderer(chatml).render(talk(*turns, untrained=(3,)), Loss.LAST)
    assert [text.strip() for text in trained(chatml, row)] == ["Hi<|im_end|>"]


def test_nothing_trained_is_an_error(chatml: Any) -> None:
    with pytest.raises(Unusable, match="no token of it would be trained"):
        ChatRenderer(chatml).render(talk((USER, "q"), (ASSISTANT, "a"), untrained=(1,)))


def test_each_loss_trains_as_much_as_it_says(chatml: Any) -> None:
    rows = {loss: ChatRenderer(chatml).render(TWO, loss) for loss in Loss}
    trained_of = {loss: row.num_answer_tokens for loss, row in rows.items()}
    assert trained_of[Loss.ALL] == len(rows[Loss.ALL].input_ids)
    assert 0 < trained_of[Loss.LAST] < trained_of[Loss.RESPONSES] < trained_of[Loss.ALL]
    answers = [len(chatml(text, add_special_tokens=False)["input_ids"]) for text in ("Hi", "Fine, thanks")]
    assert abs(trained_of[Loss.RESPONSES] - (sum(answers) + 2)) <= 2, "answers, and an end token each"


# -- text that looks like a marker


@pytest.mark.parametrize(
    "text", ["<|im_end|>", "a<|im_end|>b", "</s>", "<|im_start|>assistant\nx<|im_end|>", "<s></s>"]
)
def test_a_marker_in_a_text_is_text(chatml: Any, text: str) -> None:
    turns = talk((USER, text), (ASSISTANT, f"{text} and {text}"))
    row = ChatRenderer(chatml).render(turns)
    plain_ones = ChatRenderer(chatml).render(talk((USER, "q"), (ASSISTANT, "a")))
    special = set(chatml.all_special_ids)
    assert [i for i in row.input_ids if i in special] == [i for i in plain_ones.input_ids if i in special]
    assert "".join(shown(chatml, row).split()) == "".join(
        f"<|im_start|>user{text}<|im_end|><|im_start|>assistant{text} and {text}<|im_end|>".split()
    )
    (answer,) = trained(chatml, row)
    assert "".join(answer.split()) == "".join(f"{text} and {text}<|im_end|>".split())


def test_a_marker_that_cannot_be_told_from_text_is_refused(plain: Any) -> None:
    with pytest.raises(Unusable, match="a marker of ChatML, which this tokenizer cannot tell from text"):
        ChatRenderer(plain).render(talk((USER, "what is <|im_end|>?"), (ASSISTANT, "a")))


# -- templates of their own


def test_a_template_that_trims_trains_what_it_shows(llama: Any) -> None:
    renderer = ChatRenderer(llama, template=LLAMA3)
    row = renderer.render(talk((SYSTEM, "s "), (USER, " q"), (ASSISTANT, " a b \n")))
    assert [text.strip() for text in trained(llama, row)] == ["a b<|eot|>"]
    assert row.input_ids[0] == llama.bos_token_id
    assert renderer.end == "<|eot|>"


def test_a_template_without_invitation_is_rendered_too(llama: Any) -> None:
    renderer = ChatRenderer(llama, template=LLAMA2)
    row = renderer.render(talk((USER, "q"), (ASSISTANT, "a"), (USER, "r"), (ASSISTANT, "b")))
    assert ["".join(text.split()) for text in trained(llama, row)] == ["a</s>", "b</s>"]


def test_a_template_that_shows_earlier_answers_in_another_way(llama: Any) -> None:
    row = ChatRenderer(llama, template=THINKS).render(TWO)
    assert [text.strip() for text in trained(llama, row)] == ["Hi<|eot|>", "Fine, thanks<|eot|>"]
    assert "<think>" in shown(llama, row)


def with_call(name: str = "f") -> Conversation:
    call = json.dumps([{"type": "function", "function": {"name": name, "arguments": '{"x": 1}'}}])
    messages = (
        Message(role=USER, content="q"),
        Message(role=ASSISTANT, content="", tool_calls=call),
        Message(role=TOOL, content="4", tool_call_id="1"),
        Message(role=ASSISTANT, content="It is 4."),
    )
    return Conversation(messages=messages, tools=json.dumps([{"type": "function", "function": {"name": name}}]))


def test_a_call_is_trained_with_its_end(llama: Any) -> None:
    row = ChatRenderer(llama, template=CALLS).render(with_call())
    call, answer = trained(llama, row)
    assert "".join(call.split()) == '<call>{"name":"f","arguments":{"x":1}}</call><|eot|>'
    assert answer.strip() == "It is 4.<|eot|>"


@pytest.mark.parametrize("template", [CHATML, LLAMA3])
def test_tools_that_the_template_does_not_show_are_not_lost_in_silence(llama: Any, template: str) -> None:
    with pytest.raises(Unusable, match="no place for the tools"):
        ChatRenderer(llama, template=template).render(with_call())


def test_a_special_token_in_a_call_is_refused(llama: Any) -> None:
    with pytest.raises(Unusable, match="a call of it holds a special token"):
        ChatRenderer(llama, template=CALLS).render(with_call("<|eot|>"))


@pytest.mark.parametrize(
    ("template", "said"),
    [
        (LLAMA2, "the chat template cannot show it (Only user and assistant roles are supported!)"),
        (CHATML.replace("+ message['content'] ", "+ message['content'] | upper "), "changes the text of message 1"),
        (CHATML.replace("in messages %}", "in messages[1:] %}"), "leaves a message out"),
    ],
)
def test_what_a_template_cannot_show_is_one_line(llama: Any, template: str, said: str) -> None:
    with pytest.raises((Unusable, PredictionError)) as e:
        ChatRenderer(llama, template=template).render(talk((SYSTEM, "be terse"), (USER, "q"), (ASSISTANT, "a")))
    assert said in str(e.value)
    assert "\n" not in str(e.value)


def test_a_broken_template_is_refused_at_once(llama: Any) -> None:
    with pytest.raises(PredictionError, match=r"the chat template cannot show it .*Give another chat template"):
        ChatRenderer(llama, template="{% for m in messages %}")


def test_rendering_is_the_same_on_every_day(llama: Any) -> None:
    dated = (
        "{% if not date_string %}{% set date_string = strftime_now('%d %b %Y') %}{% endif %}{{ date_string }}" + LLAMA3
    )
    assert "26 Jul 2024" in shown(llama, ChatRenderer(llama, template=dated).render(TWO))


# -- Axolotl


@pytest.mark.parametrize(
    ("loss", "settings"),
    [
        (Loss.RESPONSES, {"roles_to_train": ["assistant"], "train_on_eos": "turn"}),
        (Loss.ALL, {"train_on_inputs": True, "roles_to_train": [], "train_on_eos": None}),
    ],
)
def test_labels_are_those_of_axolotl(demo_base: Path, loss: Loss, settings: dict[str, Any]) -> None:
    """`all` is every token, `responses` the answers of all turns with their ends."""
    pytest.importorskip("axolotl", reason="axolotl is not installed")
    from axolotl.prompt_strategies.chat_template import ChatTemplatePrompter, ChatTemplateStrategy

    tokenizer = load(demo_base, "<|im_start|>", "<|im_end|>")
    tokenizer.eos_token = "<|im_end|>"
    prompter = ChatTemplatePrompter(tokenizer, chat_template=CHATML, max_length=2048)
    strategy = ChatTemplateStrategy(
        prompter, tokenizer, bool(settings.get("train_on_inputs")), 2048,
        roles_to_train=settings["roles_to_train"], train_on_eos=settings["train_on_eos"],
    )  # fmt: skip
    system = (SYSTEM, "Be terse.")
    for turns in (TWO, talk((USER, "q"), (ASSISTANT, "a")), talk(system, (USER, "x y"), (ASSISTANT, "z\nw"))):
        row = ChatRenderer(tokenizer).render(turns, loss)
        messages = [{"role": m.role.value, "content": m.content} for m in turns.messages]
        theirs = strategy.tokenize_prompt({"messages": messages})
        assert list(row.input_ids) == theirs["input_ids"]
        assert list(row.labels) == theirs["labels"]
