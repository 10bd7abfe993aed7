"""IFEval in English and in Finnish: strict and loose, by prompt and by instruction.

    suite = Ifeval(read_items(path, suite="ifeval", language="en"), IfevalParameters())
    suite.score(item, response)

Strict: the text as it is. Loose: any of eight variants of it, without first or last line or both, with and without `*`.
Finnish prompts are scored in two modes that are never mixed: `published`, as the scorer of December 2024 did, and
`localised`, where case, sentences and letters are those of Finnish.

Where it sits: items, checks -> **suite** -> scoring.
"""

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

from evaluation.extra import missing_libraries, why_not_run
from evaluation.ifeval.arguments import Arguments
from evaluation.ifeval.checks import LIBRARIES, Check, LetterRule, Rules, make_check
from evaluation.ifeval.items import IfevalItem, read_items
from evaluation.language_detector import LANGDETECT, langdetect_language
from evaluation.responses import Prompt, Response
from evaluation.suite import GenerationDefaults, Metric, Outcome, Suite

SUBSET = "510"
"""The prompts that do not ask for a language: 510 of the 541. Finnish post-training reports these alone."""

CATEGORY_OF_SUBSET = "category_510"
"""The breakdown by category over those prompts alone."""

RESPONSE_LANGUAGE = "language:response_language"

METRICS = ("prompt_strict", "instruction_strict", "prompt_loose", "instruction_loose")

LOCALISED = "_localised"
"""Suffix of the metrics of the Finnish mode `localised`. Those without it are of the mode `published`."""

ANSWERED_IN = "response_language"
"""Share of the Finnish responses that langdetect calls Finnish: the response language of Finnish post-training."""

LANGUAGE_CEILING = "664 of 701 real Finnish texts of 100 characters or more"
"""What langdetect finds of Finnish that was translated by DeepL (Dolly). Values near 0.95 are the detector's limit as
much as the model's merit."""

FINNISH_ANSWERS = ("Vastaukseni on kyllä.", "Vastaukseni on ei.", "Vastaukseni on ehkä.")


@dataclass(frozen=True, slots=True, kw_only=True)
class IfevalParameters:
    """What the specification of IFEval leaves open."""

    letter_rule: LetterRule = "literal"
    """How `keywords:letter_frequency` treats a character that is no letter from a to z: `literal` counts the character
    itself; `upstream` draws a letter at random, as the published program does (keys 1122 and 1129 of the 541)."""
    letter_seed: int = 0
    """Of that draw, which also depends on the prompt's key and on the instruction's position."""
    language_prompts: bool = True
    """Ask the prompts that want the response in another language. False leaves 510 of the 541, as Finnish post-training
    does."""


class Ifeval(Suite[IfevalItem]):
    """English prompts.

    Args:
        items: As `read_items` gives them.
        where: Begins messages about an item: the name of its file.

    Raises:
        EvaluationError: an instruction of unknown type, or with arguments that are missing or wrong.
    """

    name: ClassVar[str] = "ifeval"
    takes_unnamed: ClassVar[bool] = True
    metrics: ClassVar[tuple[Metric, ...]] = tuple(Metric(name=name) for name in METRICS)

    def __init__(
        self, items: Sequence[IfevalItem], parameters: IfevalParameters | None = None, *, where: str = "items"
    ) -> None:
        self._parameters = parameters or IfevalParameters()
        self._items = tuple(item for item in items if self._parameters.language_prompts or not _asks_language(item))
        self._where = where
        self._checks = {
            suffix: {item.id: self._make_checks(item, rules) for item in self._items}
            for suffix, rules in self._modes().items()
        }

    def _modes(self) -> Mapping[str, Rules]:
        """Suffix of the metrics -> rules."""
        return {"": Rules(letter_rule=self._parameters.letter_rule)}

    def _make_checks(self, item: IfevalItem, rules: Rules) -> tuple[Check, ...]:
        where = f"{self._where}: key {item.id}"
        return tuple(
            make_check(
                instruction.kind,
                Arguments(instruction.arguments, f"{where}: {instruction.kind}"),
                rules,
                random.Random(f"{self._parameters.letter_seed} {item.id} {position}"),
                where,
            )
            for position, instruction in enumerate(item.instructions)
        )

    def items(self) -> Sequence[IfevalItem]:
        """In the order of the file."""
        return self._items

    def prompt(self, item: IfevalItem) -> Prompt:
        """As published."""
        return item.text

    def generation(self) -> GenerationDefaults:
        """Up to 1,280 tokens. Source: lm_eval's task, and the published settings of Finnish post-training."""
        return GenerationDefaults(max_new_tokens=1280)

    def score(self, item: IfevalItem, response: Response) -> Sequence[Outcome]:
        """One outcome of the prompt and one of each instruction, strict and loose, in every mode."""
        found: list[Outcome] = []
        for suffix, checks in self._checks.items():
            strict = [follows_strictly(check, response.text) for check in checks[item.id]]
            variants = loose_variants(response.text)
            loose = [
                passed or any(check(text) for text in variants)
                for passed, check in zip(strict, checks[item.id], strict=True)
            ]
            found += _outcomes(item, strict, f"strict{suffix}")
            found += _outcomes(item, loose, f"loose{suffix}")
        return found

    def not_run(self) -> Mapping[str, str]:
        """Every metric, if the check of an instruction that is among the items needs a library that is missing."""
        kinds = {instruction.kind for item in self._items for instruction in item.instructions}
        needed = {library for kind in kinds for library in LIBRARIES.get(kind, ())}
        missing = missing_libraries(sorted(needed))
        return {metric.name: why_not_run(missing) for metric in self.metrics} if missing else {}

    def parameters(self) -> Mapping[str, str | int | float | bool | None]:
        """All of them."""
        return asdict(self._parameters)


