"""The questions of TC-Eval's tasks, as their files hold them.

    for question in read_extracts(Path("DRCD_test.json.gz"), "drcd"): print(question.id, question.references)

Every file may be gzipped. Where it sits: **questions** -> answer -> suites.
"""

import contextlib
import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from evaluation.errors import EvaluationError
from evaluation.item_file import read_bytes
from evaluation.suite import Item
from evaluation.tc_eval.answer import LETTERS

LANGUAGE = "zh-TW"


@dataclass(frozen=True, slots=True, kw_only=True)
class Extract(Item):
    """A question whose answer is a part of its paragraph: DRCD, FGC. Ids count the file's questions from 0."""

    paragraph: str
    question: str
    references: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MultipleChoice(Item):
    """A question with lettered options: TTQA, Penguins, TMMLU."""

    question: str
    options: tuple[str, ...]
    """Empty in TMMLU, whose questions hold their options."""
    answer: str
    """A letter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Review(Item):
    """A review with its sentiment: IMDB-TC. Ids count the file's rows from 0."""

    text: str
    label: int
    """1 is positive, 0 negative."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Article(Item):
    """An article with its summary in one sentence: XSum-TC. Ids count the file's rows from 0."""

    document: str
    summary: str


def read_extracts(path: Path, suite: str) -> list[Extract]:
    """DRCD's own file, FGC's own file, or TC-Eval's form of either.

    Raises:
        EvaluationError: another layout.
    """
    value = _json(path)
    with _layout(path, "questions with a paragraph and answers (DRCD_test.json, FGC_official_final.json)"):
        return [
            Extract(
                suite=suite,
                language=LANGUAGE,
                id=str(number),
                paragraph=_text(paragraph),
                question=_text(question),
                references=references,
            )
            for number, (paragraph, question, references) in enumerate(_extracts(value))
        ]


def _extracts(value: Any) -> Iterator[tuple[Any, Any, tuple[str, ...]]]:
    if isinstance(value, list):  # FGC
        for document in value:
            for question in document["QUESTIONS"]:
                yield document["DTEXT"], question["QTEXT"], _references([question["ANSWER"]])
    elif isinstance(value.get("data"), list):  # DRCD
        for article in value["data"]:
            for paragraph in article["paragraphs"]:
                for question in paragraph["qas"]:
                    answers = [answer["text"] for answer in question["answers"]]
                    yield paragraph["context"], question["question"], _references(answers)
    else:  # TC-Eval's preprocessed form of both
        for question in value.values():
            yield question["paragraph"], question["question"], _references(question["references"])


def read_multiple_choice(path: Path, suite: str) -> list[MultipleChoice]:
    """TTQA and Penguins: an object of `{question, choices, answer}` by id.

    Raises:
        EvaluationError: another layout.
    """
    with _layout(path, "an object of {question, choices, answer} by id"):
        return [
            MultipleChoice(
                suite=suite,
                language=LANGUAGE,
                id=key,
                question=_text(row["question"]),
                options=tuple(map(_text, row["choices"])),
                answer=_letters(row["choices"])[row["answer"]],
            )
            for key, row in _json(path).items()
        ]


def _letters(options: Sequence[Any]) -> Mapping[int, str]:
    return dict(enumerate(LETTERS[: len(options)]))


def read_subjects(path: Path, suite: str) -> list[MultipleChoice]:
    """TMMLU: JSON lines of `{subject, id, question, answer}`, or a folder of a CSV for each subject.

    A subject's CSV is `SUBJECT.csv` or `SUBJECT/data.csv`; ids count its rows from 0.

    Raises:
        EvaluationError: another layout, or no question.
    """
    if not path.is_dir():
        with _layout(path, "JSON lines of {subject, id, question, answer}"):
            rows = [orjson.loads(line) for line in read_bytes(path).split(b"\n") if line.strip()]
            return [_of_subject(suite, r["subject"], str(r["id"]), r["question"], r["answer"]) for r in rows]
    files = sorted([*path.glob("*.csv"), *path.glob("*/data.csv"), *path.glob("subjects/*/data.csv")])
    if not files:
        raise EvaluationError(f"{path}: no SUBJECT.csv or SUBJECT/data.csv in it. Give the folder of TMMLU's subjects.")
    return [question for file in files for question in _read_subject(file, suite)]


def _read_subject(path: Path, suite: str) -> list[MultipleChoice]:
    subject = path.parent.name if path.name == "data.csv" else path.stem
    with _layout(path, "columns content.Q and content.A"):
        return [
            _of_subject(suite, subject, str(number), row["content.Q"], row["content.A"])
            for number, row in enumerate(_csv(path))
        ]


def _of_subject(suite: str, subject: Any, number: str, question: Any, answer: Any) -> MultipleChoice:
    if len(_text(answer)) != 1 or answer not in LETTERS:
        raise ValueError(f"answer {answer!r}")
    part = f"{suite}/{_text(subject)}"
    return MultipleChoice(suite=part, language=LANGUAGE, id=number, question=_text(question), options=(), answer=answer)


def read_reviews(path: Path, suite: str) -> list[Review]:
    """IMDB-TC: a CSV with columns `text` and `label`; ids count its rows from 0.

    Raises:
        EvaluationError: another layout.
    """
    with _layout(path, "columns text and label, which is 0 or 1"):
        return [
            Review(
                suite=suite,
                language=LANGUAGE,
                id=str(number),
                text=_text(row["text"]),
                label=("0", "1").index(row["label"].strip()),
            )
            for number, row in enumerate(_csv(path))
        ]


MOST_CHARACTERS = 1024
"""TC-Eval cuts a document there."""


def read_articles(path: Path, suite: str) -> list[Article]:
    """XSum-TC: a CSV with columns `document` and `summary`; ids count its rows from 0, line ends become spaces.

    Raises:
        EvaluationError: another layout.
    """
    with _layout(path, "columns document and summary"):
        return [
            Article(
                suite=suite,
                language=LANGUAGE,
                id=str(number),
                document=_text(row["document"]).replace("\n", " ")[:MOST_CHARACTERS],
                summary=_text(row["summary"]).replace("\n", " "),
            )
            for number, row in enumerate(_csv(path))
        ]


@contextlib.contextmanager
def _layout(path: Path, expected: str) -> Iterator[None]:
    """A file of another layout is the user's mistake, wherever its reading fails.

    Raises:
        EvaluationError: names the file, what was not found, and what is expected.
    """
    try:
        yield
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, csv.Error) as e:
        what = f"{type(e).__name__}: {e}"
        raise EvaluationError(f"{path}: not the layout of this task ({what}). Expected: {expected}.") from e


def _json(path: Path) -> Any:
    try:
        return orjson.loads(read_bytes(path))
    except orjson.JSONDecodeError as e:
        raise EvaluationError(f"{path}: not JSON ({e}). Give the task's own file.") from e


def _csv(path: Path) -> Iterator[dict[str, str]]:
    text = read_bytes(path).decode("utf-8-sig")
    return csv.DictReader(io.StringIO(text, newline=""), strict=True)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _references(values: Sequence[Any]) -> tuple[str, ...]:
    texts = tuple(_text(value) for value in values)
    if not texts:
        raise ValueError("a question without answers")
    return texts
