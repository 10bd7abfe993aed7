import json
from pathlib import Path

import pytest
import yaml

from core.files import read_jsonl
from harness.errors import ConfigError, DataError
from harness.job import TrainJob
from oneday.commands.training.job import Setting, training_job
from oneday.demo.demo import DEMO_BASE
from oneday.display.console import Console
from oneday.requests.training import TrainRequest
from tests.conftest import write_small_mix


def job_of(folder: Path, *, mix: Path | None = None, data: tuple[str, ...] = (), **keys: object) -> TrainJob:
    (folder / "x.yml").write_text(yaml.safe_dump({"learning_rate": 1e-3, **keys}))
    request = TrainRequest(
        config=folder / "x.yml", base=DEMO_BASE, run=folder / "run", card="cpu", mix=mix, data=data
    )  # fmt: skip
    return training_job(Setting.of(request), budget_s=60.0, console=Console())


def test_the_datasets_of_a_recipe_are_trained_on_where_no_rows_are_given(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"instruction": f"Say {n}.", "output": str(n)} for n in range(20)]
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = {"path": str(tmp_path / "mine.jsonl"), "type": "alpaca", "split": "train[:50%]"}
    job = job_of(tmp_path, datasets=[source], val_set_size=0.25)
    assert (len(list(read_jsonl(job.mix / "train.jsonl"))), len(list(read_jsonl(job.mix / "validation.jsonl")))) == (
        15,
        5,
    )
    assert "split train[:50%] is not taken" in capsys.readouterr().err


def test_a_recipe_without_rows_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"`mix=` is missing.*A recipe may name datasets too"):
        job_of(tmp_path)


def test_a_mix_says_itself_what_is_trained(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="train_on_inputs: true with `mix=`"):
        job_of(tmp_path, mix=write_small_mix(tmp_path / "05_mix"), train_on_inputs=True)


@pytest.mark.parametrize("given", ["mix", "data"])
def test_what_a_recipe_says_of_chats_is_named_wherever_the_rows_come_from(
    given: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"instruction": f"Say {n}.", "output": str(n)} for n in range(20)]
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    keys = {"chat_template": "llama3", "eot_tokens": ["<|eot_id|>"], "val_set_size": 0.25}
    if given == "mix":
        job_of(tmp_path, mix=write_small_mix(tmp_path / "05_mix"), **keys)
    else:
        job = job_of(tmp_path, data=(str(tmp_path / "mine.jsonl"),), **keys)
        assert len(list(read_jsonl(job.mix / "validation.jsonl"))) == 5
    told = capsys.readouterr().err
    assert all(f"{key} counts for nothing" in told for key in ("chat_template", "eot_tokens"))
