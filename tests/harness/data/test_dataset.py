import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from core.files import read_jsonl
from core.model.token_ids import IGNORED_LABEL, rows_ids
from core.run_folder import TABLE
from harness.base_model import load_tokenizer
from harness.data.dataset import (
    Dataset,
    TableInputs,
    check_mix,
    check_rows,
    check_window,
    find_dataset,
    link_dataset,
    prepare_dataset,
    read_dataset,
    read_dataset_rows,
    read_mix,
)
from harness.errors import DataError
from harness.run import train
from tests.harness.test_run import MEASURED, fake, make_job

WriteMix = Callable[..., Path]


def test_loss_falls_on_the_answer_and_its_end_alone(demo_base: Path) -> None:
    (row,) = rows_ids(load_tokenizer(demo_base), [("### Response:\n", "yes")])
    answer = [token for token in row.labels if token != IGNORED_LABEL]
    assert list(row.input_ids[-len(answer) :]) == answer
    assert answer[-1] == 2  # </s>
    assert row.input_ids[0] == 1  # <s>
    assert row.labels[0] == IGNORED_LABEL


def test_rows_are_rendered_with_the_one_template(write_mix: WriteMix, demo_base: Path, tmp_path: Path) -> None:
    dataset = prepare_dataset(write_mix(), base=demo_base, sequence_len=512, out=tmp_path / "data")
    first = read_dataset_rows(dataset.train.path, demo_base)[0]
    prompt = "### Instruction:\nWrite the last word.\n\n### Input:\nhot 0 cold\n\n### Response:\n"
    assert [first] == rows_ids(load_tokenizer(demo_base), [(prompt, "cold")])
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


@pytest.fixture
def found(write_mix: WriteMix, demo_base: Path, tmp_path: Path) -> Callable[..., Dataset]:
    """Asks for the run's table, and remembers what was asked for last."""
    given = {"mix": write_mix(), "base": Path(shutil.copytree(demo_base, tmp_path / "base")), "sequence_len": 512}
    return lambda **changes: find_dataset(tmp_path / "run", **{**given, **changes})


def written_at(dataset: Dataset) -> int:
    return dataset.train.path.stat().st_mtime_ns


def test_a_table_is_written_once_for_the_same_inputs(found: Callable[..., Dataset]) -> None:
    first = found()
    again = found()
    assert again == first
    assert written_at(again) == written_at(first)
    assert again.lengths() == first.lengths()


def test_the_same_inputs_give_the_same_bytes_in_another_run(
    found: Callable[..., Dataset], write_mix: WriteMix, demo_base: Path, tmp_path: Path
) -> None:
    first = found()
    second = find_dataset(tmp_path / "other", mix=write_mix(), base=demo_base, sequence_len=512)
    assert second.inputs == first.inputs
    folders = [dataset.train.path.parent for dataset in (first, second)]
    assert folders[0].name == folders[1].name
    for path in folders[0].iterdir():
        assert path.read_bytes() == (folders[1] / path.name).read_bytes(), path.name


@pytest.mark.parametrize("what", ["train", "validation", "tokenizer", "sequence_len"])
def test_other_inputs_are_another_table(found: Callable[..., Dataset], tmp_path: Path, what: str) -> None:
    before = found()
    if what == "tokenizer":
        config = tmp_path / "base" / "tokenizer_config.json"
        config.write_text(json.dumps({**json.loads(config.read_text()), "note": "another"}))
    elif what != "sequence_len":
        path = tmp_path / "05_mix" / f"{what}.jsonl"
        path.write_text(path.read_text().replace('"output": "', '"output": "the ', 1))
    after = found(sequence_len=256) if what == "sequence_len" else found()
    differing = {name for name in TableInputs.__slots__ if getattr(before.inputs, name) != getattr(after.inputs, name)}
    assert differing == {what}
    assert before.train.path.parent != after.train.path.parent
    assert before.train.is_whole()  # an earlier training may still be at it


@pytest.mark.parametrize(
    ("name", "damage"),
    [("train.parquet", b"PAR1"), ("validation.parquet", None), ("dropped.jsonl", None), ("dataset.json", b"{")],
)
def test_a_table_that_is_not_as_it_was_written_is_written_anew(
    found: Callable[..., Dataset], name: str, damage: bytes | None
) -> None:
    first = found()
    path = first.train.path.with_name(name)
    whole = path.read_bytes()
    path.unlink() if damage is None else path.write_bytes(damage)
    assert found() == first
    assert path.read_bytes() == whole


def test_a_training_keeps_its_rows_when_the_runs_table_goes(found: Callable[..., Dataset], tmp_path: Path) -> None:
    dataset = found()
    linked = link_dataset(dataset, tmp_path / "data")
    assert linked.train.path.stat().st_ino == dataset.train.path.stat().st_ino  # no second copy
    shutil.rmtree(tmp_path / "run" / TABLE)
    assert read_dataset(tmp_path / "data") == linked


def test_where_there_are_no_hard_links_the_files_are_copied(
    found: Callable[..., Dataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(source: Path, target: Path) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", refused)
    linked = link_dataset(found(), tmp_path / "data")
    assert linked.train.path.stat().st_nlink == 1
    assert read_dataset(tmp_path / "data") == linked


def test_what_a_command_before_has_tokenised_is_not_done_on_the_clock(
    write_mix: WriteMix, demo_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tokenising takes two seconds here; a run that finds the table charges none of them, one that does not, all."""
    import time

    import core.encoding.example_ids

    tokenise = core.encoding.example_ids.rows_ids

    def slow(*given: object) -> object:
        time.sleep(1.0)  # for each file of the mix
        return tokenise(*given)  # type: ignore[arg-type]

    load_tokenizer(demo_base)
    monkeypatch.setattr(core.encoding.example_ids, "rows_ids", slow)
    job = make_job(tmp_path, write_mix(), demo_base, budget_s=20.0)
    packed = {}
    for name in ("alone", "planned"):
        job = replace(job, run=tmp_path / name)
        if name == "planned":
            job.dataset()  # as `oneday plan` and the rehearsal ask for it
        result = train(job, MEASURED, launch=fake())
        packed[name] = result.ledger.by_phase["pack"]
    assert packed["planned"] < 1.0 < 2.0 < packed["alone"] < 4.0


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
        ('{"prompt": "p", "chosen": "a", "rejected": "b"}\n', r"1 of 1 rows have no loss \(row 1"),
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
            with pytest.raises(DataError, match=r"is exact only up to the base's window of \d+"):
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
        list(read_mix(tmp_path / "train.jsonl"))
    with pytest.raises(DataError, match=message):
        check_rows(tmp_path)
    if not content:
        with pytest.raises(DataError, match=message):
            check_mix(tmp_path)


def test_an_empty_answer_is_left_out_with_its_reason(write_mix: WriteMix, demo_base: Path, tmp_path: Path) -> None:
    mix = write_mix()
    with (mix / "train.jsonl").open("a") as f:
        f.write('{"id": "silent", "instruction": "x", "input": "y", "output": ""}\n')
    dataset = prepare_dataset(mix, base=demo_base, sequence_len=256, out=tmp_path / "data")
    (dropped,) = read_jsonl(tmp_path / "data" / "dropped.jsonl")
    assert (dropped["id"], dropped["reason"]) == ("silent", "no_answer")
    assert dataset.train.num_rows == 60


def test_rows_that_are_all_too_long_are_an_error(write_mix: WriteMix, demo_base: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none of 60 rows can be trained on; .* sequence_len 8"):
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
