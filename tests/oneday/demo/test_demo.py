"""The whole chain as a newcomer runs it. On a busy machine the demo extends its budget, so the result holds there."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from core.files import read_json, read_jsonl
from curation.ni.bucket import read_buckets
from oneday.demo.demo import band


def demo(run: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "oneday.cli", "demo", "--run", str(run), "--json"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_the_demo_runs_end_to_end_and_the_tuned_model_is_better(tmp_path: Path) -> None:
    first = demo(tmp_path / "demo")
    assert first.returncode == 0, first.stderr[-3000:]
    result = json.loads(first.stdout.splitlines()[-1])
    assert result["overall"]["p"] < 0.05
    assert result["overall"]["tuned"] > result["overall"]["base"]
    assert set(result["endpoints"]) == {"/process", "/tokenize", "/decode", "/health"}

    run = tmp_path / "demo"
    names = [
        "00_corpus",
        "01_tasks",
        "02_predictions",
        "03_scores",
        "04_samples",
        "05_mix",
        "05_table",
        "06_plan",
        "07_train",
    ]
    assert sorted(p.name for p in run.iterdir() if p.is_dir()) == [*names, "08_pick", "10_scores"]
    assert {band(bucket) for bucket in read_buckets(run / "03_scores" / "buckets.jsonl")} == {
        "solved",
        "half",
        "unsolved",
    }
    manifest = read_json(run / "manifest.json")
    assert {"versions", "curate", "train", "pick"} <= set(manifest)
    assert manifest["train"]["ledger"]["overshoot_s"] == 0
    assert manifest["train"]["recipe"]["load_in_4bit"]
    trained = {row["input"] for row in read_jsonl(run / "05_mix" / "train.jsonl")}
    assert not trained & {row["input"] for row in read_jsonl(run / "10_scores" / "answers.jsonl")}

    second = demo(run)
    assert second.returncode == 0, second.stderr[-3000:]
    assert "training had finished before" in second.stderr
    assert json.loads(second.stdout.splitlines()[-1])["overall"] == result["overall"]
