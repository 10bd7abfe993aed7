import ast
import csv
from dataclasses import replace
from pathlib import Path

import pytest

from curation.errors import SelectionError
from curation.licence import LicencePolicy
from curation.select import (
    WINNER_CATEGORIES,
    Kind,
    SelectionRules,
    judge,
    judge_header,
    kind_of,
    read_kind_overrides,
    read_task_list,
)
from curation.task import Instance, Task, read_task

DATA = Path(__file__).parents[1] / "data" / "tasks"


def task(*outputs: str, definition: str = "Answer yes or no.") -> Task:
    base = read_task(DATA / "task1_even_or_odd.json").task
    instances = tuple(Instance(id=str(n), input=str(n), outputs=(o,)) for n, o in enumerate(outputs))
    return replace(base, definition=definition, instances=instances)


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


def test_labels_named_in_the_definition_make_exact_match() -> None:
    evidence = kind_of(task("yes", "no", "No.", "yes", "perhaps not"))
    assert evidence.kind is Kind.EXACT_MATCH
    assert evidence.in_definition == 0.8


def test_single_words_make_exact_match_and_sentences_generation() -> None:
    assert kind_of(task("alpha", "beta", "gamma")).kind is Kind.EXACT_MATCH
    assert kind_of(task("a long answer", "another long one", "third")).kind is Kind.GENERATION


def test_a_label_inside_another_word_does_not_count() -> None:
    assert kind_of(task("an x", "an x", definition="A banana x-ray")).in_definition == 0.0


def test_an_override_wins_and_is_told() -> None:
    evidence = kind_of(task("yes", "no"), {"task1_even_or_odd": Kind.GENERATION})
    assert evidence.kind is Kind.GENERATION
    assert evidence.overridden


def test_lists_are_read_in_canonical_spelling(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("# chosen\n\ntask4_title-v1.2_x\n")
    assert read_task_list(tmp_path / "list.txt") == ["task4_title_v1"]
    (tmp_path / "kinds.txt").write_text("task4_title-v1.2_x generation\n")
    assert read_kind_overrides(tmp_path / "kinds.txt") == {"task4_title_v1": Kind.GENERATION}


@pytest.mark.parametrize("content", [None, "", "# nothing\n"])
def test_a_missing_or_empty_list_is_an_error(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "list.txt").write_text(content)
    with pytest.raises(SelectionError, match="--task-list"):
        read_task_list(tmp_path / "list.txt")


def test_a_wrong_override_is_told_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "kinds.txt").write_text("task1 generation\ntask2 poetry\n")
    with pytest.raises(SelectionError, match=r"kinds\.txt:2"):
        read_kind_overrides(tmp_path / "kinds.txt")


def test_the_rules_find_the_winners_tasks_among_all(shared_data: Path) -> None:
    """564 tasks kept, 461 of the winner's 462 among them: the figures in the module's docstring."""
    with (shared_data / "natural-instructions" / "ni_tasks.tsv").open() as f:
        rows = list(csv.DictReader(f, delimiter="\t"))
    assert {r["category_flan"] for r in rows if r["selected_by_winner"] == "1"} == WINNER_CATEGORIES
    kept = [
        r
        for r in rows
        if judge_header(
            name=r["task"],
            languages=ast.literal_eval(r["languages"]),
            categories=[r["category_flan"]],
            licences=[],
            rules=SelectionRules(),
            is_mmlu=r["mmlu"] == "1",
        ).keep
    ]
    hits = sum(r["selected_by_winner"] == "1" for r in kept)
    assert (len(kept), hits, sum(r["selected_by_winner"] == "1" for r in rows)) == (564, 461, 462)


def test_kinds_agree_with_an_independent_list(shared_data: Path) -> None:
    """Measured elsewhere: .992 of tasks agree on `>= 80 % of outputs stand in the Definition`."""
    folder = shared_data / "natural-instructions"
    with (folder / "ni_tasks.tsv").open() as f:
        listed = {
            r["task"].split(".")[0].replace("-", "_"): r["icil_classification"]
            for r in csv.DictReader(f, delimiter="\t")
        }
    agree = total = 0
    for path in sorted((folder / "tasks").glob("*.json")):
        name = path.stem.split(".")[0].replace("-", "_")
        if name in listed:
            total += 1
            agree += (kind_of(read_task(path).task).in_definition >= 0.8) == (listed[name] == "1")
    assert total > 100
    assert agree / total >= 0.9
