"""The suite `held-out`: questions that no training row repeats, and what an answer to one is worth.

    suite = HeldOut(held_out_questions(Path("runs/200k/05_mix"), 200))
    score_answer(suite.items()[0], "Paris")

The questions are a run's validation rows: the picker saw their losses, and nobody trained on them. An answer is right
or wrong where the task is scored by exact match, else it gets its ROUGE-L.

Where it sits: a suite like the others; base_against_tuned asks both models its questions.
"""

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import ClassVar

from core.example.example import Conversation, Message, Preference, Text, Unusable
from core.example.mix_line import read_line
from core.example.prompt import STOP
from core.files import read_jsonl
from core.generation.request import Kind
from core.run_folder import MIX
from core.score import RougeL, ScoreParameters, exact_match, rouge_l_scorer
from evaluation.errors import EvaluationError
from evaluation.responses import Instruction, Prompt, Response
from evaluation.suite import GenerationDefaults, Item, Metric, Outcome, Suite

NAME = "held-out"
SEED = 4242
SCORE, EXACT_MATCH, ROUGE_L = "score", "exact_match", "rouge_l"
GROUP = "group"
VALIDATION = "validation.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Question(Item):
    """One instance with its answer."""

    suite: str = NAME
    language: str = "en"
    id: str = ""
    """Empty: the suite numbers its questions."""
    group: str
    task: str
    instruction: str
    input: str
    reference: str
    exact: bool
    """Right or wrong; else ROUGE-L."""
    messages: tuple[Message, ...] = ()
    """Of a conversation: everything before its last answer. `instruction` and `input` are then empty."""

    @property
    def text(self) -> str:
        """For who takes texts alone. Of a conversation the last message."""
        asked = Instruction(instruction=self.instruction, input=self.input)
        return self.messages[-1].content if self.messages else asked.text


def held_out_questions(mix: Path, num: int) -> list[Question]:
    """`num` validation rows at random, always the same, in the order of the file; all if there are fewer.

    Args:
        mix: The mix's folder, or the file itself.

    Raises:
        OnedayError: there is no row, or one lacks a text.
    """
    path = mix / VALIDATION if mix.is_dir() else mix
    rows = [_question(row, f"{path}: row {number}") for number, row in enumerate(read_jsonl(path), start=1)]
    questions = numbered(question for question in rows if question is not None)
    if not questions:
        what = "only texts, which ask nothing," if rows else "no rows"
        raise EvaluationError(f"{path}: {what} in it. Give the mix of the run with `mix=`.")
    chosen = sorted(random.Random(SEED).sample(range(len(questions)), min(num, len(questions))))
    return [questions[number] for number in chosen]


def numbered(questions: Iterable[Question]) -> list[Question]:
    """The questions with their ids, or with their numbers where not every one has an id of its own."""
    found = list(questions)
    ids = {question.id for question in found}
    if "" not in ids and len(ids) == len(found):
        return found
    return [replace(question, id=str(number)) for number, question in enumerate(found)]


def _question(row: Mapping[str, object], where: str) -> Question | None:
    """A row of any mix that can be trained on: one of somebody else's may not say where its rows are from.

    None: a text, which asks nothing.
    """
    try:
        example = read_line(row).example
    except Unusable as e:
        raise EvaluationError(f"{where} {e.detail}. Mend the row.") from e
    instruction, text, output = row.get("instruction"), row.get("input"), row.get("output")
    messages: tuple[Message, ...] = ()
    if isinstance(example, Text):
        return None
    if isinstance(example, Conversation):
        *before, last = example.messages
        messages, instruction, text, output = tuple(before), "", "", last.content
    if isinstance(example, Preference):
        messages, instruction, text, output = example.prompt, "", "", example.chosen[0].content
    source = str(row.get("source", "mix"))
    return Question(
        id=str(row.get("id") or ""),
        language=str(row.get("language") or "en"),
        group=source.replace("_", " ") if source.startswith("ni_") else source,
        task=str(row.get("task", "")),
        instruction=str(instruction),
        input=str(text),
        reference=str(output),
        messages=messages,
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


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOutParameters:
    """Which questions are asked."""

    questions: int = 200
    """How many rows of the validation file, drawn with a fixed seed."""

    def __post_init__(self) -> None:
        if self.questions < 1:
            raise EvaluationError(f"questions={self.questions}: below 1. Give how many are asked.")


class HeldOut(Suite[Question]):
    """Validation rows of a mix."""

    name: ClassVar[str] = NAME
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric(name=SCORE, graded=True),
        Metric(name=EXACT_MATCH),
        Metric(name=ROUGE_L, graded=True),
    )

    def __init__(self, questions: Sequence[Question]) -> None:
        self._questions = tuple(numbered(questions))

    def items(self) -> Sequence[Question]:
        """In the order of the file."""
        return self._questions

    def prompt(self, item: Question) -> Prompt:
        """A conversation as messages, anything else as an instruction with its input."""
        if item.messages:
            return [{"role": message.role.value, "content": message.content} for message in item.messages]
        return Instruction(instruction=item.instruction, input=item.input)

    def reference(self, item: Question) -> str:
        """The row's answer."""
        return item.reference

    def generation(self) -> GenerationDefaults:
        """Up to 128 tokens; a blank line ends the answer to an instruction.

        Answers of conversations may hold blank lines: where there are conversations, only the end token ends an answer.
        """
        stop = () if any(question.messages for question in self._questions) else (STOP,)
        return GenerationDefaults(max_new_tokens=128, stop=stop)

    def score(self, item: Question, response: Response) -> Sequence[Outcome]:
        """`score` by the question's own kind of task, and the same under the name of that kind."""
        value, by = score_answer(item, response.text), {GROUP: item.group}
        kind = EXACT_MATCH if item.exact else ROUGE_L
        return [Outcome(metric=metric, value=value, by=by) for metric in (SCORE, kind)]

    def parameters(self) -> Mapping[str, str | int | float | bool | None]:
        """How many questions, and how they are drawn."""
        return {"questions": len(self._questions), "draw_seed": SEED}


def load_held_out(path: Path, parameters: HeldOutParameters) -> HeldOut:
    """The suite over a run folder, a mix, or a file of rows.

    Raises:
        EvaluationError: there is no validation file.
    """
    places = (path / MIX / VALIDATION, path / VALIDATION, path)
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise EvaluationError(f"{path}: no {VALIDATION} in it. Give the mix of a run, or the file as items.")
    return HeldOut(held_out_questions(found, parameters.questions))
