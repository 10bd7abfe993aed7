"""Pairs from scores and rankings, and conversations from trees."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from core.errors import MixError
from core.example.reading import Read, open_source
from oneday.demo.demo import DEMO_BASE
from tests.curation.builders.examples import built, dropped, lines, write


def scored(prompt: object, *answers: tuple[str, object]) -> list[dict[str, object]]:
    return [{"prompt": prompt, "response": text, "helpfulness": score} for text, score in answers]


def test_the_higher_score_is_chosen_and_ties_are_dropped(tmp_path: Path) -> None:
    records = [
        *scored("A?", ("bad", 1), ("good", 4)),
        *scored("B?", ("one", 3), ("two", 3)),
        *scored("C?", ("same", 4), (" same ", 0)),
        *scored("D?", ("alone", 2)),
        *scored("E?", ("lacks its score", None), ("fine", 2)),
        *scored("A?", ("middling", 2)),
    ]
    data = write(tmp_path / "scored.jsonl", records)
    found = built("preferences", tmp_path / "run", data=data, score="helpfulness")
    (pair,) = lines(found.files["preferences"].path)
    assert (pair["chosen"][0]["content"], pair["rejected"][0]["content"]) == ("good", "bad")
    reasons = [(drop["unit"], drop["reason"]) for drop in dropped(tmp_path / "run")]
    assert sorted(reasons) == [
        ("pair", "equal_sides"), ("pair", "tie"), ("prompt", "nothing_to_compare"), ("prompt", "nothing_to_compare"),
        ("record", "no_score"),
    ]  # fmt: skip
    rest = built("preferences", tmp_path / "rest", data=data, score="helpfulness", pairing="best-rest")
    assert [pair["rejected"][0]["content"] for pair in lines(rest.files["preferences"].path)] == ["middling", "bad"]


def test_earlier_turns_stay_messages_also_where_helpsteer_wrote_them_into_one_text(tmp_path: Path) -> None:
    turns = [
        {"role": "user", "content": "Hi."},
        {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": "Why?"},
    ]
    text = "Hi.\n<extra_id_1>Assistant\nHello.\n<extra_id_1>User\nWhy?"
    for prompt in (turns, text):
        data = write(tmp_path / "data.jsonl", scored(prompt, ("a", 0), ("b", 1)))
        found = built("preferences", tmp_path / f"run{len(prompt)}", data=data, score="helpfulness")
        assert [line["prompt"] for line in lines(found.files["preferences"].path)] == [turns]


def test_a_prompt_that_is_too_long_to_train_on_is_dropped_here(tmp_path: Path) -> None:
    records = [*scored("short?", ("a", 0), ("b", 1)), *scored("long " * 50, ("a", 0), ("b", 1))]
    data = write(tmp_path / "data.jsonl", records)
    settings: dict[str, Any] = {"data": data, "score": "helpfulness", "max_prompt_tokens": 40}
    found = built("preferences", tmp_path / "run", **settings, tokenizer=str(DEMO_BASE))
    assert found.files["preferences"].num_rows == 1
    assert [drop["reason"] for drop in dropped(tmp_path / "run")] == ["prompt_too_long"]
    with pytest.raises(MixError, match="`tokenizer=` is missing"):
        built("preferences", tmp_path / "none", **settings)


def message(name: str, parent: str | None, rank: float | None = None, **more: object) -> dict[str, object]:
    role = "prompter" if parent is None or name.startswith("u") else "assistant"
    return {"message_id": name, "parent_id": parent, "role": role, "text": f"text {name}", "rank": rank, **more}


TREE = [
    message("a2", "u0", 1.0),
    message("u0", None),
    message("a1", "u0", 0.0),
    message("a3", "u0", 2.0, deleted=True),
    message("u1", "a1"),
    message("u2", "a1"),
    message("a4", "u2", 0.0),
    message("u5", "a3"),
    message("a6", "gone"),
    {"message_id": "odd", "text": "no role"},
]


def test_a_tree_gives_the_best_against_the_worst_and_the_best_thread(tmp_path: Path) -> None:
    data = write(tmp_path / "tree.jsonl", TREE)
    found = built("preferences", tmp_path / "run", data=data)
    (pair,) = lines(found.files["preferences"].path)
    assert (pair["id"], pair["chosen"][0]["content"], pair["rejected"][0]["content"]) == ("u0", "text a1", "text a2")
    reasons = {drop["id"]: drop["reason"] for drop in dropped(tmp_path / "run")}
    assert reasons == {
        "a3": "deleted", "u5": "broken_thread", "a6": "missing_parent", "u2": "nothing_to_compare",
        "line-10": "malformed",
    }  # fmt: skip
    deleted = built("preferences", tmp_path / "deleted", data=data, keep_deleted=True)
    assert lines(deleted.files["preferences"].path)[0]["rejected"][0]["content"] == "text a3"
    thread = built("conversations", tmp_path / "best", data=data)
    (conversation,) = lines(thread.files["conversations"].path)
    assert [turn["content"] for turn in conversation["messages"]] == ["text u0", "text a1", "text u2", "text a4"]


@pytest.mark.slow
@pytest.mark.parametrize("language", ["en", "fi"])
def test_golden_20_the_validation_split_of_oasst1(language: str, shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "finnish"
    data = f"{folder / 'oasst1_validation_messages.jsonl.gz'}#{language}"
    found = built("preferences", tmp_path / "worst", data=data)
    assert found.tables["messages"] == [
        {"messages": 2022, "roots": 188, "answers": 1243, "ranked answers": 1133, "deleted": 40}
    ]
    messages, prompts, pairs = (found.tallies[unit] for unit in ("message", "prompt", "pair"))
    assert (messages.read, messages.dropped) == (2022, {"deleted": 40, "missing_parent": 3})
    assert (prompts.kept, pairs.read, pairs.dropped, pairs.kept) == (416, 416, {"equal_sides": 1}, 415)
    with gzip.open(folder / "oasst1_validation_pairs.jsonl.gz") as file:
        delivered = {line["id"]: line for line in map(json.loads, file)}
    for line in lines(found.files["preferences"].path):
        expected = delivered.pop(line["id"])[language]
        sides = {name: line[name][0]["content"] for name in ("chosen", "rejected")}
        assert {"prompt": line["prompt"], **sides} == expected
    (left,) = delivered.values()
    assert left[language]["chosen"].strip() == left[language]["rejected"].strip()
    turns = {line["messages"]: line["pairs"] for line in found.tables["messages of a prompt"]}
    turns[len(left[language]["prompt"])] += 1
    assert turns == {1: 186, 3: 226, 5: 4}

    counts = [
        built("preferences", tmp_path / f"{pairing}{kept}", data=data, pairing=pairing, keep_deleted=kept)
        .tallies["pair"].read
        for pairing in ("best-worst", "best-rest")
        for kept in (True, False)
    ]  # fmt: skip
    assert counts == [418, 416, 714, 711]


@pytest.mark.slow
def test_golden_20_the_conversations_of_oasst1(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "finnish"
    data = f"{folder / 'oasst1_validation_messages.jsonl.gz'}#fi"
    found = built("conversations", tmp_path / "run", data=data)
    assert found.tallies["tree"].kept == 188
    turns = {line["messages"]: line["conversations"] for line in found.tables["messages of a conversation"]}
    assert turns == {2: 100, 4: 87, 6: 1}
    with gzip.open(folder / "oasst1_validation_conversations.jsonl.gz") as file:
        delivered = [(line["id"], line["fi"]) for line in map(json.loads, file)]
    assert [(line["id"], line["messages"]) for line in lines(found.files["conversations"].path)] == delivered


@pytest.mark.slow
def test_pairs_of_both_languages_are_joined(shared_data: Path, tmp_path: Path) -> None:
    pairs = shared_data / "finnish" / "oasst1_validation_pairs.jsonl.gz"
    found = built("mix", tmp_path / "run", base=f"{pairs}#en", added=f"{pairs}#fi")
    assert found.files["en-fi-100pct"].num_rows == 2 * 415
    read = list(open_source(found.files["en-fi-100pct"].path).examples())
    assert all(isinstance(item, Read) and not item.unused for item in read)
