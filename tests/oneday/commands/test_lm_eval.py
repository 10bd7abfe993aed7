"""`oneday evaluate --lm-eval` with the real lm_eval, on task files written here and a tiny model."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from core.example.prompt import training_prompt
from core.files import read_jsonl
from core.lm_eval_figure import LmEvalFigure, read_figures, record_figures
from oneday.demo.demo import DEMO_BASE
from tests.evaluation.capitals import write
from tests.oneday.commands.test_evaluate import GOOD, ITEMS, responses
from tests.oneday.test_cli import last_json, run

WORDS = ["apple, lamp, saw", "lamp, saw", "saw, peach"]
TASK = {
    "dataset_path": "json", "test_split": "test", "doc_to_text": "{{q}}", "doc_to_target": "{{a}}",
    "metadata": {"version": 1.0},
}  # fmt: skip
MEAN = [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}]
FIRST: Mapping[str, object] = {
    **TASK, "task": "first_word", "output_type": "generate_until", "metric_list": MEAN,
    "generation_kwargs": {"until": ["\n"], "max_gen_toks": 8, "do_sample": False},
}  # fmt: skip
CHOICE: Mapping[str, object] = {
    **TASK, "task": "first_choice", "output_type": "multiple_choice", "doc_to_choice": "{{options}}",
    "doc_to_target": 0, "target_delimiter": "",
}  # fmt: skip


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    pytest.importorskip("lm_eval", reason="lm_eval, which Axolotl brings, is not installed")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    rows = [
        {"q": training_prompt("Write the first word of the list.", text), "a": text.split(",")[0], "options": ["", "x"]}
        for text in WORDS
    ]
    documents = [{**row, "options": [row["a"], "zzz"]} for row in rows]
    data = {"data_files": {"test": str(write(tmp_path / "docs.jsonl", documents))}}
    (tmp_path / "tasks").mkdir()
    for task in (FIRST, CHOICE):
        path = tmp_path / "tasks" / f"{task['task']}.yaml"
        path.write_text(yaml.safe_dump({**task, "dataset_kwargs": data}))
    write(tmp_path / "items.jsonl", ITEMS)
    return tmp_path


@pytest.mark.slow
def test_the_tasks_of_a_folder_stand_beside_a_suite(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The demo base is right about the first word; lm_eval's errors are those of three documents."""
    files = ["--items", "items.jsonl", "--responses", responses(place / "r.jsonl", 6)]
    harness = ["--lm-eval", "tasks", "--model", DEMO_BASE]
    assert run("evaluate", "ifeval", *files, *harness, "--out", "out", "--json") == 0
    found = last_json(capsys)
    assert found["metrics"]["prompt_strict"]["k"] == 6
    figures = {(f["task"], f["metric"]): f for f in found["lm_eval"]["figures"]}
    assert set(figures) == {("first_choice", "acc"), ("first_choice", "acc_norm"), ("first_word", "exact_match")}
    first = figures["first_word", "exact_match"]
    samples = [row for row in read_jsonl(place / "out" / "lm_eval_samples.jsonl") if row["task"] == "first_word"]
    shares = [float(row["exact_match"]) for row in samples]
    assert [row["resps"][0][0] == row["target"] for row in samples] == [share == 1.0 for share in shares]
    assert first["value"] == pytest.approx(sum(shares) / 3)
    variance = sum((share - first["value"]) ** 2 for share in shares) / 2
    assert first["stderr"] == pytest.approx((variance / 3) ** 0.5)
    page = (place / "out" / "report.html").read_text()
    assert f"lm_eval {found['lm_eval']['version']}: {DEMO_BASE}" in page
    assert GOOD in page


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--lm-eval", "tasks"], "--model is missing: which model lm_eval asks"),
        (["--lm-eval", "tasks", "--model", "http://127.0.0.1:9/v1"], "lm_eval loads the model itself"),
        (["--lm-eval", "docs.jsonl", "--model", DEMO_BASE], "docs.jsonl: lm_eval has no such task"),
        (["--lm-eval", "broken.yaml", "--model", DEMO_BASE], "broken.yaml: no task file of lm_eval"),
        (["--lm-eval", "tasks", "--model", DEMO_BASE, "--chat-template"], "its tokenizer has no chat template"),
        (["ifeval", "--items", "items.jsonl"], "--responses is missing: ifeval needs it"),
        ([], "nothing to evaluate. Name a suite (ifeval, "),
    ],
)
@pytest.mark.slow
def test_what_cannot_be_asked_is_one_line(
    place: Path, capsys: pytest.CaptureFixture[str], arguments: list[object], message: str
) -> None:
    (place / "broken.yaml").write_text("task: [a, b]\n")
    assert run("evaluate", *arguments) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ")
    assert message in error


def test_a_run_keeps_the_figures_of_several_calls(tmp_path: Path) -> None:
    def figure(task: str, value: float) -> LmEvalFigure:
        return LmEvalFigure(task=task, metric="acc", filter="none", value=value, stderr=None, num=3)

    assert read_figures(tmp_path) == ()
    record_figures(tmp_path, "0.4.11", [figure("b", 0.5), figure("a", 0.25)])
    record_figures(tmp_path, "0.4.11", [figure("b", 0.75)])
    assert [(f.task, f.value) for f in read_figures(tmp_path)] == [("a", 0.25), ("b", 0.75)]
    assert set(json.loads((tmp_path / "manifest.json").read_text())) == {"lm_eval", "versions"}
