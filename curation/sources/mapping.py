"""Maps a source's record to instruction, input and output: one function per source.

Where it sits: record -> **mapping** -> row.
"""

import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from core.errors import MixError
from curation.sources.source import (
    MATHINSTRUCT,
    PLATYPUS,
)

Record = Mapping[str, Any]


PLATYPUS_LLM_PARTS = ("airoboros", "guanaco", "leetcode_ne", "tigerbot-kaggle")
"""Parts of Open-Platypus whose answers a language model wrote, or is suspected to have written: 4,888 of 24,926 rows.
airoboros and leetcode_ne are GPT-4's by their cards. Which parts the winner left out was not published."""


PLATYPUS_LICENCES = {
    "MATH/PRM-800K": "MIT",
    "reclor": "Non-commercial",
    "airoboros": "CC BY-NC 4.0",
    "scienceqa": "CC BY-NC-SA 4.0",
    "leetcode_ne": "Unknown",
    "guanaco": "Apache 2.0",
    "ARB": "CC BY 4.0",
    "scibench": "MIT",
    "theoremqa": "MIT",
    "tigerbot-kaggle": "Apache 2.0",
}
"""Part -> licence. Source: the table of its card."""


MATH_HUMAN_PARTS = ("data/CoT/gsm_train.json", "data/CoT/aqua_rat.json", "data/CoT/MATH_train.json")
"""Parts of MathInstruct with human-written answers in words. Source: the winner's script; about 104K rows."""


MATH_PROGRAMS = ("data/PoT/mathqa.json", "data/PoT/numglue.json")
"""Parts with human-written answers in Python. Left out, as the winner's scripts did with all that prints."""


MATH_LICENCES = {
    "CoT/aqua_rat": "Apache 2.0",
    "CoT/gsm_rft": "Unknown",
    "CoT/math50k_camel": "CC BY-NC 4.0",
    "PoT/aqua_rat_filtered": "Apache 2.0",
    "PoT/mathqa": "Apache 2.0",
    "PoT/numglue": "Apache 2.0",
}
"""Part -> licence, where its card's table has another one than MIT."""


class OpenBookQA(StrEnum):
    """Whose instruction OpenBookQA's questions get."""

    OWN = "own"
    """This project's instruction."""
    WINNER = "winner"
    """The instruction in the winner's `combine_datasets.py`."""


