"""Questions that no training row repeats, and what an answer to one is worth.

questions = held_out_questions(Path("runs/200k/05_mix"), 200)
score_answer(questions[0], "Paris")

They are a run's validation rows: the picker saw their losses, nobody trained on them.
"""

import random
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from curation.prompt import training_prompt
from curation.score import Normaliser, RougeLScorer, exact_match
from curation.source import NI_EXACT_MATCH
from curation.stage import read_jsonl

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
    """`num` validation rows at random, always the same, in the order of the file; all if there are fewer."""
    rows = list(read_jsonl(mix / "validation.jsonl"))
    chosen = sorted(random.Random(SEED).sample(range(len(rows)), min(num, len(rows))))
    return [
        Question(
            group=row["source"].replace("_", " "),
            task=row["task"],
            instruction=row["instruction"],
            input=row["input"],
            reference=row["output"],
            exact=row["source"] == NI_EXACT_MATCH,
        )
        for row in (rows[number] for number in chosen)
    ]


def score_answer(question: Question, text: str) -> float:
    """In [0, 1]: exact match after normalisation, or ROUGE-L."""
    if question.exact:
        return float(exact_match(text, [question.reference], Normaliser.NORMALISED))
    return _rouge_l()(text, [question.reference])


@cache
def _rouge_l() -> RougeLScorer:
    return RougeLScorer()
