import json
from collections.abc import Callable
from pathlib import Path

import pytest

from core.files import read_jsonl
from core.model.token_ids import IGNORED_LABEL, row_ids
from harness.dataset import (
    check_window,
    chosen_rows,
    load_tokenizer,
    prepare_dataset,
    read_dataset_rows,
    read_mix,
)
from harness.errors import DataError

WriteMix = Callable[..., Path]


def test_loss_falls_on_the_answer_and_its_end_alone(demo_base: Path) -> None:
    row = row_ids(load_tokenizer(demo_base), "### Response:\n", "yes")
    answer = [token for token in row.labels if token != IGNORED_LABEL]
    assert list(row.input_ids[-len(answer) :]) == answer
    assert answer[-1] == 2  # </s>
    assert row.input_ids[0] == 1  # <s>
    assert row.labels[0] == IGNORED_LABEL


def test_rows_are_rendered_with_the_one_template(write_mix: WriteMix, demo_base: Path, tmp_path: Path) -> None:
    dataset = prepare_dataset(write_mix(), base=demo_base, sequence_len=512, out=tmp_path / "data")
    first = read_dataset_rows(dataset.train.path, demo_base)[0]
    prompt = "### Instruction:\nWrite the last word.\n\n### Input:\nhot 0 cold\n\n### Response:\n"
    assert first == row_ids(load_tokenizer(demo_base), prompt, "cold")
    assert (dataset.train.num_rows, dataset.validation.num_rows, dataset.num_dropped) == (60, 12, 0)


def test_too_long_rows_are_counted_and_kept_with_their_length(
    write_mix: WriteMix, demo_base: Path, tmp_path: Path
) -> None:
    mix = write_mix()
    row = {"id": "long", "instruction": "x", "input": "word " * 600, "output": "y"}
    with (mix / "train.jsonl").open("a") as f:
        f.write(json.dumps(row) + "\n")
    dataset = prepare_dataset(mix, base=demo_base, sequence_len=256, out=tmp_path / "data")
    assert (dataset.train.num_rows, dataset.num_dropped) == (60, 1)
    dropped = list(read_jsonl(tmp_path / "data" / "dropped.jsonl"))
    assert [(d["id"], d["reason"]) for d in dropped] == [("long", "too_long")]
    assert "sequence_len 256" in dropped[0]["detail"]


def test_the_digest_follows_the_content(write_mix: WriteMix, demo_base: Path, tmp_path: Path) -> None:
    mix = write_mix()
    first = prepare_dataset(mix, base=demo_base, sequence_len=512, out=tmp_path / "a")
    text = (mix / "train.jsonl").read_text()
    (mix / "train.jsonl").write_text(text.replace('"cold"', '"frost"', 1))
    second = prepare_dataset(mix, base=demo_base, sequence_len=512, out=tmp_path / "b")
    assert first.digest != second.digest


def test_chosen_rows_come_in_the_order_asked_for_and_as_often(
    write_mix: WriteMix, demo_base: Path, tmp_path: Path
) -> None:
    dataset = prepare_dataset(write_mix(), base=demo_base, sequence_len=512, out=tmp_path / "data")
    part = chosen_rows(dataset, [7, 2, 7], tmp_path / "chosen.parquet")
    everything = read_dataset_rows(dataset.train.path, demo_base)
    assert read_dataset_rows(part.path, demo_base) == [everything[7], everything[2], everything[7]]
    assert part.num_tokens == sum(dataset.lengths[n] for n in (7, 2, 7))


