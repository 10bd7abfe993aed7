import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from evaluation.errors import EvaluationError
from evaluation.suite import Item
from evaluation.tc_eval.questions import (
    read_articles,
    read_extracts,
    read_multiple_choice,
    read_reviews,
    read_subjects,
)


def test_drcd_counts_questions_in_the_order_of_the_file(tmp_path: Path) -> None:
    questions = [{"question": f"問{n}", "answers": [{"text": "一"}, {"text": "二"}]} for n in range(2)]
    articles = [
        {"paragraphs": [{"context": "文", "qas": questions}]},
        {"paragraphs": [{"context": "段", "qas": questions}]},
    ]
    path = tmp_path / "drcd.json.gz"
    path.write_bytes(gzip.compress(json.dumps({"version": "1", "data": articles}).encode()))
    read = read_extracts(path, "drcd")
    assert [(q.id, q.paragraph, q.question) for q in read] == [
        ("0", "文", "問0"), ("1", "文", "問1"), ("2", "段", "問0"), ("3", "段", "問1"),
    ]  # fmt: skip
    assert read[0].references == ("一", "二")


def test_fgc_is_read_as_it_is_published_and_as_tc_eval_preprocesses_it(tmp_path: Path) -> None:
    path = tmp_path / "fgc.json"
    path.write_text(json.dumps([{"DTEXT": "文", "QUESTIONS": [{"QTEXT": "問", "ANSWER": "答"}]}]))
    published = read_extracts(path, "fgc")
    path.write_text(json.dumps({"0": {"paragraph": "文", "question": "問", "references": ["答"]}}))
    assert read_extracts(path, "fgc") == published


def test_a_subjects_csv_counts_its_rows_and_may_hold_line_ends(tmp_path: Path) -> None:
    (tmp_path / "化學.csv").write_text(',content.A,content.Q\n0,D,"一\n(A) 二"\n1,E,三\n', encoding="utf-8")
    (tmp_path / "物理").mkdir()
    (tmp_path / "物理" / "data.csv").write_text("content.A,content.Q\nA,四\n", encoding="utf-8")
    read = read_subjects(tmp_path, "tmmlu")
    assert [(q.suite, q.id, q.question, q.answer) for q in read] == [
        ("tmmlu/化學", "0", "一\n(A) 二", "D"), ("tmmlu/化學", "1", "三", "E"), ("tmmlu/物理", "0", "四", "A"),
    ]  # fmt: skip


def test_an_article_is_cut_and_has_no_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "xsum.csv"
    path.write_text(f'document,summary\n"{"字" * 1000}\n{"文" * 100}","一\n二"\n', encoding="utf-8")
    (article,) = read_articles(path, "xsum-tc")
    assert len(article.document) == 1024
    assert article.document.endswith("字 " + "文" * 23)
    assert article.summary == "一 二"


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (read_extracts, '{"data": [{"paragraphs": [{"context": "文", "qas": [{"question": "問", "answers": []}]}]}]}'),
        (read_extracts, '{"0": {"paragraph": "文"}}'),
        (read_extracts, '{"0": {"para'),
        (read_multiple_choice, '{"0": {"question": "問", "choices": ["一", "二"], "answer": 2}}'),
        (read_multiple_choice, '[{"question": "問"}]'),
        (read_subjects, '{"subject": "化學", "id": "0", "question": "問", "answer": "F"}'),
        (read_subjects, '{"subject": "化學", "id": "0", "quest'),
        (read_reviews, "text,label\n好,2\n"),
        (read_reviews, "review,label\n好,1\n"),
        (read_articles, "document\n文\n"),
    ],
)
def test_another_layout_is_one_line_that_names_the_file(
    read: Callable[[Path, str], list[Item]], text: str, tmp_path: Path
) -> None:
    path = tmp_path / "items"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(EvaluationError) as error:
        read(path, "s")
    assert str(error.value).startswith(f"{path}: not ")
    assert "\n" not in str(error.value)
