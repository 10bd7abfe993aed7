"""Policies: why a row is left out of the mix. `dropped.jsonl` holds the reason.

    screen = Screen(ScreenSpec(parameters=PolicyParameters(), tokenizer=None, suites={}))
    screen.examine([row])[0].reason

Each policy depends on one row only, so that rows can be examined in any number of workers. Duplicates, which depend on
other rows, are found by `duplicate.py`.

Where it sits: row and source -> **policy** -> draw.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from operator import eq
from pathlib import Path
from typing import Any

from core.errors import MixError
from core.example.licence import Licence, classify
from core.model.token_counter import TokenCounter
from core.text import pieces
from curation.policies.contamination import NGRAM, Suites
from curation.policies.duplicate import DedupKey
from curation.policies.licence import LicencePolicy
from curation.sources.source import MixRow


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyParameters:
    """Which rows may not be trained on."""

    max_tokens: int | None = 2048
    """Largest number of tokens of a row, with template. None: only words limit a row."""
    max_words: int | None = None
    """A row's instruction and input must have fewer words, split at spaces. Source: 800 in the winner's scripts."""
    min_input_words: int = 0
    """Least number of words of an input. Source: 5 in the winner's script, which drops most one-line questions."""
    licences: LicencePolicy = LicencePolicy.COMMERCIAL
    llm_generated: bool = False
    """Take rows that a language model wrote. The challenge forbade the output of most models, OpenAI's included."""
    language: str | None = "en"
    """ISO 639 code of the language to take. It is detected if a row's source does not declare it. None: any."""
    degenerate: bool = True
    """Drop broken answers: undecodable characters, placeholders, one piece of text repeated."""
    dedup_key: DedupKey = DedupKey.INSTRUCTION_AND_INPUT
    near_duplicates: float | None = 0.9
    """Jaccard similarity of 5-word shingles at which rows with equal answers are duplicates. None: exact only."""
    contamination_ngram: int = NGRAM
    max_ifd: float | None = None
    """With `signals`: largest loss of a row's answer behind the prompt per loss without it. 1 drops answers that the
    prompt makes less likely. Source: IFD, arXiv 2308.12032, which leaves rows above 1 out. None: any."""
    hard_share: float = 0.1
    """With `probe_losses`: a loss is high if it is among this share of the highest. A row with a high loss before and
    after the probe is dropped, because it stays as hard as noise. Source: ours; not measured whether it helps."""
    refill: bool = True
    """Examine rows before the draw, so that dropped rows are replaced. The winner's scripts draw first."""

    def __post_init__(self) -> None:
        if self.near_duplicates is not None and not 0.5 <= self.near_duplicates <= 1:
            raise MixError(f"policies.near_duplicates: {self.near_duplicates} is not in [0.5, 1]. 0.9 is usual.")
        if self.max_ifd is not None and not self.max_ifd > 0:
            raise MixError(f"policies.max_ifd: {self.max_ifd} would drop every row. 1 is usual, or give none.")
        if not 0 < self.hard_share < 1:
            raise MixError(f"policies.hard_share: {self.hard_share} is not in (0, 1). 0.1 is a tenth of the rows.")
        if self.language is not None and len(self.language) not in (2, 3):
            raise MixError(f"policies.language: {self.language} is no ISO 639 code. Give en, or none for all.")
        if self.contamination_ngram < 5:
            raise MixError(f"policies.contamination_ngram: {self.contamination_ngram} is below 5. 13 is usual.")
        for name, value in (("max_tokens", self.max_tokens), ("max_words", self.max_words)):
            if value is not None and value < 1:
                raise MixError(f"policies.{name}: {value} would drop every row. Give 1 or more, or none.")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScreenSpec:
    """What a worker builds its `Screen` from."""

    parameters: PolicyParameters
    tokenizer: Path | None
    """Tokenizer file; None: tokens are not counted."""
    suites: Mapping[str, Path]
    count_all: bool = False
    """Count the tokens of every row, not only of rows that may be too long."""
    unlearnable: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """(task, id) of rows that stay hard after a probe -> their losses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Screened:
    """The verdict of the policies on one row."""

    reason: str
    """Why the row is left out; empty if it may be drawn."""
    detail: str
    num_tokens: int
    """0 if the tokens were not counted."""


class Screen:
    """Applies the policies to rows."""

    def __init__(self, spec: ScreenSpec) -> None:
        self._spec = spec
        self.parameters = spec.parameters
        self._tokens = TokenCounter.load(spec.tokenizer) if spec.tokenizer else None
        self._suites = Suites.read(spec.suites, ngram=self.parameters.contamination_ngram) if spec.suites else None
        self._language_of: Callable[[str], str] | None = None

    def examine(self, rows: Sequence[MixRow]) -> list[Screened]:
        """One verdict per row; the first policy that excludes it gives the reason."""
        counts = self._count(rows)
        return [self._verdict(row, n) for row, n in zip(rows, counts, strict=True)]

    def _verdict(self, row: MixRow, num_tokens: int) -> Screened:
        reason, detail = self._bad_origin(row)
        if not reason:
            reason, detail = self._bad_length(row, num_tokens)
        if not reason:
            reason, detail = self._bad_text(row)
        if not reason:
            reason, detail = self._contaminated(row)
        if not reason and (row.task, row.id) in self._spec.unlearnable:
            reason, detail = "unlearnable", self._spec.unlearnable[row.task, row.id]
        return Screened(reason=reason, detail=detail, num_tokens=num_tokens)

    @property
    def counts_tokens(self) -> bool:
        """Whether there is a tokenizer."""
        return self._tokens is not None

    def count_rows(self, rows: Sequence[MixRow]) -> list[int]:
        """Tokens of every row; 0 without a tokenizer."""
        if self._tokens is None:
            return [0] * len(rows)
        return self._tokens.count_rows([(r.instruction, r.input, r.output) for r in rows])

    def _count(self, rows: Sequence[MixRow]) -> list[int]:
        """Token counts of the rows that may be too long, or of all. A token is at least one byte."""
        if self._tokens is None:
            return [0] * len(rows)
        limit = self.parameters.max_tokens
        doubtful = [
            i for i, r in enumerate(rows) if self._spec.count_all or (limit is not None and _num_bytes(r) > limit)
        ]
        counts = self._tokens.count_rows([(rows[i].instruction, rows[i].input, rows[i].output) for i in doubtful])
        result = [0] * len(rows)
        for i, n in zip(doubtful, counts, strict=True):
            result[i] = n
        return result

    def _bad_origin(self, row: MixRow) -> tuple[str, str]:
        licence = _classified(row.licence)
        if self.parameters.licences.refuses(licence):
            return ("non_commercial" if licence is Licence.NON_COMMERCIAL else "unknown_licence"), row.licence
        if row.llm_generated and not self.parameters.llm_generated:
            return "llm_generated", row.origin
        return "", ""

    def _bad_length(self, row: MixRow, num_tokens: int) -> tuple[str, str]:
        if self.parameters.max_tokens is not None and num_tokens > self.parameters.max_tokens:
            return "too_long", f"{num_tokens} tokens, limit {self.parameters.max_tokens}"
        if self.parameters.max_words is not None:
            num_words = len(f"{row.instruction} {row.input}".split(" "))
            if num_words >= self.parameters.max_words:
                return "too_long", f"{num_words} words, limit {self.parameters.max_words}"
        num_words = len(row.input.split(" ")) if row.input else 0
        if num_words < self.parameters.min_input_words:
            return "short_input", f"{num_words} words, at least {self.parameters.min_input_words}"
        return "", ""

    def _bad_text(self, row: MixRow) -> tuple[str, str]:
        if self.parameters.degenerate and (why := degenerate(row.output)):
            return "degenerate", why
        if self.parameters.language:
            spoken = row.language or self._detect(row)
            if spoken not in ("", self.parameters.language):
                return "language", spoken
        return "", ""

    def _detect(self, row: MixRow) -> str:
        """The language of a row; empty if it has too little text, or mostly code."""
        text = f"{row.instruction} {row.input} {row.output}"
        letters = sum(map(str.isalpha, text))
        if letters < _LEAST_LETTERS or letters < 0.6 * len(text):
            return ""
        if self._language_of is None:
            self._language_of = _language_detector()
        return self._language_of(text[:_DETECTED_CHARACTERS])

    def _contaminated(self, row: MixRow) -> tuple[str, str]:
        if self._suites is None:
            return "", ""
        for text in (row.instruction, row.input, row.output):
            match = self._suites.find(text)
            if match:
                return "contaminated", str(match)
        return "", ""


@lru_cache(maxsize=1024)
def _classified(licence: str) -> Licence:
    """All rows of a task or source have the same licence text."""
    return classify(licence.split(" | "))


_LEAST_LETTERS, _DETECTED_CHARACTERS = 60, 1000
_SURE = 0.9
"""Least probability at which a detected language is accepted."""


def _language_detector() -> Callable[[str], str]:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier: Any = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)

    def detect(text: str) -> str:
        language, probability = identifier.classify(text)
        return str(language) if probability >= _SURE else ""

    return detect


def _num_bytes(row: MixRow) -> int:
    return len(row.instruction.encode()) + len(row.input.encode()) + len(row.output.encode()) + 64


_PLACEHOLDER = re.compile(r"^(nan|#ref!|#value!|\[deleted\]|\[removed\]|lorem ipsum.*)$", re.IGNORECASE | re.DOTALL)


def degenerate(answer: str) -> str:
    """Why an answer is broken; empty if it is not.

    A short label, a symbol or a copy of the input may be the right answer and does not count as broken.

    >>> degenerate("yes yes yes yes yes yes yes yes yes yes yes yes yes yes yes yes yes yes yes yes yes")
    'one piece of text makes up 100 % of it'
    """
    text = answer.strip()
    if not text:
        return "empty"
    if "\ufffd" in text:
        return "undecodable characters"
    if _PLACEHOLDER.match(text):
        return f"placeholder {text[:20]!r}"
    words = pieces(text)
    if len(words) >= _LEAST_REPEATED_WORDS:
        longest = min(_LONGEST_PIECE, len(words) // _LEAST_TIMES)
        most_distinct = longest + (1 - _REPEATED_SHARE) * (len(words) - longest)
        if len(set(words)) > most_distinct:  # no piece can be repeated that often; spares most answers the loop
            return ""
        share = max(sum(map(eq, words, words[n:])) / (len(words) - n) for n in range(1, longest + 1))
        if share >= _REPEATED_SHARE:
            return f"one piece of text makes up {share:.0%} of it".replace("%", " %")
    return ""


_LEAST_REPEATED_WORDS, _LONGEST_PIECE, _LEAST_TIMES, _REPEATED_SHARE = 20, 16, 4, 0.75
"""An answer of at least so many words is degenerate if this share of them equals the word one piece later, for a piece
of at most 16 words that can occur 4 times."""
