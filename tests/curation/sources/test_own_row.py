"""An example as a row: what of it is asked, and what it lacks."""

import json
from pathlib import Path
from typing import Any

import pytest

from core.example.reading import Read, open_source, read_record
from core.records.record import Place, Record, Rejected
from curation.sources.own_row import OwnRow, own_row, read_own


def parsed(record: dict[str, Any], line: int = 3) -> OwnRow | Rejected:
    read = read_record(Record(place=Place(file="mine.jsonl", line=line), columns=record))
    return own_row(read, line) if isinstance(read, Read) else read


def good(record: dict[str, Any]) -> OwnRow:
    row = parsed(record)
    assert isinstance(row, OwnRow), str(row)
    return row


def chat(*turns: tuple[str, str]) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": content} for role, content in turns]}


def rows(path: Path, *records: Any) -> list[OwnRow | Rejected]:
    path.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in records))
    return [row for _, row in read_own(open_source(path))]


PLACE = Place(file="mine.jsonl", line=3)


def test_an_instruction_row_is_taken_as_it_stands() -> None:
    record = {"instruction": " Say it. ", "input": " x ", "output": " y ", "id": "a", "licence": "MIT"}
    assert parsed(record | {"language": "fr"}) == OwnRow(
        id="a", number=3, instruction=" Say it. ", input=" x ", outputs=(" y ",), licence="MIT", language="fr",
        place=PLACE,
    )  # fmt: skip


def test_a_row_without_id_licence_language_and_input_gets_their_defaults() -> None:
    assert parsed({"instruction": "Say it.", "output": "y"}) == OwnRow(
        id="line-3", number=3, instruction="Say it.", input="", outputs=("y",), licence="Unknown", language="en",
        place=PLACE,
    )  # fmt: skip


@pytest.mark.parametrize("given", [None, ""])
def test_no_input_may_be_written_as_null_or_as_empty(given: str | None) -> None:
    assert good({"instruction": "Say it.", "input": given, "output": "y"}).input == ""


def test_several_answers_are_kept_and_empty_ones_left_out() -> None:
    assert good({"instruction": "Say it.", "output": ["a", " ", "b"]}).outputs == ("a", "b")


def test_license_is_read_too_and_licence_comes_first() -> None:
    row = {"instruction": "Say it.", "output": "y"}
    for keys, licence in (({"license": "MIT"}, "MIT"), ({"license": "MIT", "licence": "CC0-1.0"}, "CC0-1.0")):
        assert good(row | keys).licence == licence


@pytest.mark.parametrize("language", ["FR", "fr-CA", "French", "fra"])
def test_a_language_is_one_in_every_spelling(language: str) -> None:
    assert good({"instruction": "i", "output": "y", "language": language}).language == "fr"


def test_an_empty_language_is_the_default() -> None:
    assert good({"instruction": "i", "output": "y", "language": ""}).language == "en"


@pytest.mark.parametrize(
    ("turns", "instruction"),
    [
        ([("user", "q"), ("assistant", "z")], "q"),
        ([("system", "Be brief."), ("user", "q"), ("assistant", "z")], "Be brief.\n\nq"),
        ([("system", ""), ("user", "q"), ("assistant", "z")], "q"),
        ([("user", "q"), ("assistant", "a"), ("user", "r"), ("assistant", "z")], "User: q\n\nAssistant: a\n\nUser: r"),
        ([("user", "q"), ("user", "r"), ("assistant", "z")], "q\n\nr"),
        ([("assistant", "Hello."), ("user", "q"), ("assistant", "z")], "Assistant: Hello.\n\nUser: q"),
    ],
)
def test_the_last_answer_of_a_chat_is_asked_and_all_are_trained(turns: list[tuple[str, str]], instruction: str) -> None:
    row = good(chat(*turns) | {"id": "c"})
    assert (row.id, row.instruction, row.input, row.outputs) == ("c", instruction, "", ("z",))
    assert row.dialogue is not None
    assert [(m.role, m.content) for m in row.dialogue.messages] == [(role, text) for role, text in turns if text]


def test_a_row_with_a_history_gives_its_own_question() -> None:
    record = {"instruction": "i", "input": "x", "output": "o", "system": "s", "history": [["q", "a"]]}
    row = good(record)
    assert (row.instruction, row.outputs) == ("s\n\nUser: q\n\nAssistant: a\n\nUser: i\n\nx", ("o",))
    assert row.dialogue is not None
    assert row.dialogue.num_turns == 5


def test_a_system_text_stands_at_the_head_of_the_instruction() -> None:
    row = good({"instruction": "i", "input": "x", "output": "o", "system": "s"})
    assert (row.instruction, row.input) == ("s\n\ni", "x")


def test_an_answer_that_is_not_trained_is_not_asked() -> None:
    record = chat(("user", "q"), ("assistant", "a"), ("user", "r"), ("assistant", "b"))
    record["messages"][3]["weight"] = 0
    assert good(record).outputs == ("a",)


def test_an_answer_behind_a_tool_is_asked_with_the_call_and_what_the_tool_said() -> None:
    call = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f"}}]}
    turns = [{"role": "user", "content": "q"}, call, {"role": "tool", "content": "4"}]
    row = good({"messages": [*turns, {"role": "assistant", "content": "It is 4."}]})
    assert row.instruction == 'User: q\n\nAssistant: [{"function":{"name":"f"}}]\n\nTool: 4'


@pytest.mark.parametrize(
    "record",
    [
        {"text": "a document"},
        {"prompt": "p", "chosen": "a", "rejected": "b"},
        {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": None,
         "tool_calls": [{"function": {"name": "f"}}]}]},
    ],
)  # fmt: skip
def test_what_the_base_cannot_be_asked_about_is_no_row(record: dict[str, Any]) -> None:
    row = parsed(record)
    assert isinstance(row, Rejected)
    assert row.reason == "not_curated"
    assert "the base cannot be asked about it" in row.detail


def test_lines_are_numbered_as_an_editor_does(tmp_path: Path) -> None:
    row = {"instruction": "i", "output": "y"}
    found = rows(tmp_path / "mine.jsonl", "", row, "  ", "{", row)
    assert [(type(item), item.place.line) for item in found] == [(OwnRow, 2), (Rejected, 4), (OwnRow, 5)]
    assert [item.id for item in found if isinstance(item, OwnRow)] == ["line-2", "line-5"]


def test_the_second_row_of_an_id_is_refused_but_not_one_after_a_bad_row(tmp_path: Path) -> None:
    row = {"id": "a", "instruction": "i", "output": "y"}
    found = rows(tmp_path / "mine.jsonl", row | {"output": ""}, row, row | {"output": "z"})
    assert [type(item) for item in found] == [Rejected, OwnRow, Rejected]
    last = found[2]
    assert isinstance(last, Rejected)
    assert (last.place.line, last.reason, last.detail) == (3, "duplicate_id", "id 'a' was used before")
