"""How a record is recognised and read, and what makes it unusable."""

import json
from pathlib import Path
from typing import Any

import pytest

from core.errors import DataError
from core.example.columns import Columns
from core.example.example import Conversation, Message, Preference, Prompted, Role
from core.example.language import language_code, language_name
from core.example.layout import Layout, layout_of
from core.example.reading import Census, Read, layout_named, open_source, read_record
from core.records.record import Place, Record, Rejected


def read(columns: dict[str, Any], layout: Layout | None = None) -> Read | Rejected:
    return read_record(Record(place=Place(file="x", line=3), columns=columns), layout=layout)


def good(columns: dict[str, Any], layout: Layout | None = None) -> Read:
    found = read(columns, layout)
    assert isinstance(found, Read), str(found)
    return found


def chat(*turns: tuple[str, Any], **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": content} for role, content in turns], **more}


def messages(columns: dict[str, Any]) -> tuple[Message, ...]:
    example = good(columns).example
    assert isinstance(example, Conversation)
    return example.messages


USER, ASSISTANT = ("user", "q"), ("assistant", "a")


# -- which layout


@pytest.mark.parametrize(
    ("columns", "layout"),
    [
        ({"instruction": "i", "output": "o"}, Layout.ALPACA),
        ({"Instruction": "i", " OUTPUT ": "o"}, Layout.ALPACA),
        ({"instruction": "i", "response": "o"}, Layout.DOLLY),
        ({"prompt": "i", "completion": "o"}, Layout.PROMPT_COMPLETION),
        ({"prompt": "i", "response": "o"}, Layout.PROMPT_COMPLETION),
        ({"question": "i", "answer": "o"}, Layout.QUESTION_ANSWER),
        ({"query": "i", "answers": ["o"]}, Layout.QUESTION_ANSWER),
        ({"input": "i", "output": "o"}, Layout.ALPACA),
        (chat(USER, ASSISTANT), Layout.MESSAGES),
        (chat(USER, ASSISTANT) | {"prompt": "q"}, Layout.MESSAGES),
        ({"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}, Layout.SHAREGPT),
        ({"conversations": ["q", "a"]}, Layout.SHAREGPT),
        ({"prompt": "p", "chosen": "a", "rejected": "b"}, Layout.PREFERENCE),
        ({"text": "t"}, Layout.TEXT),
        ({"text": "t", "label": 1}, Layout.TEXT),
        ({"text": "t", "instruction": "i", "output": "o"}, Layout.ALPACA),
        ({"definition": "d", "input": "i", "output": ["o"]}, Layout.NATURAL_INSTRUCTIONS),
        ({"messages": None, "instruction": "i", "output": "o"}, Layout.ALPACA),
        ({"messages": [], "instruction": "i", "output": "o"}, Layout.ALPACA),
        ({"messages": "", "instruction": "i", "output": "o"}, Layout.ALPACA),
        ({"a": 1}, None),
        ({}, None),
    ],
)
def test_a_layout_is_found_by_its_columns(columns: dict[str, Any], layout: Layout | None) -> None:
    assert layout_of(Columns(columns)) is layout


def test_a_layout_can_be_forced() -> None:
    columns = {"instruction": "i", "output": "o", "text": "all of it"}
    assert good(columns).layout is Layout.ALPACA
    assert good(columns, Layout.TEXT).unused == ("instruction", "output")
    found = read(columns, Layout.MESSAGES)
    assert isinstance(found, Rejected)
    assert found.detail == "lacks `messages` (or `conversations`)"
    with pytest.raises(DataError, match=r"layout chatml: unknown\. Use alpaca, dolly"):
        layout_named("chatml")


@pytest.mark.parametrize("layout", list(Layout))
def test_a_forced_layout_that_does_not_fit_says_what_it_lacks(layout: Layout) -> None:
    found = read({"nothing": "of it"}, layout)
    assert isinstance(found, Rejected)
    assert (found.reason, found.detail[:7]) == ("malformed", "lacks `")


# -- questions and answers


def test_both_context_and_input_are_used() -> None:
    example = good({"question": "q", "context": "c", "input": "i", "answer": "a"}).example
    assert isinstance(example, Prompted)
    assert (example.instruction, example.input) == ("q", "c\n\ni")


def test_a_blank_instruction_with_an_input_asks_the_input() -> None:
    example = good({"instruction": "", "input": "i", "output": "o"}).example
    assert isinstance(example, Prompted)
    assert (example.instruction, example.input) == ("i", "")


def test_a_system_text_is_a_turn() -> None:
    found = good({"instruction": "i", "output": "o", "system": "s"})
    assert isinstance(found.example, Prompted)
    assert (found.example.system, found.example.num_turns) == ("s", 3)


def test_question_and_answer_are_a_conversation_where_one_is_wanted() -> None:
    example = good({"instruction": "i", "input": "x", "output": "o", "system": "s"}).example
    assert isinstance(example, Prompted)
    assert [(m.role.value, m.content, m.is_trained) for m in example.as_conversation().messages] == [
        ("system", "s", False), ("user", "i\n\nx", False), ("assistant", "o", True)
    ]  # fmt: skip


def test_prompt_and_completion_may_be_messages() -> None:
    prompt = [{"role": "user", "content": "1"}, {"role": "assistant", "content": "2"}, {"role": "user", "content": "3"}]
    found = messages({"prompt": prompt, "completion": [{"role": "assistant", "content": "4"}]})
    assert [(m.content, m.is_trained) for m in found] == [("1", False), ("2", False), ("3", False), ("4", True)]


# -- messages


@pytest.mark.parametrize(
    ("name", "role"),
    [("human", Role.USER), ("GPT", Role.ASSISTANT), ("developer", Role.SYSTEM), ("function", Role.TOOL)],
)
def test_roles_have_the_names_that_people_give_them(name: str, role: Role) -> None:
    found = messages(chat((name, "x"), USER, ASSISTANT))
    assert found[0].role is role


def test_several_system_messages_are_joined_and_stand_first() -> None:
    found = messages(chat(("system", "1"), USER, ("developer", "2"), ASSISTANT, system="0"))
    assert [(m.role.value, m.content) for m in found] == [("system", "0\n\n1\n\n2"), USER, ASSISTANT]


def test_an_empty_system_message_is_none() -> None:
    assert len(messages(chat(("system", ""), USER, ASSISTANT))) == 2


@pytest.mark.parametrize("key", ["weight", "train"])
def test_a_message_says_whether_it_is_trained(key: str) -> None:
    turns = chat(USER, ASSISTANT, USER, ASSISTANT)
    turns["messages"][1][key] = 0
    turns["messages"][3][key] = True
    assert [m.is_trained for m in messages(turns)] == [False, False, False, True]


def test_a_call_in_sharegpts_way_is_a_call() -> None:
    turns = [("human", "q"), ("function_call", '{"name": "f", "arguments": {}}'), ("observation", "4"), ("gpt", "a")]
    found = messages({"conversations": [{"from": who, "value": text} for who, text in turns]})
    assert [(m.role.value, m.content) for m in found] == [USER, ("assistant", ""), ("tool", "4"), ASSISTANT]
    assert json.loads(found[1].tool_calls) == [{"type": "function", "function": {"name": "f", "arguments": {}}}]


def test_messages_may_be_json_in_a_table_and_hold_nulls() -> None:
    turns = [{"role": "user", "content": "q", "tool_calls": None}, {"role": "assistant", "content": "a", "name": None}]
    assert messages({"messages": json.dumps(turns)}) == messages({"messages": turns})


def test_keys_of_messages_that_are_not_used_are_named() -> None:
    columns = chat(USER, ASSISTANT, rating=3)
    columns["messages"][1]["reasoning"] = "because"
    assert good(columns).unused == ("messages[].reasoning", "rating")


# -- what is said of a record


def test_what_describes_is_kept_and_what_is_not_used_is_named() -> None:
    found = good(
        {"instruction": "i", "output": "o", "uuid": 7, "license": ["MIT", "CC0"], "lang": "en-US", "source": "me",
         "topic": "x", "score": 1, "nothing": None, "empty": ""}
    )  # fmt: skip
    described = found.example.description
    assert (described.id, described.licence, described.language, described.source) == ("7", "MIT | CC0", "en", "me")
    assert (described.other, found.unused) == ({"topic": "x"}, ("score",))


def test_columns_that_are_not_used_are_told_in_one_line() -> None:
    census = Census()
    for score in (1, None):
        census.add(good({"instruction": "i", "output": "o", "score": score}))
    assert census.told("x") == ["x: layout alpaca (2)", "x: columns that are not used: score (1)"]


@pytest.mark.parametrize("text", ["EN", "en", "en-US", "en_GB", "eng", "English", " english "])
def test_a_language_has_one_code_in_every_spelling(text: str) -> None:
    assert language_code(text) == "en"


def test_languages_of_other_names() -> None:
    assert [language_code(t) for t in ("zh-Hant-TW", "fin", "Finnish", "ger", "yue", "??")] == [
        "zh", "fi", "fi", "de", "yue", "??"
    ]  # fmt: skip
    assert [language_name(code) for code in ("fr", "el", "sw", "xx")] == ["French", "Greek", "Swahili", "xx"]


# -- what cannot be used


@pytest.mark.parametrize(
    ("columns", "reason", "detail"),
    [
        ({}, "malformed", "lacks `instruction` and `output`, `messages`, `text` or another layout"),
        ({"a": 1, "b": 2}, "malformed", "lacks `instruction` and `output`, `messages`"),
        ({"output": "y"}, "malformed", "lacks `instruction` as text"),
        ({"instruction": " ", "output": "y"}, "malformed", "lacks `instruction` as text"),
        ({"instruction": 5, "output": "y"}, "malformed", "lacks `instruction` as text"),
        ({"instruction": "i", "input": 5, "output": "y"}, "malformed", "`input` is not text"),
        ({"instruction": "i", "inptu": "x", "output": "y"}, "malformed", "has `inptu` and no `input`: a misspelling"),
        ({"instruction": "i"}, "malformed", "lacks `output` as text"),
        ({"instruction": "i", "output": ["y", 5]}, "malformed", "lacks `output` as text"),
        ({"instruction": "i", "output": " "}, "empty_output", "the answer is empty"),
        ({"question": "q", "answers": {"text": []}}, "malformed", "lacks `answer` as text"),
        ({"instruction": "i", "output": "o", "history": ["a"]}, "malformed", "`history` is not a list of"),
        ({"instruction": "i", "output": "o", "system": 5}, "malformed", "`system` is not text"),
        ({"messages": []}, "malformed", "`messages` is not a list with a turn in it"),
        ({"messages": "q"}, "malformed", "`messages` is text that is no JSON"),
        ({"messages": ["q", "a"]}, "malformed", "message 1 lacks `role`"),
        (chat(USER, ("bot", "a")), "malformed", "message 2 lacks `role`"),
        (chat(USER, ("assistant", None)), "malformed", "message 2 lacks `role`"),
        (chat(USER, ("assistant", " ")), "empty_output", "the answer is empty (message 2)"),
        (chat((" ", "q"), ASSISTANT), "malformed", "message 1 lacks `role`"),
        (chat(("user", " "), ASSISTANT), "malformed", "the user's turn is blank"),
        (chat(USER), "ends_with_user", "ends with the user's turn"),
        (chat(ASSISTANT, USER), "ends_with_user", "ends with the user's turn"),
        (chat(USER, ("tool", "x")), "ends_with_user", "ends with the tool's turn"),
        (chat(("system", "s")), "malformed", "holds no answer"),
        (chat(USER, ("assistant", [{"type": "image_url", "image_url": "x"}])), "not_text", "message 2 holds a part"),
        ({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a", "weight": 0}]},
         "nothing_trained", "no answer is trained"),
        ({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a", "weight": 0.5}]},
         "malformed", "message 2 has weight 0.5"),
        ({"prompt": "p", "chosen": "a ", "rejected": "a"}, "equal_sides", "`chosen` and `rejected` are the same"),
        ({"prompt": "p", "chosen": "", "rejected": "a"}, "empty_output", "`chosen` is empty"),
        ({"chosen": "a", "rejected": "b"}, "malformed", "lacks `prompt`"),
        ({"text": " "}, "empty_text", "the text is empty"),
        ({"text": 5}, "malformed", "lacks `text` as text"),
        ({"instruction": "i", "output": "\ud83d"}, "invalid_unicode", "holds bytes that are no UTF-8"),
        ({"definition": "d", "input": " ", "output": "o"}, "empty_input", "the input is empty"),
    ],
)  # fmt: skip
def test_an_unusable_record_says_what_is_wrong(columns: dict[str, Any], reason: str, detail: str) -> None:
    found = read(columns)
    assert isinstance(found, Rejected)
    assert (found.reason, found.detail[: len(detail)]) == (reason, detail)
    assert "\n" not in str(found)
    assert str(found).startswith("x:3: ")


@pytest.mark.parametrize(
    ("columns", "shared", "expected"),
    [
        ({"prompt": "Q"}, (("assistant", "First?"), ("user", "ok")), ["Q", "First?", "ok"]),
        ({"prompt": "Q"}, (("user", "Q"),), ["Q"]),
        ({"prompt": "Q", "system": "Be kind."}, (("user", "Q"),), ["Be kind.", "Q"]),
        ({"prompt": "Q", "system": "Be kind."}, (("system", "Be brief."), ("user", "Q")), ["Be brief.", "Q"]),
        ({"prompt": "Q", "system": "Be kind."}, (), ["Be kind.", "Q"]),
        ({"prompt": "Q"}, (("user", "Another question"),), ["Another question"]),
        (
            {"prompt": [{"role": r, "content": c} for r, c in (("user", "a"), ("assistant", "b"), ("user", "c"))]},
            (("user", "c"),),
            ["a", "b", "c"],
        ),
    ],
)
def test_a_pair_keeps_its_prompt_before_the_turns_that_both_sides_begin_with(
    columns: dict[str, Any], shared: tuple[tuple[str, str], ...], expected: list[str]
) -> None:
    turns = [{"role": role, "content": content} for role, content in shared]
    sides = {name: [*turns, {"role": "assistant", "content": name}] for name in ("chosen", "rejected")}
    example = good({**columns, **sides}).example
    assert isinstance(example, Preference)
    assert [message.content for message in example.prompt] == expected
    assert [message.content for message in (*example.chosen, *example.rejected)] == ["chosen", "rejected"]


def test_text_that_is_not_utf8_is_one_rejected_row_of_a_csv(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes("instruction,output\ncafé,a\ntea,b\n".encode("latin-1"))
    first, second = open_source(path).examples()
    assert isinstance(first, Rejected)
    assert (first.place.line, first.reason) == (2, "invalid_unicode")
    assert isinstance(second, Read)
