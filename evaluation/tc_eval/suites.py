"""The suites of TC-Eval: `drcd`, `fgc`, `ttqa`, `penguins`, `tmmlu`, `imdb-tc`, `xsum-tc`.

    suite = Drcd(Path("DRCD_test.json.gz"), TcEvalParameters())
    suite.score(suite.items()[0], response)

Each gives TC-Eval's metric and that of Taiwan LLM's runner under names of their own.

Where it sits: questions, answer, rouge_zh -> **suites** -> scoring.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from evaluation.extra import missing_libraries, why_not_run
from evaluation.item_file import find
from evaluation.responses import Prompt, Response
from evaluation.suite import GenerationDefaults, ItemT, Metric, Outcome, Suite
from evaluation.tc_eval.answer import LETTERS, NEGATIVE, POSITIVE, choice, contain, first_character, prefix, sentiment
from evaluation.tc_eval.questions import (
    Article,
    Extract,
    MultipleChoice,
    Review,
    read_articles,
    read_extracts,
    read_multiple_choice,
    read_reviews,
    read_subjects,
)
from evaluation.tc_eval.rouge_zh import LIBRARIES, RougeZh

FIRST_CHARACTER = Metric(name="first_character")
OPENED = " ("
"""Taiwan LLM's runner puts it behind the template of a question whose answer is one character."""


class Prompts(StrEnum):
    """Whose wording a model is asked in."""

    TAIWAN_LLM = "taiwan-llm"
    TC_EVAL = "tc-eval"


@dataclass(frozen=True, slots=True, kw_only=True)
class TcEvalParameters:
    """What generation is asked with; the scores of recorded responses do not depend on it."""

    prompts: Prompts = Prompts.TAIWAN_LLM
    """Whose wording: `taiwan-llm`, whose questions of one character end in ` (`, or `tc-eval`."""


class TcEvalSuite(Suite[ItemT]):
    """One task of TC-Eval.

    Args:
        path: The task's file, or a folder that holds it.
    """

    files: ClassVar[tuple[str, ...]]
    """Names under which the file is known; a name may be a folder's."""
    is_one_character: ClassVar[bool] = False
    """Whether Taiwan LLM's runner reads the first character of the response alone."""

    def __init__(self, path: Path, parameters: TcEvalParameters) -> None:
        self._items: Sequence[ItemT] = self._read(self._find(path))
        self._prompts = parameters.prompts

    @classmethod
    def is_in(cls, folder: Path) -> bool:
        """Whether a folder holds the task's items under a name that is known."""
        return any((folder / f"{name}{end}").exists() for name in cls.files for end in ("", ".gz"))

    def _find(self, path: Path) -> Path:
        return find(path, self.files)

    @abstractmethod
    def _read(self, path: Path) -> Sequence[ItemT]: ...

    def items(self) -> Sequence[ItemT]:
        """All questions in the order of the file."""
        return self._items

    def generation(self) -> GenerationDefaults:
        """128 tokens, as both runners. Taiwan LLM's opens the answer of a question whose answer is one character."""
        is_opened = self.is_one_character and self._prompts is Prompts.TAIWAN_LLM
        return GenerationDefaults(max_new_tokens=128, response_prefix=OPENED if is_opened else "")

    def parameters(self) -> Mapping[str, str | int | float | bool | None]:
        """Whose prompts are given."""
        return {"prompts": str(self._prompts)}


class _Reading(TcEvalSuite[Extract]):
    metrics = (
        Metric(name="prefix"),
        Metric(name="contain"),
        Metric(name="characters_mean", graded=True, headline=False),
        Metric(name="characters_median", statistic="median", graded=True, headline=False),
    )

    def _read(self, path: Path) -> Sequence[Extract]:
        return read_extracts(path, self.name)

    def prompt(self, item: Extract) -> Prompt:
        """Paragraph, then question. TC-Eval's form ends in two line ends."""
        end = "\n\n" if self._prompts is Prompts.TC_EVAL else ""
        return (
            "請根據以下內容回答問題，且答案需盡可能簡短。注意：答案必須為內容的子字串。"
            f"\n\n{item.paragraph}\n\n問題：{item.question}{end}"
        )

    def reference(self, item: Extract) -> str:
        """Each accepted answer once."""
        return " / ".join(dict.fromkeys(item.references))

    def score(self, item: Extract, response: Response) -> Sequence[Outcome]:
        """`prefix` is TC-Eval's form, `contain` Taiwan LLM's, which a long answer passes easily: so its length, too."""
        length = float(len(response.text))
        return [
            Outcome(metric="prefix", value=float(prefix(response.text, item.references))),
            Outcome(metric="contain", value=float(contain(response.text, item.references))),
            Outcome(metric="characters_mean", value=length),
            Outcome(metric="characters_median", value=length),
        ]


