"""Cleaning: drops rows that break a rule, and counts the rows that break each rule.

    CleanOptions(data="dolly.jsonl.gz#fi", source="dolly.jsonl.gz#en", language="fi")

A translation is compared with the source row of the same id, text by text. If one text of a row breaks a rule, the row
is dropped, also a preference of which only one side is bad.

Where it sits: rows -> **clean** -> rules.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Literal

from core.errors import MixError
from core.example.example import Role, Text
from core.example.language import language_code
from core.stage import Dropped
from curation.builders.rows import InputSpec, IsInput, Row, messages
from curation.builders.rules import OFF, RULES, CleaningRules
from curation.builders.work import BuildContext, BuildOptions, Output

Parts = Literal["all", "answers"]
"""Which texts of a row are checked: all, or only the answers. A document is always checked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanOptions(BuildOptions):
    """Options of cleaning. A threshold of 0 turns its rule off."""

    data: Annotated[str, IsInput()]
    """Data to clean: FILE, NAME=FILE, or FILE#KEY to read one key of each record."""
    source: Annotated[str | None, IsInput()] = None
    """The data that was translated, with the same ids. Default: none, and the rules about length are off."""
    words: float = 2.5
    """Drop a translation that has more than this many times the words of its source."""
    characters: float = 1.5
    """Drop a translation that has more than this many times the characters of its source."""
    symbols: float = 0.3
    """Drop a text with a larger share of characters that are neither letters nor digits."""
    count_spaces: bool = False
    """Count white space as such characters."""
    gzip: float = 0.3
    """Drop a text that gzip compresses to less than this share, because it repeats itself."""
    language: str = ""
    """Drop a text that is not in this language, such as fi. Default: any language."""
    probability: float = 0.9
    """Minimum probability of that language."""
    least_letters: int = 60
    """Do not check the language of texts with fewer letters. Of the Finnish Dolly texts with fewer than 20 letters 61 %
    are not recognised with a probability of 0.9; of those with 200 and more, 1 %."""
    leftovers: bool = True
    """Drop a text that contains markers of the translation prompt."""
    parts: Parts = "all"
    """Check all texts of a row, or only the answers."""

    def check(self) -> None:
        """Raises `MixError` if a value cannot be used."""
        for name in ("words", "characters", "symbols", "gzip", "probability"):
            value = getattr(self, name)
            if not value >= 0 or (name in ("symbols", "gzip", "probability") and value > 1):
                raise MixError(f"`{name}={value:g}`: out of range. 0 turns a rule off; a share is at most 1.")

    def rules(self) -> CleaningRules:
        """Returns the rules with these thresholds."""
        names = {f.name for f in fields(CleaningRules)} - {"detect", "language"}
        language = language_code(self.language) if self.language else ""
        return CleaningRules(language=language, **{name: getattr(self, name) for name in names})


def outputs(options: CleanOptions, context: BuildContext) -> Iterator[Output]:
    """Yields one file with the rows that break no rule."""
    data = InputSpec.parse(options.data)
    sources = None
    if options.source is not None:
        sources = {row.id: parts_of(row, options.parts) for row in context.rows(InputSpec.parse(options.source))}
    counts: Counter[str] = Counter()
    rules = options.rules()
    items = cleaned(context.counted_rows(data), sources, rules, options.parts, counts)
    yield Output(
        name=f"{data.name}-clean",
        items=_counted(items, counts, rules.thresholds(compares=sources is not None), context),
        num_in=lambda: context.num_in["row"],
    )


def _counted(
    items: Iterator[Row | Dropped], counts: Counter[str], thresholds: Mapping[str, str | float], context: BuildContext
) -> Iterator[Row | Dropped]:
    yield from items
    context.tables["rows that break a rule"] = [
        {"rule": rule, "threshold": threshold, "rows": None if threshold == OFF else counts[rule]}
        for rule, threshold in thresholds.items()
    ]


def cleaned(
    rows: Iterable[Row],
    sources: Mapping[str, tuple[str, ...]] | None,
    rules: CleaningRules,
    parts: Parts,
    counts: Counter[str],
) -> Iterator[Row | Dropped]:
    """Yields every row that breaks no rule. The first rule that a row breaks is the reason for dropping it.

    Args:
        sources: Id -> the texts of the source row. None: nothing is compared.
        counts: Incremented for each rule that a row breaks.
    """
    for row in rows:
        texts = parts_of(row, parts)
        given = (None,) * len(texts) if sources is None else sources.get(row.id)
        if given is None:
            yield _dropped(row, "no_source", "the source has no row with this id")
        elif len(given) != len(texts):
            yield _dropped(row, "other_parts", f"{len(texts)} texts, its source {len(given)}")
        else:
            pairs = zip(texts, given, strict=True)
            found = {rule for text, source in pairs for rule in rules.broken(text=text, source=source)}
            counts.update(found)
            broken = [rule for rule in RULES if rule in found]
            yield _dropped(row, broken[0], ", ".join(broken)) if broken else row


def _dropped(row: Row, reason: str, detail: str) -> Dropped:
    return Dropped(unit="row", id=row.id, reason=reason, detail=detail, source=row.source)


def parts_of(row: Row, parts: Parts) -> tuple[str, ...]:
    """Returns the texts of a row that are checked."""
    if isinstance(row.example, Text):
        return (row.example.text,)
    return tuple(
        message.content
        for message in messages(row.example)
        if parts == "all" or (message.role is Role.ASSISTANT and message.is_trained)
    )