OPENBOOKQA_INSTRUCTIONS: Mapping[OpenBookQA, str] = {
    OpenBookQA.OWN: "Complete the sentence or answer the question with the one option that fits. Give its text.",
    OpenBookQA.WINNER: (
        "You are given an incomplete sentence along with a few reference completions. Only one of the reference "
        "completion is coherent and correct based on the context in sentence and all other reference completions are "
        "incorrect. Your task is to choose best matching completion from reference options and return that."
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordParameters:
    """How records are mapped to rows."""

    openbookqa: OpenBookQA = OpenBookQA.OWN
    """Whose instruction OpenBookQA's questions get."""

    lower_case_math: float = 0.0
    """Share of MathInstruct questions that are lower-cased. Source: .3 in the winner's script."""
    question_as_input: bool = False
    """Put questions without an input (LIMA, Open-Platypus, MathInstruct) under `### Input:`, as in the winner's file,
    instead of under `### Instruction:`."""
    seed: int = 2023

    def __post_init__(self) -> None:
        if not 0 <= self.lower_case_math <= 1:
            raise MixError(f"records.lower_case_math: {self.lower_case_math} is not in [0, 1]. The winner took 0.3.")


NO_ANSWER = "Not enough information"
"""Replaces QuAC's CANNOTANSWER. Source: HELM's QuAC scenario."""


_AFTER_HASHES = re.compile(r"\n?^####[ \t]*[-+$\d][^\n]*$", re.MULTILINE)
"""The final number that GSM8K puts after a worked answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapped:
    """The texts of a record."""

    instruction: str
    input: str
    output: str
    part: str = ""
    licence: str = ""
    """Licence of the part; empty: the source's licence."""
    llm_generated: bool = False
    left_out: str = ""
    """Why the row is left out; empty if it is not."""


def map_lima(record: Record, number: int, parameters: RecordParameters) -> Mapped:
    """The first turn of each conversation, as in the winner's mix."""
    turns = record["conversations"]
    if not isinstance(turns, list):
        raise TypeError("conversations is no list of turns")
    question, answer = turns[:2]
    return Mapped(instruction=question, input="", output=answer)


def map_platypus(record: Record, number: int, parameters: RecordParameters) -> Mapped:
    """The instruction and its answer, with the licence of its part."""
    part = record.get("data_source") or "unknown"
    return Mapped(
        instruction=record["instruction"],
        input=record.get("input") or "",
        output=record["output"],
        part=f"{PLATYPUS}/{part}",
        licence=PLATYPUS_LICENCES.get(part, "Unknown"),
        llm_generated=part in PLATYPUS_LLM_PARTS,
    )


def map_openbookqa(record: Record, number: int, parameters: RecordParameters) -> Mapped:
    """The question with its lettered choices; the answer is the letter with its text."""
    choices = dict(zip(record["choices"]["label"], record["choices"]["text"], strict=True))
    options = "\n".join(f"{label}. {text}" for label, text in choices.items())
    return Mapped(
        instruction=OPENBOOKQA_INSTRUCTIONS[parameters.openbookqa],
        input=f"{record['question_stem']}\n{options}",
        output=choices[record["answerKey"]],
    )


def map_quac(record: Record, number: int, parameters: RecordParameters) -> Mapped:
    """One turn of each dialogue, drawn at random, with the turns before it."""
    questions = record["questions"]
    answers = [
        NO_ANSWER if texts[0] == "CANNOTANSWER" else texts[0].removesuffix("CANNOTANSWER")
        for texts in record["answers"]["texts"]
    ]
    turn = random.Random(f"quac-{parameters.seed}-{number}").randrange(len(questions))
    before = "".join(f"Question: {q}\nAnswer: {a}\n" for q, a in zip(questions[:turn], answers[:turn], strict=True))
    passage = record["context"].removesuffix("CANNOTANSWER").strip()
    title, section = record["wikipedia_page_title"], record["section_title"]
    return Mapped(
        instruction=f"Answer the last question from the passage. If it holds no answer, write: {NO_ANSWER}",
        input=f"Title: {title}\nSection: {section}\nPassage: {passage}\n{before}Question: {questions[turn]}",
        output=answers[turn],
    )


def quac_dialogues(data: list[Any]) -> Iterator[Record]:
    """QuAC's original train_v0.2.json in the columns of its hub data set."""
    for article in data:
        for paragraph in article["paragraphs"]:
            yield {
                "wikipedia_page_title": article["title"],
                "section_title": article["section_title"],
                "context": paragraph["context"],
                "questions": [qa["question"] for qa in paragraph["qas"]],
                "answers": {"texts": [[answer["text"] for answer in qa["answers"]] for qa in paragraph["qas"]]},
            }


def map_cnn_dailymail(record: Record, number: int, parameters: RecordParameters) -> Mapped:
    """An article with its highlights as the answer."""
    return Mapped(
        instruction="Summarise the news article in a few short sentences.",
        input=record["article"],
        output=record["highlights"],
    )


def map_mathinstruct(record: Record, number: int, parameters: RecordParameters) -> Mapped:
    """A question with its worked answer, which is a program or a chain of thought depending on the part."""
    part = record["source"]
    question = record["instruction"]
    if random.Random(f"math-{parameters.seed}-{number}").random() < parameters.lower_case_math:
        question = question.lower()
    name = part.removeprefix("data/").removesuffix(".json")
    return Mapped(
        instruction=question,
        input="",
        output=_AFTER_HASHES.sub("", record["output"]),
        part=f"{MATHINSTRUCT}/{name}",
        licence=MATH_LICENCES.get(name, ""),
        llm_generated=part not in (*MATH_HUMAN_PARTS, *MATH_PROGRAMS),
        left_out="program" if part in MATH_PROGRAMS else "",
    )
