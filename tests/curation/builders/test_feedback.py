"""Feedback: only answers that were rated good are trained on."""

from pathlib import Path
from typing import Any

import pytest

from core.encoding.labels import trained_runs
from core.encoding.rendering import ChatRenderer
from core.errors import MixError
from core.example.example import Conversation
from core.example.reading import Read, open_source
from tests.curation.builders.examples import built, chats, dropped, lines, write


def turns(*answers: tuple[str, object]) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    for number, (text, rating) in enumerate(answers):
        found += [
            {"role": "user", "content": f"question {number}"},
            {"role": "assistant", "content": text, "rating": rating},
        ]
    return found


RATED = [
    {
        "id": "mixed",
        "messages": [*turns(("first", 1), ("bad one", 0), ("third", 1)), {"role": "user", "content": "thanks"}],
    },
    {"id": "unrated", "messages": turns(("no rating", None))},
    {"id": "record", "prompt": "question", "completion": "by the record", "label": True},
    {"id": "down", "messages": turns(("by a word", "thumbs_down"))},
    {"id": "word", "messages": turns(("by another", "maybe"))},
]  # fmt: skip


def test_each_good_answer_is_a_row_and_the_others_have_a_reason(tmp_path: Path) -> None:
    found = built("feedback", tmp_path / "run", data=write(tmp_path / "rated.jsonl", RATED))
    rows = {line["id"]: line["messages"] for line in lines(found.files["feedback"].path)}
    assert {name: len(messages) for name, messages in rows.items()} == {"mixed#1": 2, "mixed#3": 6, "record": 2}
    assert [message.get("weight") for message in rows["mixed#3"]] == [None, 0, None, 0, None, None]
    assert found.tallies["answer"].dropped == {"not_rated": 1, "rated_bad": 2, "rating_not_binary": 1}
    assert {drop["id"] for drop in dropped(tmp_path / "run")} == {"mixed#2", "unrated", "down", "word"}


def test_an_empty_answer_leaves_out_itself_and_what_comes_after_it(tmp_path: Path) -> None:
    rows = [
        {"id": "hole", "messages": turns(("good", 1), (" ", 1), ("later", 1))},
        {"id": "first", "messages": turns(("", 1), ("later", 1))},
    ]
    found = built("feedback", tmp_path / "run", data=write(tmp_path / "rated.jsonl", rows))
    assert [line["id"] for line in lines(found.files["feedback"].path)] == ["hole#1"]
    reasons = {(drop["unit"], drop["id"]): drop["reason"] for drop in dropped(tmp_path / "run")}
    assert reasons == {
        ("answer", "hole#2"): "empty_output", ("answer", "hole#3"): "after_empty_output",
        ("record", "line-2"): "empty_output",
    }  # fmt: skip
    assert found.tallies["answer"].read == 3


def test_a_bad_answer_among_good_ones_bears_no_label(tmp_path: Path, demo_base: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(str(demo_base))
    found = built("feedback", tmp_path / "run", data=write(tmp_path / "rated.jsonl", RATED[:1]))
    renderer = ChatRenderer(tokenizer)
    trained = shown = ""
    for read in open_source(found.files["feedback"].path).examples():
        assert isinstance(read, Read)
        assert isinstance(read.example, Conversation)
        runs = trained_runs(tokenizer, renderer.render(read.example))
        shown += "".join(text for text, _ in runs)
        trained += "".join(text for text, is_trained in runs if is_trained)
    assert trained.count("first") == 1
    assert trained.count("third") == 1
    assert "bad one" in shown
    assert "bad one" not in trained
    assert "question" not in trained


def test_good_answers_are_joined_with_other_data(tmp_path: Path) -> None:
    data, into = write(tmp_path / "rated.jsonl", RATED), chats(tmp_path / "sft.jsonl", 4)
    found = built("feedback", tmp_path / "run", data=data, mode="merge", into=into)
    assert [line["id"] for line in lines(found.files["merged"].path)] == [
        "sft/0", "sft/1", "sft/2", "sft/3", "rated/mixed#1", "rated/mixed#3", "rated/record",
    ]  # fmt: skip
    with pytest.raises(MixError, match="`mode=merge` needs `into=FILE`"):
        built("feedback", tmp_path / "half", data=data, mode="merge")


def test_a_scale_is_no_binary_rating(tmp_path: Path) -> None:
    data = write(tmp_path / "stars.jsonl", [{"messages": turns(("one star", 1))}, {"messages": turns(("four", 4))}])
    with pytest.raises(MixError, match=r"stars\.jsonl:2: the rating 4 belongs to a scale"):
        built("feedback", tmp_path / "run", data=data)
