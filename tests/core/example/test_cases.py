"""Every layout in every kind of file: small ones beside the tests, and the larger ones of the data folder."""

from pathlib import Path

import pytest

from core.example.example import Conversation, Preference, Prompted, Role, Text
from core.example.reading import Census, Read, open_source

DATA = Path(__file__).parents[2] / "data" / "examples"

SMALL = {
    "alpaca_array.json": 2, "sharegpt.jsonl": 4, "sharegpt_array.json": 4, "bare_texts.jsonl": 2,
    "messages_multiturn.jsonl": 5, "messages_tools.jsonl": 4, "messages_parts.jsonl": 2, "alpaca.csv": 2,
    "semicolons.CSV": 2, "alpaca.parquet": 2, "saved": 2, "alpaca.zip": 2, "alpaca.jsonl.gz": 2,
    "alpaca.jsonl.zst": 2, "prompt_completion.jsonl": 2, "question_answer.jsonl": 2, "squad.jsonl": 2,
    "dolly.jsonl": 2, "text.jsonl": 0, "assistant_first.jsonl": 3, "developer.jsonl": 3, "system_history.jsonl": 5,
    "lines_called.json": 2, "lines.NDJSON": 2, "array_called.jsonl": 2, "objects_over_lines.json": 2,
    "wrapped.json": 2, "folder": 2, "alpaca_context.jsonl": 2, "union.jsonl": 2, "preference_texts.jsonl": 3,
    "preference_messages.jsonl": 3, "preference_transcripts.jsonl": 3, "utf16.jsonl": 2, "bom.jsonl": 2,
    "task1_colours.json": 2,
}  # fmt: skip
"""File -> turns of each of its four records."""

LARGE = {
    "a01_alpaca_array.json": (12, 2), "a03_sharegpt.jsonl": (10, 4), "a04_sharegpt_array.json": (10, 4),
    "a05_openai_multiturn.jsonl": (10, 5), "a06_openai_tools.jsonl": (10, 4), "a07_openai_parts.jsonl": (10, 2),
    "a08.csv": (12, 2), "a09.parquet": (12, 2), "a10_saved": (12, 2), "a11.zip": (12, 2), "a12.jsonl.gz": (12, 2),
    "c05_prompt_completion.jsonl": (10, 2), "c06_question_answer.jsonl": (10, 2), "c07_instr_response.jsonl": (10, 2),
    "c08_text.jsonl": (10, 0), "c10_assistant_first.jsonl": (10, 3), "c11_developer.jsonl": (10, 3),
    "c13_system_history.jsonl": (12, 5), "c14_jsonl_in_json.json": (12, 2), "c15.ndjson": (12, 2),
    "c16_folder_jsonl": (12, 2), "c20_array_in_jsonl.jsonl": (12, 2), "c21_array_pretty.jsonl": (12, 2),
    "c26_context.jsonl": (12, 2), "d01_union.jsonl": (10, 2),
}  # fmt: skip
"""File -> records, and turns of each, as the folder's README says."""


def read(path: Path) -> list[Read]:
    """Every record; none is rejected."""
    items = list(open_source(path).examples())
    assert all(isinstance(item, Read) for item in items), [str(item) for item in items if not isinstance(item, Read)]
    return [item for item in items if isinstance(item, Read)]


@pytest.mark.parametrize("name", SMALL)
def test_a_file_of_each_kind_loads_whole(name: str) -> None:
    found = read(DATA / name)
    assert [item.example.num_turns for item in found] == [SMALL[name]] * 4
    assert {column for item in found for column in item.unused} == set()


@pytest.mark.parametrize("name", LARGE)
def test_every_case_loads_whole_turn_by_turn(shared_data: Path, name: str) -> None:
    records, turns = LARGE[name]
    found = read(shared_data / "cases" / "formats" / name)
    assert [item.example.num_turns for item in found] == [turns] * records


def test_no_case_is_forgotten(shared_data: Path) -> None:
    assert {path.name for path in (shared_data / "cases" / "formats").iterdir()} == set(LARGE)


ALPACA = [
    "alpaca_array.json", "alpaca.csv", "semicolons.CSV", "alpaca.parquet", "saved", "alpaca.zip",
    "alpaca.jsonl.gz", "alpaca.jsonl.zst", "dolly.jsonl", "lines_called.json", "lines.NDJSON",
    "array_called.jsonl", "objects_over_lines.json", "wrapped.json", "folder", "alpaca_context.jsonl",
    "utf16.jsonl", "bom.jsonl", "task1_colours.json",
]  # fmt: skip


