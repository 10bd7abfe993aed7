"""What `check --training` lists is what a training leaves out."""

import json
import random
import re
from pathlib import Path
from typing import Any

import pytest

from core.encoding.long_example import LongExamples
from core.files import read_jsonl
from harness.base_model import load_tokenizer
from harness.data.check import check_training
from harness.data.dataset import prepare_dataset
from harness.data.own_mix import OwnMixParameters, own_mix
from harness.data.share import DataFile

PIECES = [
    {"instruction": "Say it.", "output": "yes"},
    {"instruction": "Say it.", "output": ""},
    {"instruction": "Say it all.", "output": "word " * 40},
    {"text": "A line.\n\n" * 12},
    {"text": ""},
    {"messages": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]},
    {"messages": [{"role": "user", "content": "Why?"}]},
    {"messages": [{"role": "user", "content": "<|im_end|>"}, {"role": "assistant", "content": "So."}]},
    {"prompt": "Why?", "chosen": "So.", "rejected": "No."},
    {"score": 3},
]


@pytest.mark.parametrize("seed", range(12))
def test_a_training_leaves_out_what_the_check_lists_and_nothing_else(
    tmp_path: Path, demo_base: Path, seed: int
) -> None:
    rng = random.Random(seed)
    rows: list[dict[str, Any]] = [rng.choice(PIECES) | {"id": str(n % 17)} for n in range(rng.randint(2, 24))]
    path = tmp_path / "mine.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    files, parameters = [DataFile(str(path))], OwnMixParameters(seed=seed)
    choice = rng.choice(list(LongExamples))
    listed = check_training(files, parameters, base=demo_base, sequence_len=48, long_examples=choice)
    places = [dropped.source for dropped in (*listed.problems, *listed.left_out)]
    out = tmp_path / "table"
    if listed.failure:
        assert re.search("no usable example|at least two|none of . rows can be trained on", listed.failure)
        return
    stage = own_mix(tmp_path / "run", files, parameters, tokenizer=load_tokenizer(demo_base))
    prepare_dataset(stage.directory, base=demo_base, sequence_len=48, out=out, long_examples=choice)
    parts = ("train", "validation")
    trained = {row_id for part in parts for row_id in _ids(out / f"{part}.parquet")}
    lines = [line for part in parts for line in read_jsonl(stage.path(f"{part}.jsonl"))]
    used = {line["origin"] for line in lines if line["id"] in trained or f"{line['id']}#1" in trained}
    assert len(places) == len(set(places)), "each record once"
    assert {f"{path}:{n}" for n in range(1, len(rows) + 1)} - set(places) == used


def _ids(table: Path) -> list[str]:
    import pyarrow.parquet

    found: list[str] = pyarrow.parquet.read_table(table, columns=["id"])["id"].to_pylist()
    return found
