"""Questions that no training row repeats, and what an answer to one is worth.

questions = held_out_questions(Path("runs/200k/05_mix"), 200)
score_answer(questions[0], "Paris")

They are a run's validation rows: the picker saw their losses, nobody trained on them.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from core.example.prompt import training_prompt
from core.files import read_jsonl
from core.generation.request import Kind
from core.score import RougeL, ScoreParameters, exact_match, rouge_l_scorer
from evaluation.errors import EvaluationError

SEED = 4242


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One instance with its answer."""

    group: str
    task: str
    instruction: str
    input: str
    reference: str
    exact: bool
    """Right or wrong; else ROUGE-L."""

    @property
    def prompt(self) -> str:
        """As in training: no shots."""
        return training_prompt(self.instruction, self.input)


def held_out_questions(mix: Path, num: int) -> list[Question]:
    """`num` validation rows at random, always the same, in the order of the file; all if there are fewer.

    Raises:
        OnedayError: there is no row, or one lacks a text.
    """
    path = mix / "validation.jsonl"
    questions = [_question(row, f"{path}: row {number}") for number, row in enumerate(read_jsonl(path), start=1)]
    if not questions:
        raise EvaluationError(f"{path}: no rows in it. Give the mix of the run with `mix=`.")
    chosen = sorted(random.Random(SEED).sample(range(len(questions)), min(num, len(questions))))
    return [questions[number] for number in chosen]


def _question(row: Mapping[str, object], where: str) -> Question:
    """A row of any mix that can be trained on: one of somebody else's may not say where its rows are from."""
    instruction, text, output = row.get("instruction"), row.get("input"), row.get("output")
    if not (isinstance(instruction, str) and isinstance(text, str) and isinstance(output, str)):
        raise EvaluationError(f"{where} lacks instruction, input or output as text. Mend the row.")
    source = str(row.get("source", "mix"))
    return Question(
        group=source.replace("_", " ") if source.startswith("ni_") else source,
        task=str(row.get("task", "")),
        instruction=instruction,
        input=text,
        reference=output,
        exact=row.get("kind", "") == Kind.EXACT_MATCH or source == "ni_exact_match",
    )


def score_answer(question: Question, text: str) -> float:
    """In [0, 1]: exact match or ROUGE-L, by the choices of `recommended`."""
    if question.exact:
        return float(exact_match(text, [question.reference], ScoreParameters().normaliser))
    return _rouge_l()(text, [question.reference])


@cache
def _rouge_l() -> RougeL:
    return rouge_l_scorer(ScoreParameters())
