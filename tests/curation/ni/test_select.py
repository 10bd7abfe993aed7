import ast
import csv
import hashlib
from pathlib import Path

import pytest

from core.errors import SelectionError
from core.generation.prediction import canonical_name
from core.generation.request import Kind
from curation.ni.select import (
    OWN_DATA,
    TASK_LISTS,
    WINNER_CATEGORIES,
    SelectionRules,
    judge,
    judge_header,
    read_kind_overrides,
    read_task_list,
)
from curation.ni.task import read_task
from curation.policies.licence import LicencePolicy
from tests.conftest import REDUCED

DATA = Path(__file__).parents[2] / "data" / "tasks"


def verdict(name: str, **rules: bool) -> str:
    return judge(read_task(DATA / name).task, SelectionRules(**rules)).reason  # type: ignore[arg-type]


def test_each_rule_names_itself() -> None:
    assert verdict("task1_even_or_odd.json") == "kept"
    assert verdict("task3_translate.json") == "language"
    assert verdict("task4_title-v1.2_x.json") == "non_commercial"
    assert verdict("task4_title-v1.2_x.json", licences=LicencePolicy.ALL) == "kept"


@pytest.mark.parametrize(
    ("name", "category", "reason"),
    [
        ("task1_mmmlu_law", "Question Answering", "mmlu"),
        ("task2_mathqa_gain", "Question Answering", "math_qa"),
        ("task519_aquamuse_question_generation", "Question Answering", "kept"),
        ("task3_x", "Question Generation", "category"),
        ("task4_x", "Basic Sentiment Analysis", "kept"),
    ],
)
def test_a_header_is_judged_by_name_and_category(name: str, category: str, reason: str) -> None:
    rules = SelectionRules()
    found = judge_header(name=name, languages=["English"], categories=[category], licences=["MIT"], rules=rules)
    assert found.reason == reason


@pytest.mark.parametrize("name", ["own_gsm8k", "own_my_mmlu_notes"])
def test_own_rows_are_not_left_out_for_the_name_of_their_file(name: str) -> None:
    kept = [
        judge_header(
            name=name, languages=["English"], categories=categories, licences=["MIT"], rules=SelectionRules()
        ).keep
        for categories in ([OWN_DATA, name], ["Question Answering"])
    ]
    assert kept == [True, False]


def test_lists_are_read_in_canonical_spelling(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("# chosen\n\ntask4_title-v1.2_x\n")
    assert read_task_list(tmp_path / "list.txt") == ["task4_title_v1"]
    (tmp_path / "kinds.txt").write_text("task4_title-v1.2_x generation\n")
    assert read_kind_overrides(tmp_path / "kinds.txt") == {"task4_title_v1": Kind.GENERATION}


@pytest.mark.parametrize("content", [None, "", "# nothing\n"])
def test_a_missing_or_empty_list_is_an_error(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "list.txt").write_text(content)
    with pytest.raises(SelectionError, match="`task_list=`"):
        read_task_list(tmp_path / "list.txt")


PUBLISHED_SHA256 = "d9dc1b0f4377b4aa836650292761c115baacde5eeadeea56c3a35adf9a301f60"
"""Of the published list's names as we write them, one a line."""


def test_the_winners_list_is_shipped_and_is_the_published_one() -> None:
    found = read_task_list(Path("birbal"))
    assert len(set(found)) == 462
    assert hashlib.sha256("\n".join(found).encode()).hexdigest() == PUBLISHED_SHA256


def test_the_published_list_has_the_digest_that_the_shipped_one_must_have(shared_data: Path) -> None:
    published = (shared_data / "natural-instructions" / "birbal_selected_tasks.txt").read_text().split()
    names = "\n".join(canonical_name(name) for name in published)
    assert hashlib.sha256(names.encode()).hexdigest() == PUBLISHED_SHA256


def test_the_shipped_list_says_whose_it_is() -> None:
    head = TASK_LISTS["birbal"].read_text()[:600]
    assert "Upaya07/NeurIPS-llm-efficiency-challenge" in head
    assert "Apache License 2.0" in head


def test_a_wrong_override_is_told_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "kinds.txt").write_text("task1 generation\ntask2 poetry\n")
    with pytest.raises(SelectionError, match=r"kinds\.txt:2"):
        read_kind_overrides(tmp_path / "kinds.txt")


def test_the_rules_find_the_winners_tasks_among_all(real_data: Path) -> None:
    """564 tasks kept, 461 of the winner's 462 among them: the figures in the module's docstring."""
    with (real_data / "natural-instructions" / "ni_tasks.tsv").open() as f:
        rows = list(csv.DictReader(f, delimiter="\t"))
    selected = {r["task"] for r in rows if r["selected_by_winner"] == "1"}
    assert {r["category_flan"] for r in rows if r["task"] in selected} == WINNER_CATEGORIES
    kept = {
        r["task"]
        for r in rows
        if judge_header(
            name=r["task"],
            languages=ast.literal_eval(r["languages"]),
            categories=[r["category_flan"]],
            licences=[],
            rules=SelectionRules(),
            is_mmlu=r["mmlu"] == "1",
        ).keep
    }
    assert selected - kept == {"task1422_mathqa_physics"}
    if real_data != REDUCED:
        assert (len(rows), len(kept), len(selected)) == (1_613, 564, 462)
