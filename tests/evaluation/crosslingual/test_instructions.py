import json
from collections import Counter
from pathlib import Path

import pytest

from evaluation.crosslingual.instructions import TASKS, Instruction, draw, read_instructions, read_modified
from evaluation.crosslingual.modifiers import parse_modifier
from evaluation.errors import EvaluationError


@pytest.fixture(scope="module")
def instructions(shared_data: Path) -> list[Instruction]:
    return read_instructions(shared_data / "crosslingual")


@pytest.fixture(scope="module")
def modified(shared_data: Path) -> list[Instruction]:
    return read_modified(shared_data / "crosslingual")


def test_the_instructions_are_aligned_over_four_languages_and_have_tasks(instructions: list[Instruction]) -> None:
    assert Counter(item.language for item in instructions) == dict.fromkeys(("en", "fr", "pt", "ru"), 113)
    english = Counter(item.task for item in instructions if item.language == "en")
    assert len(english) == len(TASKS) == 25
    assert (english["sport"], english["home"], english["classification"]) == (4, 6, 6)
    assert all(item.expected_language == item.language for item in instructions)


def test_the_modified_ones_are_the_base_prompt_and_a_modifier(
    instructions: list[Instruction], modified: list[Instruction]
) -> None:
    base = {language: [i.text for i in instructions if i.language == language] for language in ("en", "fr", "pt", "ru")}
    assert len(modified) == 4 * 251
    assert all(any(item.text.startswith(f"{text} ") for text in base[item.language]) for item in modified)
    for language in base:
        names = Counter(parse_modifier(i.modifier).name for i in modified if i.language == language)
        assert names == {
            "short": 20, "long": 20, "list-N": 12, "language": 100, "markdown": 14, "html": 14, "arrow": 14, "caps": 14,
            "scientific": 14, "simple": 14, "two-hop": 15,
        }  # fmt: skip


def test_target_languages_are_drawn_per_language(modified: list[Instruction]) -> None:
    targets = {
        language: Counter(i.expected_language for i in modified if i.language == language and "lang_" in i.modifier)
        for language in ("en", "fr", "pt", "ru")
    }
    assert targets == {
        "en": {"fr": 27, "pt": 36, "ru": 37},
        "fr": {"en": 37, "pt": 33, "ru": 30},
        "pt": {"en": 41, "ru": 34, "fr": 25},
        "ru": {"de": 39, "fr": 33, "pt": 28},
    }


def test_a_draw_for_people_has_every_task_and_the_same_lines_in_each_language(instructions: list[Instruction]) -> None:
    drawn = draw(instructions, 30, seed=1)
    assert len(drawn) == 4 * 30
    assert {item.task for item in drawn} == set(TASKS.values())
    ids = {language: [i.id for i in drawn if i.language == language] for language in ("en", "ru")}
    assert ids["en"] == ids["ru"]
    assert draw(instructions, 30, seed=1) == drawn != draw(instructions, 30, seed=2)
    with pytest.raises(EvaluationError, match="cannot draw 24 of 113"):
        draw(instructions, 24, seed=1)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("alpacaeval_test_subset.en.jsonl", '[{"role": "user", "con', "not JSON"),
        ("alpacaeval_test_subset.en.jsonl", '{"role": "user"}', "not one message of a user"),
        ("prompts.jsonl", '[{"role": "user", "content": "Hi"}]', "its name does not say the language"),
    ],
)
def test_another_layout_is_refused_with_its_line(name: str, text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(EvaluationError, match=message):
        read_instructions(path)


def test_types_that_do_not_match_are_refused(tmp_path: Path) -> None:
    line = json.dumps([{"role": "user", "content": "Hi"}])
    (tmp_path / "modifiers.en.jsonl").write_text(f"{line}\n{line}\n")
    (tmp_path / "modifiers.en.types").write_text("short\n")
    with pytest.raises(EvaluationError, match="1 types of 2 modified instructions in en"):
        read_modified(tmp_path)