@pytest.mark.parametrize("name", ALPACA)
def test_what_is_written_in_another_way_is_the_same(name: str) -> None:
    told = [
        (e.instruction, e.input, e.outputs) for item in read(DATA / name) if isinstance(e := item.example, Prompted)
    ]
    assert told == [
        ("Name the colour.", f"a {thing}", (colour,))
        for thing, colour in (("rose", "red"), ("leaf", "green"), ("sky", "blue"), ("snow", "white"))
    ]


def turns_of(name: str) -> list[tuple[str, str]]:
    """The messages of the first conversation."""
    example = read(DATA / name)[0].example
    assert isinstance(example, Conversation)
    return [(message.role.value, message.content) for message in example.messages]


def test_the_turns_of_a_conversation_are_all_there() -> None:
    assert turns_of("sharegpt.jsonl") == turns_of("sharegpt_array.json")
    assert turns_of("sharegpt.jsonl") == [
        ("user", "What is a rose?"), ("assistant", "A rose."), ("user", "Its colour?"), ("assistant", "red"),
    ]  # fmt: skip
    assert turns_of("messages_multiturn.jsonl")[0] == ("system", "One word.")
    assert turns_of("developer.jsonl")[0] == ("system", "One word.")
    assert turns_of("bare_texts.jsonl") == [("user", "What is a rose?"), ("assistant", "It is red.")]
    assert turns_of("messages_parts.jsonl") == [("user", "Colour of\na rose?"), ("assistant", "red")]
    assert turns_of("system_history.jsonl") == [
        ("system", "One word."), ("user", "Hello"), ("assistant", "Hi"),
        ("user", "Name the colour.\n\na rose"), ("assistant", "red"),
    ]  # fmt: skip


def test_tools_and_calls_are_kept_for_the_template() -> None:
    example = read(DATA / "messages_tools.jsonl")[0].example
    assert isinstance(example, Conversation)
    assert example.tools == '[{"type":"function","function":{"name":"colour"}}]'
    call, answer = example.messages[1:3]
    assert (call.role, call.content, '"arguments":"{}"' in call.tool_calls) == (Role.ASSISTANT, "", True)
    assert (answer.role, answer.content, answer.tool_call_id) == (Role.TOOL, "red", "1")


@pytest.mark.parametrize("kind", ["texts", "messages", "transcripts"])
def test_a_preference_has_its_prompt_and_two_answers(kind: str) -> None:
    example = read(DATA / f"preference_{kind}.jsonl")[0].example
    assert isinstance(example, Preference)
    told = [[(m.role.value, m.content) for m in side] for side in (example.prompt, example.chosen, example.rejected)]
    assert told == [[("user", "Colour of a rose?")], [("assistant", "red")], [("assistant", "none")]]
    assert not example.prompt[0].is_trained


def test_two_layouts_in_one_file_are_both_read_and_told() -> None:
    census = Census()
    for item in read(DATA / "union.jsonl"):
        census.add(item)
    assert dict(census.kinds) == {"prompted": 2, "conversation": 2}
    assert census.told("union.jsonl") == ["union.jsonl: layout alpaca (2), messages (2)"]


def test_a_text_is_a_text() -> None:
    assert read(DATA / "text.jsonl")[0].example == Text(text="The rose is red.")


def test_a_column_that_only_describes_is_kept() -> None:
    assert read(DATA / "dolly.jsonl")[0].example.description.other == {"category": "closed_qa"}


def test_the_real_data_of_the_folder_loads(shared_data: Path) -> None:
    """LIMA, of which one conversation ends with the user, and GSM8K."""
    census = Census()
    for item in open_source(shared_data / "lima" / "lima.en.jsonl").examples():
        census.add(item)
    assert (dict(census.kinds), dict(census.rejected)) == ({"conversation": 1029}, {"ends_with_user": 1})
    census = Census()
    for item in open_source(shared_data / "gsm8k" / "train.jsonl").examples():
        census.add(item)
    assert (census.num_records, dict(census.kinds)) == (7473, {"prompted": 7473})


def test_files_that_are_no_data_are_named(tmp_path: Path) -> None:
    assert open_source(DATA / "folder").skipped == (str(DATA / "folder" / "README.md"),)
    assert open_source(DATA / "alpaca.zip").skipped == (f"{DATA / 'alpaca.zip'}/README.md",)