class Drcd(_Reading):
    """DRCD: 3,493 questions on paragraphs of Wikipedia."""

    name = "drcd"
    files = ("DRCD_test.json", "preprocessed_DRCD_test.json")


class Fgc(_Reading):
    """FGC, the Formosa Grand Challenge: 50 questions."""

    name = "fgc"
    files = ("FGC_official_final.json", "preprocessed_FGC_official_final.json")


def _first(response: Response, allowed: str, answer: str, by: Mapping[str, str]) -> Outcome:
    """The figure means quality only where the prompt was opened; the table tells the prompts apart."""
    given = response.generation.get("response_prefix")
    if given is None and isinstance(response.prompt, str):
        given = OPENED if response.prompt.endswith(OPENED) else ""
    prompts = "not recorded" if given is None else "end in ' ('" if given == OPENED else "do not end in ' ('"
    right = first_character(response.text, allowed) == answer
    return Outcome(metric=FIRST_CHARACTER.name, value=float(right), by={**by, "prompts": prompts})


def _listed(options: Sequence[str]) -> str:
    return ";".join(f"({letter}) {option}" for letter, option in zip(LETTERS, options, strict=False))


class _Choice(TcEvalSuite[MultipleChoice]):
    metrics = (Metric(name="accuracy"), FIRST_CHARACTER)
    is_one_character = True

    def _read(self, path: Path) -> Sequence[MultipleChoice]:
        return read_multiple_choice(path, self.name)

    def reference(self, item: MultipleChoice) -> str:
        """The letter and its option."""
        return f"({item.answer}) {item.options[LETTERS.index(item.answer)]}"

    def score(self, item: MultipleChoice, response: Response) -> Sequence[Outcome]:
        """`accuracy` by TC-Eval's patterns, a single Latin letter, or an option's text."""
        right = choice(response.text, item.options) == item.answer
        return [
            Outcome(metric="accuracy", value=float(right)),
            _first(response, LETTERS, item.answer, {}),
        ]


class Ttqa(_Choice):
    """TTQA: 103 questions on Taiwan."""

    name = "ttqa"
    files = ("TTQA_mc.json", "TTQA_mc_2.0.0.json")

    def prompt(self, item: MultipleChoice) -> Prompt:
        """Question, then options."""
        end = "\n" if self._prompts is Prompts.TC_EVAL else ""
        return f"問題: {item.question} \n\n請從以下選項中選擇並回答: {_listed(item.options)}{end}"


class Penguins(_Choice):
    """Penguins in a table: 149 questions of BIG-bench in Chinese."""

    name = "penguins"
    recorded_names = ("PenguinsInTable_TC",)
    files = ("PenguinsInTable_TC.json", "PenguinsInTable_TC/data.json")

    def prompt(self, item: MultipleChoice) -> Prompt:
        """Question, then options. Any of the characters of `回答：` are stripped off the end, as both runners do."""
        end = "\n" if self._prompts is Prompts.TC_EVAL else ""
        return f"{item.question.rstrip('回答：')} \n請從以下選項中選擇並回答: {_listed(item.options)}{end}"


