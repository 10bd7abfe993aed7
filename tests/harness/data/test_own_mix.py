"""Files of the user's own as a mix."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from core.encoding.rendering import Loss
from core.errors import DataError
from core.files import read_jsonl
from core.stage import Stage
from harness.base_model import load_tokenizer
from harness.data.own_mix import OwnMixDetails, OwnMixParameters, own_mix
from harness.data.share import DataFile, parts_by_share
from harness.data.split import SplitParameters, validation_groups
from harness.data.template import Template

QUESTION, ANSWER = {"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}


def write(path: Path, rows: Sequence[dict[str, Any]]) -> DataFile:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return DataFile.parse(str(path))


def alpaca(num: int, words: int = 3) -> list[dict[str, Any]]:
    return [{"instruction": f"Say {n}.", "input": "", "output": "word " * words + str(n)} for n in range(num)]


def lines(stage: Stage) -> dict[str, dict[str, Any]]:
    found = [*read_jsonl(stage.path("train.jsonl")), *read_jsonl(stage.path("validation.jsonl"))]
    return {line["id"]: line for line in found}


def test_each_usable_record_is_trained_on_or_validated_on_once(tmp_path: Path) -> None:
    rows = [*alpaca(40), {"instruction": "Say 1.", "output": "word word word 1"}, {"instruction": "Say it."}]
    stage = own_mix(tmp_path / "run", [write(tmp_path / "mine.jsonl", rows)], OwnMixParameters())
    details = stage.details(OwnMixDetails)
    assert (details.train_rows, details.validation_rows) == (30, 10)
    assert sorted(lines(stage)) == sorted(f"mine-{n}" for n in range(1, 41))
    assert {d["reason"]: d["id"] for d in read_jsonl(stage.path("dropped.jsonl"))} == {
        "duplicate": "mine-41", "malformed": f"{tmp_path / 'mine.jsonl'}:42",
    }  # fmt: skip
    assert details.template is Template.ALPACA


def test_no_row_that_validates_is_trained_on_in_another_layout(tmp_path: Path) -> None:
    """As an instruction and as a chat, or with other answers behind the first one, which alone is trained on."""
    rows = [{"instruction": f"Say {n}.", "output": [f"word {n}", "or another"]} for n in range(40)]
    chats = [
        {"messages": [{"role": "user", "content": f"Say {n}."}, {"role": "assistant", "content": f"word {n}"}]}
        for n in range(40)
    ]
    others = [{**row, "output": [row["output"][0], f"another {n}"]} for n, row in enumerate(rows)]
    found = {"a": rows, "b": [*chats, {"messages": [QUESTION, ANSWER]}], "c": [*others, *alpaca(1)]}
    files = [write(tmp_path / f"{name}.jsonl", content) for name, content in found.items()]
    stage = own_mix(tmp_path / "run", files, OwnMixParameters())
    assert len(lines(stage)) == 42
    assert stage.num_dropped[("row", "duplicate")] == 80


def test_a_file_with_another_split_is_named_as_such(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    for name in ("train", "test"):
        write(folder / f"{name}.jsonl", alpaca(20))
    stage = own_mix(tmp_path / "run", [DataFile.parse(str(folder))], OwnMixParameters())
    assert [*stage.details(OwnMixDetails).notes][-1].endswith("test.jsonl: not read, for it holds a split to test on")


def test_the_same_files_and_seed_give_the_same_bytes(tmp_path: Path) -> None:
    file = write(tmp_path / "mine.jsonl", alpaca(40))
    written = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        stage = own_mix(tmp_path / name, [file], OwnMixParameters(seed=seed))
        written.append((stage.path("train.jsonl").read_bytes(), stage.path("validation.jsonl").read_bytes()))
    assert written[0] == written[1] != written[2]


def test_one_conversation_makes_all_conversations(tmp_path: Path) -> None:
    rows = [*alpaca(3), {"messages": [QUESTION, ANSWER, QUESTION, ANSWER]}, {"text": "Once."}]
    file = write(tmp_path / "mine.jsonl", rows)
    stage = own_mix(tmp_path / "run", [file], OwnMixParameters())
    assert [set(line) - {"id", "source", "origin"} for _, line in sorted(lines(stage).items())] == [
        {"messages"}
    ] * 4 + [{"text"}]
    stage = own_mix(tmp_path / "two", [file], OwnMixParameters(template=Template.ALPACA))
    assert set(lines(stage)["mine-1"]) == {"id", "source", "origin", "instruction", "input", "output"}


@pytest.mark.parametrize(
    ("loss", "weights", "whole"),
    [(Loss.RESPONSES, [1, 1], False), (Loss.LAST, [0, 1], False), (Loss.ALL, [1, 1], True)],
)
def test_the_loss_stands_in_the_lines(tmp_path: Path, loss: Loss, weights: list[int], whole: bool) -> None:
    rows = [{"messages": [QUESTION, ANSWER, QUESTION, {**ANSWER, "content": str(n)}]} for n in range(2)]
    stage = own_mix(tmp_path / "run", [write(tmp_path / "mine.jsonl", rows)], OwnMixParameters(loss=loss))
    line = lines(stage)["mine-1"]
    assert [m.get("weight", 1) for m in line["messages"] if m["role"] == "assistant"] == weights
    assert line.get("train_on_inputs", False) is whole


def test_an_example_whose_last_answer_has_weight_0_is_dropped_where_only_that_one_counts(tmp_path: Path) -> None:
    rows = [{"messages": [QUESTION, ANSWER, QUESTION, {**ANSWER, "content": str(n)}]} for n in range(3)]
    rows[1]["messages"][3]["weight"] = 0
    file = write(tmp_path / "mine.jsonl", rows)
    stage = own_mix(tmp_path / "run", [file], OwnMixParameters(loss=Loss.LAST))
    assert sorted(lines(stage)) == ["mine-1", "mine-3"]
    assert [d["reason"] for d in read_jsonl(stage.path("dropped.jsonl"))] == ["nothing_trained"]
    assert sorted(lines(own_mix(tmp_path / "all", [file], OwnMixParameters()))) == ["mine-1", "mine-2", "mine-3"]


def test_examples_of_one_conversation_stay_on_one_side(tmp_path: Path) -> None:
    rows = [row | {"conversation_id": f"c{n // 4}"} for n, row in enumerate(alpaca(40))]
    parameters = OwnMixParameters(split=SplitParameters(validation_share=0.3))
    stage = own_mix(tmp_path / "run", [write(tmp_path / "mine.jsonl", rows)], parameters)
    ids = [[line["id"] for line in read_jsonl(stage.path(f"{part}.jsonl"))] for part in ("train", "validation")]
    sides = [{int(row_id.split("-")[1]) for row_id in part} for part in ids]
    of = [{(number - 1) // 4 for number in side} for side in sides]
    assert not of[0] & of[1]
    assert len(sides[1]) == 12


def test_shares_are_of_tokens_and_the_rest_is_counted(tmp_path: Path, demo_base: Path) -> None:
    files = [write(tmp_path / "a.jsonl", alpaca(60, 4)), write(tmp_path / "b.jsonl", alpaca(60, 40))]
    files[0] = DataFile.parse(f"{files[0].path}:0.2")
    stage = own_mix(tmp_path / "run", files, OwnMixParameters(), tokenizer=load_tokenizer(demo_base))
    tokens = stage.details(OwnMixDetails).tokens_by_source
    assert tokens["a"] / sum(tokens.values()) == pytest.approx(0.2, abs=0.01)
    summary = stage.summary().tallies["row"]
    assert (summary.read, summary.dropped) == (120, {"share": 120 - summary.kept})


@pytest.mark.parametrize(
    ("shares", "parts"),
    [
        ({"a": None, "b": None}, {"a": 600, "b": 900}),
        ({"a": 0.5, "b": 0.5}, {"a": 600, "b": 600}),
        ({"a": 0.3, "b": None}, {"a": 386, "b": 900}),
        ({"a": 0.9, "b": None}, {"a": 600, "b": 67}),
        ({"a": 1.0}, {"a": 600}),
    ],
)
def test_as_many_tokens_as_the_shares_allow(shares: dict[str, float | None], parts: dict[str, int]) -> None:
    assert parts_by_share({"a": 600, "b": 900}, shares) == parts


@pytest.mark.parametrize(
    ("texts", "told"),
    [
        (["a:0.7", "b:0.6"], "add up to 1.3"),
        (["a:1", "b"], "leaves nothing for b"),
        (["a:0.5", "b:0.2"], "every file has one"),
        (["a:1.5"], "above 0 and at most 1"),
    ],
)
def test_shares_that_cannot_be_met_are_refused(texts: list[str], told: str) -> None:
    with pytest.raises(DataError, match=told):
        parts_by_share({"a": 5, "b": 5}, {f.path: f.share for f in map(DataFile.parse, texts)})


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        (alpaca(1), "1 usable example, and a training needs at least two"),
        (alpaca(1) * 3, r"1 usable example \(2 duplicate\), and a training needs at least two"),
        (
            [row | {"conversation_id": "c"} for row in alpaca(3)],
            "3 usable examples of one conversation, and a training",
        ),
        ([{"chosen": "a", "rejected": "b", "prompt": "c"}] * 2, r"no usable example \(2 preference\)"),
        ([{"messages": [QUESTION]}] * 3, r"no usable example \(3 ends_with_user\)"),
    ],
)
def test_data_that_cannot_be_trained_on_is_one_line(tmp_path: Path, rows: list[dict[str, Any]], told: str) -> None:
    with pytest.raises(DataError, match=told):
        own_mix(tmp_path / "run", [write(tmp_path / "mine.jsonl", rows)], OwnMixParameters())


def test_small_data_validates_on_a_quarter_and_large_on_512() -> None:
    groups = {n: [str(i) for i in range(n)] for n in (2, 8, 100, 1_000, 20_000)}
    sizes = {n: len(validation_groups(names, SplitParameters(), seed=1)) for n, names in groups.items()}
    assert sizes == {2: 1, 8: 2, 100: 16, 1_000: 50, 20_000: 512}
