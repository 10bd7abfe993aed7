"""What a suite is: its items, the prompt of each, and what one response is worth.

A new suite is one module with a subclass:

    class Capitals(Suite[CapitalItem]):
        name = "capitals"
        metrics = (Metric(name="accuracy"),)
        def items(self): ...
        def prompt(self, item): return f"What is the capital of {item.country}?"
        def score(self, item, response):
            return [Outcome(metric="accuracy", value=float(item.capital in response.text))]

Where it sits: responses -> **suite** -> join -> scoring.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import ClassVar, Generic, Literal, TypeVar

import orjson

from core.files import sha256
from evaluation.responses import Prompt, Response, recorded_prompt


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One question of a suite. A suite adds its own fields in a subclass."""

    suite: str
    """The suite's name, or `NAME/PART` for a suite with parts, as `tmmlu/國際法`."""
    language: str
    """Of the prompt, BCP 47."""
    id: str
    """Unique with suite and language."""


ItemT = TypeVar("ItemT", bound=Item)


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """How the outcomes of one name become one figure."""

    name: str
    """As in the results: `prompt_strict`, `prefix`, `macro`, ..."""
    macro_over: str | None = None
    """A dimension of `Outcome.by`: the figure is the plain mean of the means of its labels. None: over all outcomes."""
    statistic: Literal["mean", "median"] = "mean"
    """A median gets no interval."""
    graded: bool = False
    """Its outcomes are grades or amounts, which happen to be 0 or 1 at times: no figure counts how many are right."""
    headline: bool = True
    """False: the figure is context, as the length of responses, and no score."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One observation: a response, or one instruction of it, by one metric."""

    metric: str
    value: float | None
    """1.0 or 0.0 for right and wrong, or any number. None: undecided, as a judgement that could not be read; counted as
    `nulls`, and never a number."""
    by: Mapping[str, str] = field(default_factory=dict)
    """Dimension -> label for the breakdowns, as {"category": "keywords", "subset": "510"}."""


class Template(StrEnum):
    """How a prompt becomes the text that a model receives."""

    CHAT = "chat"
    """By the chat template of the model's tokenizer, or of the server."""
    ALPACA = "alpaca"
    """As `oneday train` renders a question: `### Instruction:`, `### Response:`. Messages keep the chat template."""
    PLAIN = "plain"
    """As it stands. What does not stand as one text is rendered: messages by the chat template, and an instruction with
    its input by the Alpaca prompt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationDefaults:
    """How the responses to a suite are generated where the user does not say otherwise."""

    max_new_tokens: int = 512
    repetition_penalty: float = 1.0
    """1: none."""
    stop: tuple[str, ...] = ()
    """The response to a text ends before the first of these strings; in a chat the model ends it."""
    response_prefix: str = ""
    """What a response is made to begin with. It is no part of the response."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """What a suite shows beside its figures, as the agreement of two raters."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


class Suite(ABC, Generic[ItemT]):
    """A suite of questions. Its constructor takes what it needs: files, parameters, a judge."""

    name: ClassVar[str]
    recorded_names: ClassVar[tuple[str, ...]] = ()
    """Other names of its tasks in recorded files, as `PenguinsInTable_TC`."""
    takes_unnamed: ClassVar[bool] = False
    """Whether rows that name no suite are its own: the IFEval form `{key, prompt, response}`."""
    metrics: ClassVar[tuple[Metric, ...]]

    @abstractmethod
    def items(self) -> Sequence[ItemT]:
        """All items in a fixed order."""

    @abstractmethod
    def prompt(self, item: ItemT) -> Prompt:
        """What a model is asked, before the template."""

    @abstractmethod
    def score(self, item: ItemT, response: Response) -> Sequence[Outcome]:
        """What a response is worth. An empty response gets 0 in every accuracy."""

    def expected_language(self, item: ItemT) -> str:
        """Of the response, BCP 47. Default: that of the prompt."""
        return item.language

    def generation(self) -> GenerationDefaults:
        """How responses are generated."""
        return GenerationDefaults()

    def reference(self, item: ItemT) -> str:
        """What a right response says, for a reader; empty where there is no one answer."""
        return ""

    def prepare(self, pairs: Sequence[tuple[ItemT, Response]]) -> None:
        """Called once before `score`, with all that will be scored: for what is asked about together, as a judge is."""

    def tables(self) -> Sequence[Table]:
        """Called after the last `score`."""
        return ()

    def cluster(self, item: ItemT) -> str:
        """Items with the same cluster are resampled together. Default: each item alone."""
        return f"{item.suite} {item.language} {item.id}"

    def not_run(self) -> Mapping[str, str]:
        """Metric -> why it cannot be computed here: a library that is missing (with its extra), no judge.

        `score` gives no outcome of such a metric. It is not called where all of them are among these.
        """
        return {}

    def one_file_only(self) -> str:
        """Why the scores belong to one responses file, so that two files cannot be compared. Empty: they do not."""
        return ""

    def parameters(self) -> Mapping[str, str | int | float | bool | None]:
        """Everything chosen that decides a score: printed, and kept with the results."""
        return {}

    def part(self, recorded: str) -> str | None:
        """The suite or part that a row's name of suite or task stands for; None: it is another suite's."""
        head, slash, rest = recorded.partition("/")
        if head.lower() in {name.lower() for name in (self.name, *self.recorded_names)}:
            return f"{self.name}{slash}{rest}"
        return None

    def fingerprint(self) -> str:
        """Hash of all items and their prompts: the suite hash of a manifest."""
        asked = [(asdict(item), recorded_prompt(self.prompt(item))) for item in self.items()]
        return sha256(orjson.dumps(asked, option=orjson.OPT_SORT_KEYS))