class Tmmlu(TcEvalSuite[MultipleChoice]):
    """TMMLU: 3,343 questions in 53 subjects, which hold their options."""

    name = "tmmlu"
    files = ("tmmlu.jsonl", "TMMLU", "tmmlu_csv")
    metrics = (Metric(name="macro", macro_over="subject"), Metric(name="micro"), FIRST_CHARACTER)
    is_one_character = True

    def _find(self, path: Path) -> Path:
        return find(path, self.files) if self.is_in(path) else path

    def _read(self, path: Path) -> Sequence[MultipleChoice]:
        return read_subjects(path, self.name)

    def prompt(self, item: MultipleChoice) -> Prompt:
        """The question alone."""
        return item.question

    def reference(self, item: MultipleChoice) -> str:
        """The letter."""
        return item.answer

    def score(self, item: MultipleChoice, response: Response) -> Sequence[Outcome]:
        """`macro` over subjects is TC-Eval's figure; `micro` over questions, of first characters, Taiwan LLM's."""
        by = {"subject": item.suite.partition("/")[2]}
        right = float(choice(response.text) == item.answer)
        return [
            Outcome(metric="macro", value=right, by=by),
            Outcome(metric="micro", value=right, by=by),
            _first(response, LETTERS, item.answer, by),
        ]


class ImdbTc(TcEvalSuite[Review]):
    """IMDB-TC: the sentiment of 5,000 translated reviews."""

    name = "imdb-tc"
    recorded_names = ("IMDB_TC",)
    files = ("IMDB_TC/test.csv", "imdb_tc.csv", "test.csv")
    metrics = (Metric(name="accuracy"), FIRST_CHARACTER)
    is_one_character = True

    def _read(self, path: Path) -> Sequence[Review]:
        return read_reviews(path, self.name)

    def prompt(self, item: Review) -> Prompt:
        """Taiwan LLM's runner asks for a number, TC-Eval for a word."""
        if self._prompts is Prompts.TC_EVAL:
            return (
                "請閱讀以下評論，並回答此評論是正面還是負面，如果是正面，請回答'正面';，如果是負面，請回答'負面'："
                f"\n\n評論：{item.text}\n\n"
            )
        return (
            f"評論：{item.text}\n\n請閱讀以上評論，並回答此評論是正面還是負面，"
            "如果是正面，請回答'(1)';，如果是負面，請回答'(0)'"
        )

    def reference(self, item: Review) -> str:
        """The label of TC-Eval."""
        return POSITIVE if item.label else NEGATIVE

    def score(self, item: Review, response: Response) -> Sequence[Outcome]:
        """`accuracy` by the word that the response begins with."""
        return [
            Outcome(metric="accuracy", value=float(sentiment(response.text) == item.label)),
            _first(response, "01", str(item.label), {}),
        ]


class XsumTc(TcEvalSuite[Article]):
    """XSum-TC: summaries of 5,000 translated articles in one sentence."""

    name = "xsum-tc"
    recorded_names = ("XSum_TC_5k",)
    files = ("XSum_TC_5k/test_sub5000.csv", "test_sub5000.csv")
    metrics = tuple(Metric(name=name, graded=True) for name in ("rouge_1", "rouge_2", "rouge_l"))

    def _read(self, path: Path) -> Sequence[Article]:
        return read_articles(path, self.name)

    def prompt(self, item: Article) -> Prompt:
        """Document, then what is wanted."""
        if self._prompts is Prompts.TC_EVAL:
            return f"\n\n {item.document} \n\n 根據上述文章以一句話來總結\n\n"
        return f"{item.document}\n\n根據上述文章以一句話來總結"

    def reference(self, item: Article) -> str:
        """The summary."""
        return item.summary

    def not_run(self) -> Mapping[str, str]:
        """All three where a package is missing."""
        missing = missing_libraries(LIBRARIES)
        return dict.fromkeys((m.name for m in self.metrics), why_not_run(missing)) if missing else {}

    @cached_property
    def _rouge(self) -> Callable[[str, str], Mapping[str, float]]:
        return RougeZh.load()

    def score(self, item: Article, response: Response) -> Sequence[Outcome]:
        """The paper's column is `rouge_2`."""
        if self.not_run():
            return []
        scores = self._rouge(response.text, item.summary) if response.text.strip() else {}
        return [Outcome(metric=m.name, value=scores.get(m.name, 0.0)) for m in self.metrics]
