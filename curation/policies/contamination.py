"""Contamination: finds rows that repeat a span of an evaluation suite.

    suites = Suites.read({"gsm8k": Path("gsm8k/test.jsonl")}, ngram=13)
    suites.find("Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in May.")

A row is contaminated if it has a span of 13 words in common with a suite (13-grams as in the GPT-3 paper, appendix C).
Measured with planted rows, 13-grams found 495 of 495 and 197 of 200. An item of a suite with 10 to 12 words is compared
as a whole. Shorter items match by chance; they are not compared, and counted.

Where it sits: used by the row policies.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.errors import SourceError
from core.files import read_jsonl
from core.text import words

NGRAM = 13
LEAST_WORDS = 10
"""An item of fewer words is not compared, because it would match by chance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """A span that a row shares with a suite."""

    suite: str
    item: int
    """Number of the record in the suite's file, from 1."""
    span: str
    """The shared words, lower-cased, without punctuation."""

    def __str__(self) -> str:
        return f"{self.suite}:{self.item}: {self.span}"


@dataclass(slots=True)
class Suites:
    """The n-grams of evaluation suites. Build it with `read`."""

    ngram: int
    num_unchecked: dict[str, int] = field(default_factory=dict)
    """Suite -> number of texts that are too short to be compared."""
    _codes: dict[str, int] = field(default_factory=dict)
    _grams: dict[tuple[int, ...], tuple[str, int]] = field(default_factory=dict)
    _lengths: set[int] = field(default_factory=set)

    @classmethod
    def read(cls, paths: Mapping[str, Path], *, ngram: int = NGRAM) -> "Suites":
        """Reads every text of every record of JSON-lines files, whatever its key, also in nested lists and objects.

        Raises:
            SourceError: a file contains no text.
            StageError: a file is unreadable.
        """
        suites = cls(ngram)
        for name, path in sorted(paths.items()):
            suites.num_unchecked[name] = 0
            empty = True
            for item, record in enumerate(read_jsonl(path), start=1):
                for text in _texts(record):
                    suites._add(name, item, text)
                    empty = False
            if empty:
                raise SourceError(
                    f"{path}: holds no text. `against=NAME=FILE` takes JSON lines of a suite's questions."
                )
        return suites

    def _add(self, suite: str, item: int, text: str) -> None:
        text_words = words(text)
        if len(text_words) < min(LEAST_WORDS, self.ngram):
            self.num_unchecked[suite] += 1
            return
        codes = [self._codes.setdefault(word, len(self._codes)) for word in text_words]
        length = min(self.ngram, len(codes))
        self._lengths.add(length)
        for start in range(len(codes) - length + 1):
            self._grams.setdefault(tuple(codes[start : start + length]), (suite, item))

    def find(self, text: str) -> Match | None:
        """The first span of a text that occurs in a suite, extended as far as it matches the same item."""
        given = words(text)
        codes = [self._codes.get(word, -1) for word in given]
        for start, stop in _known_runs(codes, min(self._lengths, default=self.ngram)):
            span = self._find(codes, start, stop)
            if span:
                (suite, item), first, last = span
                return Match(suite=suite, item=item, span=" ".join(given[first:last]))
        return None

    def _find(self, codes: Sequence[int], start: int, stop: int) -> tuple[tuple[str, int], int, int] | None:
        for length in sorted(self._lengths, reverse=True):
            for first in range(start, stop - length + 1):
                where = self._grams.get(tuple(codes[first : first + length]))
                if where:
                    last = first + length
                    while last < stop and self._grams.get(tuple(codes[last - length + 1 : last + 1])) == where:
                        last += 1
                    return where, first, last
        return None


def _known_runs(codes: Sequence[int], least: int) -> Iterator[tuple[int, int]]:
    """Ranges of at least `least` words that all occur in the suites."""
    start = 0
    for position, code in enumerate([*codes, -1]):
        if code < 0:
            if position - start >= least:
                yield start, position
            start = position + 1


def _texts(value: Any) -> Iterator[str]:
    """All texts in a JSON value, in order."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict):
            waiting += reversed(item.values())
        elif isinstance(item, list):
            waiting += reversed(item)
