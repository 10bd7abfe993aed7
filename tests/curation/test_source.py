import json
from pathlib import Path

import pytest

from curation.errors import SourceError
from curation.source import MIXES, find_source, mix_targets, read_lima


def test_the_mixes_sum_to_the_papers_totals() -> None:
    assert {name: sum(counts.values()) for name, counts in MIXES.items()} == {
        "200k": 206_000,
        "400k": 389_000,
        "700k": 709_000,
    }


OTHERS = frozenset(["open-platypus", "openbookqa", "quac", "cnn_dailymail", "mathinstruct"])


def test_scale_and_without_shape_the_targets() -> None:
    assert mix_targets("200k", 0.01, OTHERS) == {"lima": 10, "ni_exact_match": 500, "ni_generation": 500}


@pytest.mark.parametrize(
    ("mix", "scale", "without", "message"),
    [
        ("1m", 1.0, OTHERS, "unknown mix"),
        ("200k", 0.0, OTHERS, "not in"),
        ("200k", 2.0, OTHERS, "not in"),
        ("200k", 1.0, OTHERS | {"alpaca"}, "unknown source"),
        ("200k", 1.0, frozenset[str](), "--without cnn_dailymail,mathinstruct,open-platypus,openbookqa,quac"),
    ],
)
def test_what_cannot_be_mixed_says_what_to_do(mix: str, scale: float, without: frozenset[str], message: str) -> None:
    with pytest.raises(SourceError, match=message):
        mix_targets(mix, scale, without)


def test_a_source_is_found_beside_the_tasks_or_where_it_was_said(tmp_path: Path) -> None:
    tasks = tmp_path / "ni" / "tasks"
    tasks.mkdir(parents=True)
    with pytest.raises(SourceError, match="--without lima"):
        find_source("lima", tasks, {})
    file = tmp_path / "lima" / "train.jsonl"
    file.parent.mkdir()
    file.write_text(json.dumps({"conversations": ["Hi", "Hello", "More", "Turns"]}) + "\n")
    assert find_source("lima", tasks, {}) == file
    assert find_source("lima", tasks, {"lima": file}) == file
    with pytest.raises(SourceError, match="no such file"):
        find_source("lima", tasks, {"lima": tmp_path / "x"})
    row = next(read_lima(file))
    assert (row.instruction, row.input, row.output, row.licence) == ("Hi", "", "Hello", "CC BY-NC-SA")


def test_lima_is_read_whole(shared_data: Path) -> None:
    assert sum(1 for _ in read_lima(shared_data / "lima" / "lima.en.jsonl")) == 1_030


def test_a_conversation_of_one_turn_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text('{"conversations": ["alone"]}\n')
    with pytest.raises(SourceError, match="record 1"):
        list(read_lima(tmp_path / "x.jsonl"))
