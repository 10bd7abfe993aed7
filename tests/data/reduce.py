"""Writes `tests/data/real`: reduced copies of the files of `../shared/data`, in the same layout.

    python -m tests.data.reduce

It takes only what its licence permits: tasks under Apache 2.0 or in the public domain, nothing of LIMA. README.md
beside this module names the source and the licence of each file.
"""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.conftest import REDUCED, SHARED

TASKS = (
    "task1147_country_currency",
    "task120_zest_text_modification",
    "task121_zest_text_modification",
    "task1317_country_calling_code",
    "task1320_country_domain_tld",
    "task1530_scitail1.1_sentence_generation",
    "task388_torque_token_classification",
    "task639_multi_woz_user_utterance_generation",
    "task835_mathdataset_answer_generation",
    "task859_prost_question_generation",
)
"""Labelled by hand, their labeller sure, five of each kind, licence Apache 2.0 or Public Domain."""
NUM_INSTANCES = 20
NUM_ASKED = 5
"""Of the 100 instances of each of the two tasks; each was asked with 17 or 23 prompts."""
NUM_QUESTIONS = 60
QUESTION_WORDS = 50
"""Of GSM8K the first questions with so many words."""
TASKS_STEP = 8
"""Of the list of all tasks every eighth."""
EXCEPTION = "task1422_mathqa_physics"
"""The one task that the winner took against the rules that explain the other 461."""


def reduced_task(document: dict[str, Any]) -> dict[str, Any]:
    """The first instances, and those without an answer, which the reader drops."""
    first = document["Instances"][:NUM_INSTANCES]
    empty = [i for i in document["Instances"][NUM_INSTANCES:] if not any(o.strip() for o in i["output"])]
    return document | {"Instances": [*first[: NUM_INSTANCES - len(empty)], *empty]}


def listed(rows: list[dict[str, str]]) -> Iterator[dict[str, str]]:
    """Every eighth task, the winner's first of each category, the exception, and the tasks above."""
    seen = set()
    for number, row in enumerate(rows):
        first = row["selected_by_winner"] == "1" and row["category_flan"] not in seen
        seen |= {row["category_flan"]} if first else set()
        if first or number % TASKS_STEP == 0 or row["task"] in (EXCEPTION, *TASKS):
            yield row


def table(source: Path, out: Path, keep: Any) -> None:
    with source.open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    with out.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter="\t", lineterminator="\n")
        writer.writeheader()
        writer.writerows(keep(rows))


def asked_first(predictions: list[str]) -> Iterator[str]:
    """All predictions for the first instances of each task."""
    first: dict[str, list[str]] = {}
    for line in predictions:
        row = json.loads(line)
        ids = first.setdefault(row["task"], [])
        if row["ni_id"] not in ids and len(ids) < NUM_ASKED:
            ids.append(row["ni_id"])
        if row["ni_id"] in ids:
            yield line


def lines(source: Path) -> list[str]:
    return source.read_text(encoding="utf-8").splitlines(keepends=True)


def main() -> None:
    for name in ("natural-instructions/tasks", "gpt3-predictions", "gsm8k", "leaderboard"):
        (REDUCED / name).mkdir(parents=True, exist_ok=True)
    ni = "natural-instructions"
    for name in TASKS:
        document = json.loads((SHARED / ni / "tasks" / f"{name}.json").read_bytes())
        text = json.dumps(reduced_task(document), indent=4, ensure_ascii=False)
        (REDUCED / ni / "tasks" / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    labels = "typing_labels.tsv"
    table(SHARED / ni / labels, REDUCED / ni / labels, lambda rows: [r for r in rows if r["task"] in TASKS])
    table(SHARED / ni / "ni_tasks.tsv", REDUCED / ni / "ni_tasks.tsv", listed)
    predictions = "gpt3-predictions/predictions.jsonl"
    (REDUCED / predictions).write_text("".join(asked_first(lines(SHARED / predictions))), encoding="utf-8")
    questions = "gsm8k/train.jsonl"
    long = [line for line in lines(SHARED / questions) if len(json.loads(line)["question"].split()) >= QUESTION_WORDS]
    (REDUCED / questions).write_text("".join(long[:NUM_QUESTIONS]), encoding="utf-8")
    board = "leaderboard/4090_full_ranks.json"
    (REDUCED / board).write_bytes((SHARED / board).read_bytes())


if __name__ == "__main__":
    main()