class IfevalFinnish(Ifeval):
    """Finnish prompts. Metrics without a suffix are of the mode `published`, those with `_localised` of the other."""

    name: ClassVar[str] = "ifeval-fi"
    recorded_names: ClassVar[tuple[str, ...]] = ("ifeval",)
    metrics: ClassVar[tuple[Metric, ...]] = (
        *(Metric(name=name + suffix) for suffix in ("", LOCALISED) for name in METRICS),
        Metric(name=ANSWERED_IN),
    )

    def _modes(self) -> Mapping[str, Rules]:
        return {
            "": Rules(constrained_responses=FINNISH_ANSWERS, letter_rule="upstream"),
            LOCALISED: Rules(
                constrained_responses=FINNISH_ANSWERS,
                case_language="fi",
                detect_in_lower_case=True,
                punkt_model="finnish",
                letter_rule=self._parameters.letter_rule,
            ),
        }

    def score(self, item: IfevalItem, response: Response) -> Sequence[Outcome]:
        """Both modes, and whether the response is Finnish. A blank one is not; a prompt that asks for a language is
        left out of that."""
        found = super().score(item, response)
        if _asks_language(item) or self.not_run():
            return found
        is_finnish = bool(response.text.strip()) and langdetect_language(response.text) == "fi"
        return [*found, Outcome(metric=ANSWERED_IN, value=float(is_finnish))]

    def not_run(self) -> Mapping[str, str]:
        """As in English; without langdetect not the response language either."""
        missing = missing_libraries([LANGDETECT])
        return super().not_run() or ({ANSWERED_IN: why_not_run(missing)} if missing else {})

    def parameters(self) -> Mapping[str, str | int | float | bool | None]:
        """The same, which mode the plain metrics are of, and how far the language detector can be right."""
        return {
            **super().parameters(),
            "mode": "published",
            "mode_of_suffix": LOCALISED.strip("_"),
            f"{ANSWERED_IN}_ceiling": LANGUAGE_CEILING,
        }


def follows_strictly(check: Check, text: str) -> bool:
    """A blank text follows nothing."""
    return bool(text.strip()) and check(text)


def loose_variants(text: str) -> tuple[str, ...]:
    """The seven variants beside the text itself, without blank and equal ones."""
    lines = text.split("\n")
    cut = [text, *("\n".join(part).strip() for part in (lines[1:], lines[:-1], lines[1:-1]))]
    found = dict.fromkeys([*cut, *(variant.replace("*", "") for variant in cut)])
    return tuple(variant for variant in found if variant != text and variant.strip())


def _asks_language(item: IfevalItem) -> bool:
    return any(instruction.kind == RESPONSE_LANGUAGE for instruction in item.instructions)


def _outcomes(item: IfevalItem, passed: Sequence[bool], level: str) -> Iterable[Outcome]:
    subset = {} if _asks_language(item) else {"subset": SUBSET}
    yield Outcome(metric=f"prompt_{level}", value=float(all(passed)), by=subset)
    for instruction, is_followed in zip(item.instructions, passed, strict=True):
        by = {**subset, "category": instruction.category, "type": instruction.kind}
        if subset:
            by[CATEGORY_OF_SUBSET] = instruction.category
        yield Outcome(metric=f"instruction_{level}", value=float(is_followed), by=by)


def load_english(path: Path, parameters: IfevalParameters) -> Ifeval:
    """The suite `ifeval`."""
    return Ifeval(read_items(path, suite=Ifeval.name, language="en"), parameters, where=str(path))


def load_finnish(path: Path, parameters: IfevalParameters) -> IfevalFinnish:
    """The suite `ifeval-fi`."""
    return IfevalFinnish(read_items(path, suite=IfevalFinnish.name, language="fi"), parameters, where=str(path))