def test_rows_of_a_mix_and_of_a_prepared_file_are_the_same_rows(
    write_mix: WriteMix, demo_base: Path, tmp_path: Path
) -> None:
    mix = write_mix()
    dataset = prepare_dataset(mix, base=demo_base, sequence_len=512, out=tmp_path / "data")
    assert read_dataset_rows(mix / "validation.jsonl", demo_base) == read_dataset_rows(
        dataset.validation.path, demo_base
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        ("", "no rows"),
        ('{"prompt": "p"}\n', "row 1 lacks"),
        ('{"x": 1}\n', "row 1"),
        ("[", "line 1"),
    ],
)
def test_a_validation_file_of_another_kind_is_refused(
    demo_base: Path, tmp_path: Path, content: str | None, message: str
) -> None:
    path = tmp_path / "rows.jsonl"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError, match=message) as e:
        read_dataset_rows(path, demo_base)
    assert "rows.jsonl" in str(e.value)


def test_a_row_beyond_the_window_bars_training_without_it(write_mix: WriteMix, demo_base: Path, tmp_path: Path) -> None:
    import shutil

    base = tmp_path / "base"
    shutil.copytree(demo_base, base)
    config = json.loads((base / "config.json").read_text())
    dataset = prepare_dataset(write_mix(), base=demo_base, sequence_len=512, out=tmp_path / "data")
    for window, fits in ((None, True), (dataset.train.longest, True), (dataset.train.longest - 1, False)):
        (base / "config.json").write_text(json.dumps({**config, "sliding_window": window}))
        check_window(dataset, base, None)
        if fits:
            check_window(dataset, base, {"sliding_window": None})
        else:
            with pytest.raises(DataError, match=r"is exact up to the base's window of \d+ alone"):
                check_window(dataset, base, {"sliding_window": None})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        ("", "a mix with no rows"),
        ("{\n", "not JSON"),
        ('{"instruction": "x", "input": "y"}\n', "row 1 lacks"),
        ('{"instruction": "x", "input": "y", "output": " "}\n', "row 1 lacks"),
    ],
)
def test_a_mix_that_cannot_be_trained_on_says_why(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "train.jsonl").write_text(content)
    with pytest.raises(DataError, match=message):
        read_mix(tmp_path / "train.jsonl")


def test_an_empty_answer_is_left_out_with_its_reason(write_mix: WriteMix, demo_base: Path, tmp_path: Path) -> None:
    mix = write_mix()
    with (mix / "train.jsonl").open("a") as f:
        f.write('{"id": "silent", "instruction": "x", "input": "y", "output": ""}\n')
    dataset = prepare_dataset(mix, base=demo_base, sequence_len=256, out=tmp_path / "data")
    (dropped,) = read_jsonl(tmp_path / "data" / "dropped.jsonl")
    assert (dropped["id"], dropped["reason"]) == ("silent", "no_answer")
    assert dataset.train.num_rows == 60


def test_rows_that_are_all_too_long_are_an_error(write_mix: WriteMix, demo_base: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no row of 60 can be trained on; .* sequence_len 8"):
        prepare_dataset(write_mix(), base=demo_base, sequence_len=8, out=tmp_path / "data")


def test_an_answer_that_ends_in_the_end_token_is_trained_with_one_and_counted(
    write_mix: WriteMix, demo_base: Path, tmp_path: Path
) -> None:
    """One such answer ended the run after the clock had started: Axolotl adds no second end token to it."""
    mix = write_mix()
    rows = [json.loads(line) for line in (mix / "train.jsonl").read_text().splitlines()]
    rows[0]["output"] += "</s>"
    rows[1]["output"] += "</s>\n</s> "
    rows[2]["output"] = "</s>"
    (mix / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    dataset = prepare_dataset(mix, base=demo_base, sequence_len=512, out=tmp_path / "data")
    assert (dataset.num_ends_removed, dataset.num_dropped, dataset.train.num_rows) == (3, 1, 59)
    assert [d["reason"] for d in read_jsonl(tmp_path / "data" / "dropped.jsonl")] == ["no_answer"]
    plain = prepare_dataset(write_mix(), base=demo_base, sequence_len=512, out=tmp_path / "plain")
    ended, usual = (read_dataset_rows(d.train.path, demo_base) for d in (dataset, plain))
    assert ended[:2] == usual[:2]
