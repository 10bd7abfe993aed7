"""What a stage trains on: named sources, and the builder that makes rows of them.

    data: {build: nested-mix, whole: en, nested: fi, percent: 10}

A builder is a command of curation; this module knows its name, the keys that it takes, and how many rows and tokens it
makes of sources with declared sizes, so that a study can be planned where neither source is at hand.

Where it sits: below study.py; running/building.py calls the builders.
"""

from collections.abc import Mapping
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from studies.document import Strict


class Source(Strict):
    """A data set: a file that core/example reads, or a folder with train.jsonl and validation.jsonl."""

    path: str
    """Relative to the study's `data_folder`, or absolute."""
    rows: int = Field(gt=0)
    """How many rows it has. A mixture refuses another number."""
    tokens: float = Field(gt=0)
    """Of a row, on average; of a preference pair both sides with their prompts. For estimates."""
    licence: str = ""
    prompts_from: str = ""
    """Where its prompts come from, if they were translated or taken from another set."""
    llm_generated: bool = False
    """A language model wrote its answers."""


Sources: TypeAlias = Mapping[str, Source]


class Amount(Strict):
    """How much a stage reads in one pass."""

    rows: int
    tokens: float


class Rows(Strict):
    """The rows of one source as they are."""

    build: Literal["rows"]
    source: str

    def names(self) -> tuple[str, ...]:
        """The sources that it reads."""
        return (self.source,)

    def amount(self, sources: Sources) -> Amount:
        """Rows and tokens, from declared sizes."""
        return _together({self.source: 1.0}, sources)


class NestedMix(Strict):
    """All rows of one source, and the first share of a seeded permutation of another: smaller shares are prefixes."""

    build: Literal["nested-mix"]
    whole: str
    nested: str
    percent: float = Field(ge=0, le=100)

    def names(self) -> tuple[str, ...]:
        """The sources that it reads."""
        return (self.whole, self.nested)

    def amount(self, sources: Sources) -> Amount:
        """Rows and tokens, from declared sizes."""
        return _together({self.whole: 1.0, self.nested: self.percent / 100}, sources)


class LanguageUniform(Strict):
    """Equal shares of every source, in rows or in tokens."""

    build: Literal["language-uniform"]
    sources: tuple[str, ...] = Field(min_length=1)
    unit: Literal["rows", "tokens"] = "rows"
    rows: int | None = Field(default=None, gt=0)
    """In all. None: as many as the smallest source allows without repeating a row."""

    def names(self) -> tuple[str, ...]:
        """The sources that it reads."""
        return self.sources

    def amount(self, sources: Sources) -> Amount:
        """Rows and tokens, from declared sizes."""
        chosen = [sources[name] for name in self.sources]
        smallest = min(source.rows * (source.tokens if self.unit == "tokens" else 1.0) for source in chosen)
        shares = [smallest / (source.tokens if self.unit == "tokens" else 1.0) for source in chosen]
        if self.rows is not None:
            shares = [share * self.rows / sum(shares) for share in shares]
        tokens = sum(share * source.tokens for share, source in zip(shares, chosen, strict=True))
        return Amount(rows=round(sum(shares)), tokens=tokens)


class Mixture(Strict):
    """All rows of several sources, each with the number of rows that its table says."""

    build: Literal["mixture"]
    sources: tuple[str, ...] = Field(min_length=1)

    def names(self) -> tuple[str, ...]:
        """The sources that it reads."""
        return self.sources

    def amount(self, sources: Sources) -> Amount:
        """Rows and tokens, from declared sizes."""
        return _together(dict.fromkeys(self.sources, 1.0), sources)


class Preferences(Strict):
    """Preference pairs of several sources: given as pairs, or made of scores or rankings."""

    build: Literal["preferences"]
    sources: tuple[str, ...] = Field(min_length=1)
    pairs: Literal["given", "best-worst", "best-rest"] = "given"
    """`given`: the rows are pairs. Otherwise which answers to a prompt form pairs: the best with the worst, or with
    each other one."""
    score: str = ""
    """Column of the answers' scores. Empty: they are a message tree with ranks."""

    @model_validator(mode="after")
    def _pairs_what_it_can(self) -> Self:
        if self.pairs == "given" and self.score:
            raise ValueError("score has no effect with pairs: given; take it away, or give pairs: best-worst")
        if self.pairs != "given" and len(self.sources) > 1:
            raise ValueError(f"pairs: {self.pairs} takes one source. Build the pairs of each, and give them as pairs")
        return self

    def names(self) -> tuple[str, ...]:
        """The sources that it reads."""
        return self.sources

    def amount(self, sources: Sources) -> Amount:
        """Rows and tokens, from declared sizes."""
        return _together(dict.fromkeys(self.sources, 1.0), sources)


class Feedback(Strict):
    """Rated responses; only those rated positive are trained on."""

    build: Literal["feedback"]
    source: str

    def names(self) -> tuple[str, ...]:
        """The sources that it reads."""
        return (self.source,)

    def amount(self, sources: Sources) -> Amount:
        """Rows and tokens, from declared sizes; of a source of ratings, `rows` counts the positive ones."""
        return _together({self.source: 1.0}, sources)


class Curated(Strict):
    """Rows of Natural Instructions that the study's base gets wrong, or rows of a control, which does not ask it."""

    build: Literal["curate"]
    source: str
    """A folder of task files."""
    control: Literal["none", "random", "balanced"] = "none"
    """As `oneday curate` takes it; `none`: the base is asked."""
    preset: Literal["recommended", "birbal-paper", "birbal-scripts"] = "recommended"
    rows: int = Field(gt=0, le=100_000)
    """How many are chosen, before the cut to `tokens`."""
    tokens: float = Field(gt=0)
    """Of the prompts and answers that are trained on, equal in every arm."""
    instances_per_task: int | None = Field(default=None, gt=0)
    """How many the base is asked about, at most. None: all."""
    held_out_tasks: int = Field(default=40, gt=0)
    """Tasks of which nothing is trained on; suites with `items: questions-of:STAGE` ask about them."""
    questions_per_task: int = Field(default=5, gt=0)

    @property
    def holds_out(self) -> tuple[str, int, int]:
        """What decides which tasks are held out."""
        return self.source, self.held_out_tasks, self.questions_per_task

    def names(self) -> tuple[str, ...]:
        """The sources that it reads."""
        return (self.source,)

    def amount(self, sources: Sources) -> Amount:
        """Rows and tokens, from declared sizes."""
        return Amount(rows=round(self.tokens / sources[self.source].tokens), tokens=self.tokens)


StageData: TypeAlias = Annotated[
    Rows | NestedMix | LanguageUniform | Mixture | Preferences | Feedback | Curated, Field(discriminator="build")
]


def _together(shares: Mapping[str, float], sources: Sources) -> Amount:
    rows = {name: round(share * sources[name].rows) for name, share in shares.items()}
    return Amount(rows=sum(rows.values()), tokens=sum(n * sources[name].tokens for name, n in rows.items()))
