"""Contamination: rows that repeat a span of an evaluation suite.

    suites = Suites.read({"gsm8k": Path("gsm8k/test.jsonl")}, ngram=13)
    suites.find("Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in May.")

A span of 13 words in common marks a row (13-grams as in the GPT-3 paper, appendix C). Measured with planted rows:
13-grams found 495 of 495 and 197 of 200. A suite's item shorter than 13 words is compared as a whole, if it has 10
words; what is shorter still cannot be told from chance and is counted.

Where it sits: asked by the row policies; it sees texts only.
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
"""A whole item of fewer words would match by chance."""


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
    """Texts by suite that are too short to be told from chance."""
    _codes: dict[str, int] = field(default_factory=dict)
    _grams: dict[tuple[int, ...], tuple[str, int]] = field(default_factory=dict)
    _lengths: set[int] = field(default_factory=set)

    @classmethod
    def read(cls, paths: Mapping[str, Path], *, ngram: int = NGRAM) -> "Suites":
        """Every text of every record of JSON-lines files, whatever its keys; nested lists and objects too.

        Raises:
            SourceError: a file without any text. StageError: unreadable.
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
        found = words(text)
        if len(found) < min(LEAST_WORDS, self.ngram):
            self.num_unchecked[suite] += 1
            return
        codes = [self._codes.setdefault(word, len(self._codes)) for word in found]
        length = min(self.ngram, len(codes))
        self._lengths.add(length)
        for start in range(len(codes) - length + 1):
            self._grams.setdefault(tuple(codes[start : start + length]), (suite, item))

    def find(self, text: str) -> Match | None:
        """The first span of a text that stands in a suite; a match goes on as long as the item does."""
        given = words(text)
        codes = [self._codes.get(word, -1) for word in given]
        for start, stop in _known_runs(codes, min(self._lengths, default=self.ngram)):
            found = self._find(codes, start, stop)
            if found:
                (suite, item), first, last = found
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
    """Stretches of `least` words or more that occur in the suites at all."""
    start = 0
    for position, code in enumerate([*codes, -1]):
        if code < 0:
            if position - start >= least:
                yield start, position
            start = position + 1


def _texts(value: Any) -> Iterator[str]:
    """In order, and however deeply they are nested."""
    waiting = [value]
    while waiting:
        found = waiting.pop()
        if isinstance(found, str):
            yield found
        elif isinstance(found, dict):
            waiting += reversed(found.values())
        elif isinstance(found, list):
            waiting += reversed(found)
