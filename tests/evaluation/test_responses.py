import gzip
import json
from pathlib import Path

import pytest

from evaluation.errors import EvaluationError
from evaluation.responses import (
    MAX_RESPONSE_CHARACTERS,
    Response,
    manifest_path,
    read_responses,
    write_responses,
)
from tests.evaluation.capitals import write

ROW = {"suite": "drcd", "id": "0", "language": "zh-TW", "response": "梵語"}


def test_what_is_written_is_read_again_with_its_manifest(tmp_path: Path) -> None:
    rows = [
        Response(
            id="7", suite="ifeval", text="Ei.\n", language="fi", expected_language="fi",
            prompt=[{"role": "user", "content": "Onko?"}], prompt_sha256="a" * 64, finish="stop", tokens=3,
            generation={"engine": "transformers", "max_new_tokens": 1280}, checkpoint={"name": "tuned", "sha256": "b"},
        ),
        Response(id="8", suite="ifeval", text="", language="fi"),
    ]  # fmt: skip
    manifest = write_responses(tmp_path / "r.jsonl", rows, suite_sha256="c", settings={"seed": 1})
    found = read_responses(tmp_path / "r.jsonl")
    assert [row.as_row() for row in found.rows] == [row.as_row() for row in rows]
    assert found.manifest == manifest
    assert (manifest.num_responses, manifest.suite_sha256, manifest.settings) == (2, "c", {"seed": 1})
    assert found.name == "tuned"
    assert json.loads((tmp_path / "r.jsonl").read_text().splitlines()[1])["response"] == ""


def test_a_row_without_what_the_contract_requires_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match=r"a response without language \(id 8\)"):
        write_responses(tmp_path / "r", [Response(id="8", suite="x", text="")], suite_sha256="c", settings={})
    assert not (tmp_path / "r").exists()


def test_a_file_that_changed_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    write_responses(path, [Response(id="8", suite="x", text="a", language="en")], suite_sha256="c", settings={})
    path.write_text(path.read_text().replace('"a"', '"b"'))
    with pytest.raises(EvaluationError, match=r"r\.jsonl: changed since it was written .*Restore it"):
        read_responses(path)
    manifest_path(path).unlink()
    assert read_responses(path).rows[0].text == "b"


@pytest.mark.parametrize("indent", [None, 2])
def test_the_recorded_forms_give_the_same_rows(tmp_path: Path, indent: int | None) -> None:
    lines = write(tmp_path / "lines", [{"task": "DRCD", "id": "0", "response": "梵語"}])
    with gzip.open(tmp_path / "lines.gz", "wt", encoding="utf-8") as f:
        f.write(lines.read_text())
    document = {"name": "Model", "results": {"DRCD": [{"id": 0, "response": "梵語"}]}}
    write(tmp_path / "document", [json.dumps(document, indent=indent)])
    found = [read_responses(tmp_path / name) for name in ("lines", "lines.gz", "document")]
    assert [(r.rows[0].suite, r.rows[0].id, r.rows[0].text) for r in found] == [("DRCD", "0", "梵語")] * 3
    assert [r.name for r in found] == ["lines", "lines.gz", "Model"]
    assert all(r.rows[0].recorded and r.manifest is None for r in found)


def test_an_ifeval_row_has_its_key_or_its_prompt_alone(tmp_path: Path) -> None:
    rows = read_responses(write(tmp_path / "r", [{"prompt": "a", "response": "b"}, {"key": 7, "response": "c"}])).rows
    assert [(row.id, row.prompt, row.suite) for row in rows] == [(None, "a", None), ("7", None, None)]


def test_the_word_results_in_a_first_line_does_not_make_it_a_document(tmp_path: Path) -> None:
    found = read_responses(write(tmp_path / "r", [{"task": "t", "id": "1", "response": 'its "results"'}, "", ROW]))
    assert [row.suite for row in found.rows] == ["t", "drcd"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ('{"suite": "drcd", "id": "0", "resp', r"r:1: not JSON .*Mend or remove the line"),
        ("[1]", r"r:1: not a JSON object"),
        ({"answer": "a", "question": "b"}, r"r:1: has answer, question; a response needs suite and id, task and id"),
        ({**ROW, "response": None}, r"r:1: no response\. An empty one is written as"),
        ({**ROW, "response": 5}, r"r:1: a response that is no text \(int\)"),
        ({**ROW, "id": 1.5}, r"r:1: its id is 1\.5; it must be a text or a whole number"),
        ({**ROW, "prompt": [{"role": "user"}]}, r"r:1: prompt is neither a text nor a list of"),
        ({**ROW, "generation": "greedy"}, r"r:1: generation is no object"),
        ({**ROW, "finish": "eos"}, r"r:1: tokens must be a number of tokens, finish stop or length"),
        ({**ROW, "language": 5}, r"r:1: language is no text"),
        ({"key": None, "response": "a"}, r"r:1: neither id, key nor prompt says what it answers"),
        ({"results": {"DRCD": [{"response": "a"}]}}, r"r: results\.DRCD\[0\]: neither id, key nor prompt says"),
        ({"results": {"DRCD": [5]}}, r"r: results\.DRCD is not a list of \{id, response\}"),
        ("", r"r: no response in it"),
    ],
)
def test_a_row_that_cannot_be_used_is_named(tmp_path: Path, row: object, message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        read_responses(write(tmp_path / "r", [row]))  # type: ignore[list-item]


def test_one_response_of_100_mb_is_refused_in_one_line(tmp_path: Path) -> None:
    write(tmp_path / "r", [json.dumps({**ROW, "response": "@"}).replace("@", "x" * 100_000_000)])
    with pytest.raises(EvaluationError, match=r"r:1: a response of 100,000,000 characters; at most 1,000,000"):
        read_responses(tmp_path / "r")
    write(tmp_path / "r", [{**ROW, "response": "x" * MAX_RESPONSE_CHARACTERS}])
    assert len(read_responses(tmp_path / "r").rows[0].text) == MAX_RESPONSE_CHARACTERS


def test_a_file_that_is_not_there_or_not_whole_is_named(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match=r"gone: cannot be read \(No such file or directory\)"):
        read_responses(tmp_path / "gone")
    (tmp_path / "cut.gz").write_bytes(gzip.compress(json.dumps(ROW).encode() * 100)[:-20])
    with pytest.raises(EvaluationError, match=r"cut\.gz: cannot be read .*the file is whole"):
        read_responses(tmp_path / "cut.gz")
    whole = bytearray(gzip.compress(json.dumps(ROW).encode() * 100))
    for place in range(12, len(whole) - 8, 7):  # in the compressed part
        whole[place] ^= 0xFF
    (tmp_path / "flipped.gz").write_bytes(whole)
    with pytest.raises(EvaluationError, match=r"flipped\.gz: cannot be read .*the file is whole"):
        read_responses(tmp_path / "flipped.gz")
