import subprocess
import sys
from dataclasses import is_dataclass
from importlib import import_module
from pathlib import Path

import pytest

from evaluation.errors import EvaluationError
from evaluation.ifeval import sentences
from evaluation.join import join
from evaluation.report import write_report
from evaluation.responses import read_responses
from evaluation.scoring import evaluate
from evaluation.suites import SUITES, load_suite
from tests.evaluation.capitals import write

DATA = Path(__file__).parents[1] / "data" / "ifeval"
ITEM = {"key": 1, "prompt": "No comma.", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}


def test_a_suite_is_loaded_from_its_file_or_from_a_folder() -> None:
    for path in (DATA, DATA / "ifeval_fi.jsonl"):
        assert len(load_suite("ifeval-fi", path, {}).items()) == 24


def test_parameters_are_read_as_text(tmp_path: Path) -> None:
    suite = load_suite("ifeval", write(tmp_path / "i", [ITEM]), {"letter_rule": "upstream", "letter_seed": "7"})
    assert suite.parameters() == {"letter_rule": "upstream", "letter_seed": 7, "language_prompts": True}


def test_prompts_that_ask_for_a_language_can_be_left_out(tmp_path: Path) -> None:
    asks = {"instruction_id_list": ["language:response_language"], "kwargs": [{"language": "fi"}]}
    path = write(tmp_path / "i", [ITEM, {**ITEM, **asks, "key": 2, "prompt": "In Finnish."}])
    asked = {value: load_suite("ifeval", path, {"language_prompts": value}) for value in ("true", "false")}
    assert [len(suite.items()) for suite in asked.values()] == [2, 1]
    with pytest.raises(EvaluationError, match=r"no item of ifeval in it\. Give the file"):
        load_suite("ifeval", write(tmp_path / "j", [{**ITEM, **asks}]), {"language_prompts": "false"})


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("ifevla", {}, r"suite ifevla: unknown \(did you mean ifeval\?\)\. Known are ifeval, "),
        ("ifeval", {"letter": "a"}, r"letter: no option of ifeval.* Its options: letter_rule, letter_seed"),
        ("ifeval", {"letter_rule": "strict"}, r"letter_rule=strict: Input should be 'literal' or 'upstream'"),
        ("ifeval", {"letter_seed": "x"}, r"letter_seed=x: Input should be a valid integer"),
    ],
)
def test_an_unknown_name_or_value_is_refused(tmp_path: Path, name: str, settings: dict[str, str], message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        load_suite(name, write(tmp_path / "i", [ITEM]), settings)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"key": 1, "prompt": "a"}, r"i: row 1 lacks instruction_id_list, kwargs: these are no IFEval prompts"),
        ({**ITEM, "kwargs": []}, r"i: row 1: instruction_id_list and kwargs must be lists of equal length"),
        ({**ITEM, "key": None}, r"i: row 1: prompt must be a text, key a number or a text"),
        ({**ITEM, "instruction_id_list": ["a:b"]}, r"i: key 1: unknown instruction type 'a:b'"),
        ('{"key": 1, "pro', r"i:1: not JSON"),
        ("", r"i: no prompt in it"),
    ],
)
def test_items_that_cannot_be_used_are_named(tmp_path: Path, row: object, message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        load_suite("ifeval", write(tmp_path / "i", [row]), {})  # type: ignore[list-item]


def test_a_key_that_stands_twice_and_a_folder_without_items_are_refused(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match=r"i: key 1 stands in two rows"):
        load_suite("ifeval", write(tmp_path / "i", [ITEM, ITEM]), {})
    with pytest.raises(EvaluationError, match=r"holds no input_data\.jsonl\. Give the file with the items of ifeval"):
        load_suite("ifeval", tmp_path, {})
    with pytest.raises(EvaluationError, match=r"gone: cannot be read"):
        load_suite("ifeval", tmp_path / "gone", {})


def test_a_missing_library_makes_the_metrics_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the items given: without an instruction that needs it, nothing is missing."""
    monkeypatch.setitem(sys.modules, "punkt", None)  # as if it were not installed: importing it fails
    sentences._punkt.cache_clear()
    counted = {**ITEM, "instruction_id_list": ["length_constraints:number_sentences"]}
    counted["kwargs"] = [{"relation": "at least", "num_sentences": 1}]
    assert load_suite("ifeval", write(tmp_path / "i", [ITEM]), {}).not_run() == {}
    suite = load_suite("ifeval", write(tmp_path / "i", [counted]), {})
    assert suite.not_run()["prompt_strict"] == "punkt not installed: pip install 'oneday-llm[eval]'"
    responses = read_responses(write(tmp_path / "r", [{"key": 1, "response": "Yes."}]))
    evaluation = evaluate(suite, join(suite, responses), responses)
    assert (evaluation.metrics, evaluation.by) == ({}, {})
    assert len(evaluation.not_run) == 4
    write_report(tmp_path / "page.html", evaluation, None)
    page = (tmp_path / "page.html").read_text()
    assert page.count("<b>not run</b>") == 4
    assert "right and wrong" not in page


def test_every_suite_of_the_list_is_there_under_its_name() -> None:
    for name, entry in SUITES.items():
        module = import_module(entry.module)
        assert is_dataclass(getattr(module, entry.parameters))
        getattr(module, entry.parameters)()
        assert callable(getattr(module, entry.load)), name
    assert set(SUITES) >= {
        "language", "spelling", "relevance", "judge", "modifiers", "drcd", "fgc", "ttqa", "penguins", "tmmlu",
        "xsum-tc", "imdb-tc",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("language", {"detector": "cld3"}, "detector=cld3: Input should be 'fasttext-lite' or 'langdetect'"),
        ("drcd", {"prompts": "mine"}, "prompts=mine: Input should be 'taiwan-llm' or 'tc-eval'"),
        ("judge", {"judge": "x"}, r"judge: no option of judge.* Its options: judge_url, "),
        ("modifiers", {"judge_retries": "two"}, "judge_retries=two: Input should be a valid integer"),
        ("judge", {"judge_retries": "-1"}, "judge_retries=-1: below 0"),
        ("language", {"max_characters": "-1"}, "max_characters=-1: below 0"),
        ("drcd", {}, r"none of DRCD_test\.json, preprocessed_DRCD_test\.json in it"),
        ("tmmlu", {}, r"no SUBJECT\.csv or SUBJECT/data\.csv in it"),
        ("language", {}, r"no alpacaeval_test_subset\.LANG\.jsonl in it"),
        ("judge", {}, r"none of judge_prompt\.txt in it"),
    ],
)
def test_parameters_and_folders_that_do_not_fit_are_refused(
    tmp_path: Path, name: str, settings: dict[str, str], message: str
) -> None:
    with pytest.raises(EvaluationError, match=message):
        load_suite(name, tmp_path, settings)


def test_the_list_of_suites_imports_none_of_them() -> None:
    heavy = ("nltk", "langdetect", "punkt", "numpy", "pydantic", "evaluation.ifeval")
    code = f"import sys, evaluation.suites; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    assert set(SUITES) >= {"ifeval", "ifeval-fi"}
