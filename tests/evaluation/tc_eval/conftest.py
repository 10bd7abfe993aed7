"""Every task of TC-Eval with a few questions of our own, and one response to all of them."""

import json
from pathlib import Path
from typing import Any

import pytest

from evaluation.join import join
from evaluation.responses import Response, ResponseFile
from evaluation.scoring import Evaluation, evaluate
from evaluation.suite import Suite


def constant(suite: Suite[Any], text: str) -> Evaluation:
    rows = [Response(id=item.id, suite=item.suite, language=item.language, text=text) for item in suite.items()]
    responses = ResponseFile(path=Path("constant"), name="constant", sha256="", rows=tuple(rows), manifest=None)
    return evaluate(suite, join(suite, responses), responses)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Every task with two questions of its own."""
    reading = {
        "0": {"paragraph": "台北在北部。", "question": "在哪？", "references": ["北部", "北"]},
        "1": {"paragraph": "台南在南部。", "question": "在哪？", "references": ["南部"]},
    }
    choices = {
        "0": {"question": "問", "choices": ["甲", "乙"], "answer": 0},
        "1": {"question": "題", "choices": ["丙", "丁"], "answer": 1},
    }
    penguins = {"train-0": {"question": "幾隻？回答：", "choices": ["1", "10"], "answer": 1}}
    subjects = [
        {"subject": "化", "id": "0", "question": "問", "answer": "A"},
        {"subject": "物", "id": "0", "question": "題", "answer": "B"},
    ]
    files = {
        "DRCD_test.json": json.dumps(reading),
        "FGC_official_final.json": json.dumps([{"DTEXT": "文", "QUESTIONS": [{"QTEXT": "問", "ANSWER": "答"}]}]),
        "TTQA_mc.json": json.dumps(choices),
        "PenguinsInTable_TC.json": json.dumps(penguins),
        "tmmlu.jsonl": "".join(json.dumps(row) + "\n" for row in subjects),
        "test.csv": "text,label\n好看,1\n難看,0\n",
        "test_sub5000.csv": "document,summary\n長文,台北是台灣的首都。\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path
