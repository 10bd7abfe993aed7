"""`oneday evaluate` as a person types it: files, exit codes, the last line."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from core.files import file_sha256
from evaluation.suites import load_suite
from tests.evaluation.capitals import write
from tests.oneday.test_cli import last_json, run

KINDS = ["punctuation:no_comma", "length_constraints:number_words"]
ITEMS = [
    {
        "key": key,
        "prompt": f"Say {key} without a comma, in less than five words.",
        "instruction_id_list": KINDS,
        "kwargs": [{}, {"relation": "less than", "num_words": 5}],
    }
    for key in range(1, 9)
]
GOOD, BAD = "Only three words.", "One, two, three, four, five."


def responses(path: Path, num_good: int, *, num: int = 8) -> Path:
    texts = [GOOD] * num_good + [BAD] * (num - num_good)
    return write(path, [{"key": key, "response": text} for key, text in enumerate(texts, start=1)])


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "input_data.jsonl", ITEMS)
    return tmp_path


def evaluated(place: Path, capsys: pytest.CaptureFixture[str], *more: object) -> dict[str, Any]:
    assert run("evaluate", "ifeval", "--items", place, "--json", *more) == 0
    return last_json(capsys)


def test_the_last_line_has_metrics_breakdowns_and_counts(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = evaluated(place, capsys, "--responses", responses(place / "r.jsonl", 6))
    assert list(found)[:6] == ["suite", "responses", "metrics", "by", "unexpected", "not_run"]
    assert (found["suite"], found["responses"]) == ("ifeval", str(place / "r.jsonl"))
    assert list(found["metrics"]) == ["prompt_strict", "instruction_strict", "prompt_loose", "instruction_loose"]
    strict = found["metrics"]["prompt_strict"]
    assert (list(strict), strict["k"], strict["n"], strict["value"]) == (["k", "n", "value", "interval"], 6, 8, 0.75)
    assert strict["interval"] == pytest.approx([0.4093, 0.9285], abs=1e-4)
    assert found["by"]["category"]["punctuation"]["instruction_strict"]["k"] == 6
    assert (found["unexpected"], found["not_run"]) == (0, {})


def test_the_results_stand_in_files_and_name_what_they_rest_on(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = evaluated(place, capsys, "--responses", responses(place / "r.jsonl", 6))
    folder = place / "runs" / "scores" / "ifeval-r"
    scores = json.loads((folder / "scores.json").read_text())
    manifest = scores.pop("manifest")
    assert scores == found
    assert manifest["responses_sha256"] == {str(place / "r.jsonl"): file_sha256(place / "r.jsonl")}
    assert manifest["suite_sha256"] == load_suite("ifeval", place, {}).fingerprint()
    assert len((folder / "items.jsonl").read_text().splitlines()) == 8
    assert "6 of 8" in (folder / "report.html").read_text()


def test_another_file_adds_paired_differences(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    worse = responses(place / "worse.jsonl", 1)
    found = evaluated(place, capsys, "--responses", responses(place / "r.jsonl", 8), "--against", worse)
    against = found["against"]
    assert against["metrics"]["prompt_strict"]["k"] == 1
    assert against["differences"]["prompt_strict"]["value"] == 0.875
    assert against["differences"]["prompt_strict"]["distinguished"] is True
    assert evaluated(place, capsys, "--responses", worse, "--against", worse)["against"]["differences"][
        "prompt_strict"
    ] == {"value": 0.0, "interval": [0.0, 0.0], "distinguished": False}


def test_the_same_command_gives_the_same_bytes(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = responses(place / "r.jsonl", 5)
    digests = []
    for _ in range(2):
        evaluated(place, capsys, "--responses", path, "--out", place / "out")
        digests.append({p.name: file_sha256(p) for p in (place / "out").iterdir()})
        shutil.rmtree(place / "out")
    assert digests[0] == digests[1]
    assert set(digests[0]) == {"scores.json", "items.jsonl", "report.html"}


def test_missing_items_count_as_failed_where_that_is_asked_for(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = responses(place / "r.jsonl", 4, num=4)
    assert run("evaluate", "ifeval", "--items", place, "--responses", path) == 2
    assert "no response for 4 of 8 items of ifeval: 5, 6, 7, 8." in capsys.readouterr().err
    assert run("evaluate", "ifeval", "--items", place, "--responses", path, "--partial", "--json") == 0
    seen = capsys.readouterr()
    found = json.loads(seen.out.splitlines()[-1])
    assert (found["metrics"]["prompt_strict"]["k"], found["metrics"]["prompt_strict"]["n"], found["missing"]) == (
        4,
        8,
        4,
    )
    assert "ifeval: r.jsonl, partial" in seen.out
    assert "partial: items without a response, which count as failed: 4" in seen.err


def test_the_published_responses_in_one_command(
    shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = shared_data / "ifeval"
    code = run(
        "evaluate", "ifeval", "--items", data, "--responses", data / "gpt4_responses.jsonl", "--out", tmp_path, "--json"
    )
    assert code == 0
    seen = capsys.readouterr()
    found = json.loads(seen.out.splitlines()[-1])
    assert [(f["k"], f["n"]) for f in found["metrics"].values()] == [(417, 541), (698, 834), (431, 541), (714, 834)]
    assert found["by"]["subset"]["510"]["instruction_strict"]["k"] == 649
    assert found["prompts_differ"] == 1
    assert "responses to another wording of the prompt: 1 (2785)" in seen.err
