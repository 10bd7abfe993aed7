"""The 251 modified instructions: is the modifier fulfilled, and how helpful is the answer.

    suite = load_modifiers(Path("crosslingual"), ModifierParameters())

A rule decides six modifiers, the language detector one of them; a judge decides the others and helpfulness.

Where it sits: instructions, modifiers, judge, ratings -> **modified** -> scoring.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any

from evaluation.crosslingual.criteria import (
    JUDGE_PROMPT,
    JUDGE_PROMPT_SHA256,
    Criterion,
    Scores,
    fill,
    parse_scores,
    read_prompt,
)
from evaluation.crosslingual.instructions import MODIFIERS, Instruction, read_modified
from evaluation.crosslingual.judge import Judge, Question
from evaluation.crosslingual.judge_parameters import NO_JUDGE, JudgeParameters
from evaluation.crosslingual.judged import EMPTY, questions
from evaluation.crosslingual.language import MAX_CHARACTERS, Detect, Detector, primary_subtag
from evaluation.crosslingual.modifiers import parse_modifier
from evaluation.crosslingual.surface import InstructionSuite, LanguageParameters, Parameter
from evaluation.responses import Response
from evaluation.suite import Metric, Outcome

REQUIREMENTS: Mapping[str, str] = {
    "short": "The submission is brief: it answers in just a few sentences.",
    "long": "The submission is a detailed answer.",
    "scientific": "The submission is written in a scientific style.",
    "simple": "The submission uses simple words and is easy to understand for a child.",
    "two-hop": "The submission does everything that the task asks for: its first request and the one that ends it.",
}
"""What the judge is asked about the modifiers that no rule decides."""

FULFILMENT_PROMPT = """You are checking whether a submission meets one requirement of its task.
[BEGIN DATA]
***
[Task]: %%%TASK%%%
***
[Submission]: %%%SUBMISSION%%%
***
[Requirement]: REQUIREMENT
***
[END DATA]
Does the submission meet the requirement? Output a json dictionary: {"fulfilled": "yes"} or {"fulfilled": "no"}."""
"""Ours; the paper had people decide."""

MOST_IF_UNFULFILLED = 1
"""Best helpfulness of an answer that ignores the modifier. Source: the paper, section 5.3."""


class WrongLanguage(StrEnum):
    """Who says that a response is in the wrong language, so that it leaves helpfulness."""

    DETECTOR = "detector"
    """The language detector. A judge compares with the task's language, which is wrong for `lang_XX`."""
    JUDGE = "judge"
    """The judge's Language, as in the six criteria."""
    KEPT = "kept"
    """Nobody: every response is averaged, as the full counts of the paper's table show."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModifierParameters(JudgeParameters):
    """Who decides what."""

    wrong_language: WrongLanguage = WrongLanguage.DETECTOR
    """Who says that a response leaves helpfulness: `detector`, `judge` or `kept`."""
    detector: Detector = Detector.FASTTEXT_LITE
    """`fasttext-lite` or `langdetect`."""
    max_characters: int = MAX_CHARACTERS
    """How much of a response fastText looks at; 0: all of it."""

    @property
    def language(self) -> LanguageParameters:
        """Those of the detector."""
        return LanguageParameters(detector=self.detector, max_characters=self.max_characters)


class Modifiers(InstructionSuite):
    """Macro over the eleven modifiers.

    Args:
        prompt: The published text of the six criteria.
        judge: None: only what rules and detector decide is run.
    """

    name = MODIFIERS
    metrics = (
        Metric(name="fulfilled", macro_over="modifier"),
        Metric(name="helpfulness", macro_over="modifier", graded=True),
        Metric(name="capped", headline=False),
    )

    def __init__(
        self, items: Sequence[Instruction], prompt: str, judge: Judge | None, parameters: ModifierParameters
    ) -> None:
        super().__init__(items)
        self._judge_prompt, self._judge, self._parameters = prompt, judge, parameters
        self._modifiers = {item.modifier: parse_modifier(item.modifier) for item in items}
        self._scores: dict[tuple[str, str], Scores] = {}
        self._fulfilled: dict[tuple[str, str], int | None] = {}

    def parameters(self) -> Mapping[str, Parameter]:
        """The judge, both prompts, the detector, and who says that a language is wrong."""
        return {
            **(self._judge.parameters() if self._judge else {}),
            **self._parameters.language.as_parameters(),
            "judge_prompt_sha256": JUDGE_PROMPT_SHA256,
            "wrong_language": str(self._parameters.wrong_language),
        }

    def not_run(self) -> Mapping[str, str]:
        """Without a judge helpfulness and five modifiers; without the detector one, and what it decides."""
        reasons = {} if self._judge else dict.fromkeys(("helpfulness", "capped"), NO_JUDGE)
        if not self._judge:
            reasons |= {f"fulfilled, {name}": NO_JUDGE for name in REQUIREMENTS}
        no_detector = self._parameters.language.reason_not_run
        if no_detector:
            reasons["fulfilled, language"] = no_detector
            if self._judge and self._parameters.wrong_language is WrongLanguage.DETECTOR:
                reasons["helpfulness"] = f"wrong_language=detector: {no_detector}"
        return reasons

    @cached_property
    def _detect(self) -> Detect | None:
        parameters = self._parameters.language
        expected = [item.expected_language for item in self._items]
        return None if parameters.reason_not_run else parameters.load(expected)

    def prepare(self, pairs: Sequence[tuple[Instruction, Response]]) -> None:
        """Asks the judge by the six criteria about all responses, and about the modifiers that no rule decides."""
        if self._judge is None:
            return
        criteria = questions("criteria", self._judge_prompt, pairs)
        replies = self._judge.ask(criteria, lambda text: None not in parse_scores(text).values())
        self._scores = {(r.language, r.id): parse_scores(r.text or "") for r in replies}
        asked = [self._question(item, response) for item, response in pairs if self._is_for_judge(item, response)]
        replies = self._judge.ask(asked, lambda text: parse_fulfilled(text) is not None)
        self._fulfilled = {(r.language, r.id): parse_fulfilled(r.text or "") for r in replies}

    def _is_for_judge(self, item: Instruction, response: Response) -> bool:
        return self._modifiers[item.modifier].name in REQUIREMENTS and bool(response.text.strip())

    def _question(self, item: Instruction, response: Response) -> Question:
        requirement = REQUIREMENTS[self._modifiers[item.modifier].name]
        prompt = FULFILMENT_PROMPT.replace("REQUIREMENT", requirement)
        return Question(
            about="fulfilment",
            language=item.language,
            id=item.id,
            prompt=fill(prompt, task=item.text, submission=response.text),
            response=response.text,
        )

    def score(self, item: Instruction, response: Response) -> Sequence[Outcome]:
        """The label of a modifier says who decided it."""
        decider, fulfilled = self._decide(item, response)
        by = {"modifier": f"{self._modifiers[item.modifier].name} ({decider})", "language": item.language}
        outcomes = [] if decider == "nobody" else [Outcome(metric="fulfilled", value=_float(fulfilled), by=by)]
        return [*outcomes, *self._helpfulness(item, response, fulfilled, by)]

    def _decide(self, item: Instruction, response: Response) -> tuple[str, int | None]:
        """Who decides, and whether the modifier is fulfilled. An empty response fulfils none."""
        modifier, has_text = self._modifiers[item.modifier], bool(response.text.strip())
        if modifier.rule is not None:
            return "rule", int(has_text and modifier.rule(response.text))
        if modifier.name == "language":
            if self._detect is None:
                return "nobody", None
            return "detector", int(self._detect(response.text) == primary_subtag(item.expected_language))
        if self._judge is None:
            return "nobody", None
        return "judge", self._fulfilled[item.language, item.id] if has_text else 0

    def _helpfulness(
        self, item: Instruction, response: Response, fulfilled: int | None, by: Mapping[str, str]
    ) -> list[Outcome]:
        if self._judge is None or self._is_wrong_language(item, response):
            return []
        score = self._scores.get((item.language, item.id), EMPTY)[Criterion.HELPFULNESS]
        capped = score if score is None or fulfilled != 0 else min(score, MOST_IF_UNFULFILLED)
        outcomes = [Outcome(metric="helpfulness", value=_float(capped), by=by)]
        if fulfilled == 0 and score is not None:
            outcomes.append(Outcome(metric="capped", value=float(score > MOST_IF_UNFULFILLED), by=by))
        return outcomes

    def _is_wrong_language(self, item: Instruction, response: Response) -> bool:
        match self._parameters.wrong_language:
            case WrongLanguage.KEPT:
                return False
            case WrongLanguage.JUDGE:
                scores = self._scores.get((item.language, item.id), EMPTY)
                return scores[Criterion.LANGUAGE] in (0, None) and scores[Criterion.HELPFULNESS] is not None
        if self._detect is None:
            return True
        return self._detect(response.text) != primary_subtag(item.expected_language)


def _float(value: int | None) -> float | None:
    return None if value is None else float(value)


def parse_fulfilled(reply: str) -> int | None:
    """1 for yes, 0 for no, from a JSON object with the key `fulfilled`; None: it cannot be read.

    >>> parse_fulfilled('{"Fulfilled": "Yes"}'), parse_fulfilled("yes")
    (1, None)
    """
    try:
        found: Any = json.loads(reply)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    values = [value for key, value in found.items() if key.strip().lower() == "fulfilled"]
    answer = str(values[0]).lower() if len(values) == 1 else ""
    return {"yes": 1, "true": 1, "no": 0, "false": 0}.get(answer)


def load_modifiers(path: Path, parameters: ModifierParameters) -> Modifiers:
    """The suite over a folder that holds modified instructions, their types and the prompt."""
    prompt = read_prompt(path if path.is_dir() else path.parent, JUDGE_PROMPT, JUDGE_PROMPT_SHA256)
    return Modifiers(read_modified(path), prompt, parameters.open(json_mode=True), parameters)
