"""`oneday evaluate` on real recorded responses and with a judge behind an HTTP server, as a person types it."""

import sys
from pathlib import Path

import pytest

from core.files import write_jsonl
from evaluation.crosslingual.instructions import read_instructions
from tests.evaluation.crosslingual.conftest import JudgeEndpoint, endpoint  # noqa: F401
from tests.oneday.test_cli import last_json, run


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_two_models_on_recorded_responses(place: Path, shared_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = shared_data / "tc_eval"
    ours, theirs = (folder / "responses" / f"{name}.jsonl.gz" for name in ("gpt3.5", "model_7c_chat"))
    assert run("evaluate", "ttqa", "--items", folder, "--responses", ours, "--against", theirs, "--json") == 0
    found = last_json(capsys)
    assert found["metrics"]["accuracy"] | {"interval": None} == {"k": 77, "n": 103, "value": 0.747573, "interval": None}
    assert found["against"]["differences"]["accuracy"]["value"] == pytest.approx(10 / 103, abs=1e-6)
    assert found["by"]["prompts"]["not recorded"]["first_character"]["k"] == 1
    assert found["parameters"]["prompts"] == "taiwan-llm"
    for suite, what in (
        ("fgc", "none of FGC_official_final.json"),
        ("language", "no alpacaeval_test_subset.LANG.jsonl"),
    ):
        assert run("evaluate", suite, "--items", folder, "--responses", ours) == 2
        assert what in capsys.readouterr().err


def test_a_judge_that_answers_and_one_that_answers_html(
    place: Path,
    shared_data: Path,
    endpoint: JudgeEndpoint,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = shared_data / "crosslingual"
    rows = [
        {"suite": "crosslingual", "language": item.language, "id": item.id, "response": item.text}
        for item in read_instructions(folder)
    ]
    write_jsonl(place / "r.jsonl", rows)
    judge = ["--set", f"judge_url={endpoint.url}"]
    arguments = ["evaluate", "relevance", "--items", folder, "--responses", "r.jsonl", *judge]
    endpoint.reply = lambda body: "1" if "kickball" in body["messages"][0]["content"] else "0"
    assert run(*arguments, "--json") == 0
    found = last_json(capsys)
    assert (found["metrics"]["relevance"]["k"], found["metrics"]["relevance"]["n"]) == (3, 452)
    assert found["parameters"]["judge"] == "openai:judge-1 chat"
    assert (place / "runs" / "judge" / "answers.jsonl").is_file()
    endpoint.html_at = "/models"
    assert run(*arguments) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert error == [f"error: judge_url: {endpoint.url}/models: no JSON. Check --set judge_url= (it ends in /v1)."]


def test_ratings_of_one_file_are_not_taken_for_another(
    place: Path, shared_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shared_data / "crosslingual"
    write_jsonl(place / "ratings.jsonl", [{"id": "0", "language": "en", "arm": "a", "rater": "p", "helpfulness": 1}])
    files = ["--responses", "r.jsonl", "--against", "other.jsonl", "--set", "ratings=ratings.jsonl"]
    assert run("evaluate", "judge", "--items", folder, *files) == 2
    assert capsys.readouterr().err.strip().splitlines() == [
        "error: --against other.jsonl: people's ratings are of one file of responses. Evaluate each file with its own."
    ]


def test_a_missing_library_leaves_a_table_that_says_so(
    place: Path, shared_data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "hunspell", None)  # as if it were not installed
    folder = shared_data / "crosslingual"
    items = read_instructions(folder)
    write_jsonl(
        place / "r.jsonl", [{"task": "crosslingual", "language": i.language, "id": i.id, "response": ""} for i in items]
    )
    assert run("evaluate", "spelling", "--items", folder, "--responses", "r.jsonl", "--json") == 0
    found = last_json(capsys)
    assert found["metrics"] == {}
    assert found["not_run"]["micro"] == "hunspell not installed: pip install 'oneday-llm[eval]'"
