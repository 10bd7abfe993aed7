"""Scores: exact match and ROUGE-L of a prediction against its references.

    >>> exact_match(" Positive.", ["positive"], Normaliser.WORDS_AND_NUMBERS)
    True
    >>> exact_match("1.5", ["15"], Normaliser.WORDS_AND_NUMBERS)
    False
    >>> round(RougeLScorer()("the cat sat", ["a cat sat down"]), 4)
    0.5714

The normaliser, the ROUGE implementation, its preprocessing and the rule for empty predictions decide the bucket
(measured: only 47 and 68 % of rows share a bucket between two implementations), so all four are parameters.

Where it sits: predict -> **score** -> bucket.
"""

import string
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Any

from core.errors import ScoreError
from core.example.prompt import STOP, cut_at_stop
from core.files import read_jsonl
from core.generation.prediction import MeasuredPrediction, Prediction
from core.generation.request import Kind
from core.generation.signals import Signals, signals_of
from core.text import formula_form, has_words, is_formula, is_plain, plain_form, tokens


class Normaliser(StrEnum):
    """How answers are normalised before an exact comparison.

    Measured on 2,300 answers: 0 % are right with `strict`, up to 6 % with `stripped`, up to 46 % with `normalised`.
    """

    STRICT = "strict"
    """`==`, as the winner's script."""
    STRIPPED = "stripped"
    NORMALISED = "normalised"
    """Lower case, ASCII punctuation out, white space folded: `1.5` becomes `15`."""
    WORDS_AND_NUMBERS = "words-and-numbers"
    """Words of any script without case and punctuation, numbers as they are written. If either text is a number, a
    list or tuple of numbers or a formula, only white space is normalised."""


class Rouge(StrEnum):
    """Which ROUGE-L."""

    ROUGE_SCORE = "rouge-score"
    """Google's ROUGE-L with stemmer, computed by `rouge-score-rs`. It only sees the characters a-z and 0-9."""
    ROUGE = "rouge"
    """The package `rouge`, which the winner's script used."""
    WORDS_AND_NUMBERS = "words-and-numbers"
    """`rouge-score` on words of any script, a number being one token with its sign, point and fraction. If either text
    is a number, a list or tuple of numbers or a formula, the score is 1.0 or 0.0, by exact match."""


class RougeText(StrEnum):
    """How both texts are changed before ROUGE-L is computed."""

    RAW = "raw"
    CLEANED = "cleaned"
    """Stripped, "." removed, lower-cased. Source: the winner's script."""


class EmptyRule(StrEnum):
    """The score of an empty prediction."""

    ZERO = "zero"
    REFERENCE = "reference"
    """An empty text is replaced by the other and scores 1.0. A bug of the winner's script, kept for its preset."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreParameters:
    """Every choice that decides a score."""

    normaliser: Normaliser = Normaliser.WORDS_AND_NUMBERS
    """Source: measured; the winner's `==` calls nearly every right answer wrong, `normalised` wrong numbers right."""
    rouge: Rouge = Rouge.WORDS_AND_NUMBERS
    rouge_text: RougeText = RougeText.RAW
    empty: EmptyRule = EmptyRule.ZERO
    stop: tuple[str, ...] = (STOP,)
    """A prediction is scored up to the first of these strings, whichever engine wrote it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """The score of the base model's answer to one instance. One line of `scores.jsonl`."""

    task: str
    id: str
    kind: Kind
    score: float
    """Exact match: 0.0 or 1.0. Generation: ROUGE-L F1 in [0, 1]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredScore(Score):
    """A score with the signals of its row."""

    signals: Signals


_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalise(text: str, normaliser: Normaliser) -> str:
    """A text in the form that is compared. Formulas are compared by `formula_form` instead."""
    match normaliser:
        case Normaliser.STRICT:
            return text
        case Normaliser.STRIPPED:
            return text.strip()
        case Normaliser.NORMALISED:
            return " ".join(text.lower().translate(_PUNCTUATION).split())
    return plain_form(text)


def exact_match(prediction: str, references: Sequence[str], normaliser: Normaliser) -> bool:
    """Whether a prediction equals any reference once both are normalised.

    An answer that consists of punctuation (`?` against `!`) would be normalised to an empty text. Such a pair is
    compared as it is written, without regard to white space.

    Raises:
        ScoreError: `references` is empty.
    """
    _require(references)
    return any(_equal(prediction, reference, normaliser) for reference in references)


def _equal(given: str, expected: str, normaliser: Normaliser) -> bool:
    if normaliser is Normaliser.WORDS_AND_NUMBERS and any(map(is_formula, (expected, given))):
        return formula_form(given) == formula_form(expected)
    wanted, actual = normalise(expected, normaliser), normalise(given, normaliser)
    if wanted:
        return wanted == actual
    if normaliser is Normaliser.WORDS_AND_NUMBERS:
        return formula_form(given) == formula_form(expected)
    return (given.strip() == expected.strip()) if normaliser is Normaliser.NORMALISED else wanted == actual


def _require(references: Sequence[str]) -> None:
    if not references:
        raise ScoreError("an instance without references cannot be scored. Give at least one accepted answer.")


class RougeLScorer:
    """ROUGE-L F1 with stemmer, computed by `rouge-score-rs`; bit for bit equal to `rouge-score`.

    Args:
        tokenizer: A custom tokenizer, as `rouge-score` takes it.
    Source: Lin 2004; tokenizer and stemming rule of rouge-score 0.1.2; maximum over references as Tk-Instruct.
    """

    def __init__(self, tokenizer: Any = None) -> None:
        from rouge_score_rs.rouge_scorer import RougeScorer

        self._rouge: Any = RougeScorer(["rougeL"], use_stemmer=True, tokenizer=tokenizer)

    def __call__(self, prediction: str, references: Sequence[str]) -> float:
        """Best F1 of a prediction over its references; an empty side scores 0.0.

        Raises:
            ScoreError: `references` is empty.
        """
        _require(references)
        return float(self._rouge.score_multi(references, prediction)["rougeL"].fmeasure)


class WordsAndNumbersScorer:
    """ROUGE-L F1 over words of any script and whole numbers; exact match where no other wording is possible."""

    def __init__(self) -> None:
        self._plain = RougeLScorer()
        self._rouge_l = RougeLScorer(_StemmedTokens())

    def __call__(self, prediction: str, references: Sequence[str]) -> float:
        """Best F1 of a prediction over its references; an empty prediction scores 0.0.

        Raises:
            ScoreError: `references` is empty.
        """
        _require(references)
        return max(self._one(prediction, reference) for reference in references)

    def _one(self, prediction: str, reference: str) -> float:
        if is_formula(reference) or is_formula(prediction) or not has_words(reference):
            return float(bool(prediction.strip()) and formula_form(prediction) == formula_form(reference))
        is_plain_pair = is_plain(prediction) and is_plain(reference)  # the same tokens, found an order faster
        return (self._plain if is_plain_pair else self._rouge_l)(prediction, [reference])


class _StemmedTokens:
    """`core.text.tokens` with English words stemmed as in `rouge-score`."""

    def __init__(self) -> None:
        from rouge_score_rs.tokenizers import DefaultTokenizer

        self._english: Any = DefaultTokenizer(use_stemmer=True)
        self._stem = lru_cache(maxsize=500_000)(self._stemmed)
        self.tokenize = lru_cache(maxsize=4096)(self._tokens)

    def _tokens(self, text: str) -> list[str]:
        return [self._stem(token) for token in tokens(text)]

    def _stemmed(self, token: str) -> str:
        return str(self._english.tokenize(token)[0]) if token.isascii() and token.isalpha() else token


class RougePackageScorer:
    """ROUGE-L F1 of the package `rouge`, which the 2023 winner used."""

    def __init__(self) -> None:
        try:
            from rouge import Rouge as RougePackage
        except ImportError as e:
            raise ScoreError("`scores.rouge=rouge` needs the package `rouge`. pip install 'oneday-llm[eval]'.") from e
        self._rouge: Any = RougePackage(metrics=["rouge-l"], stats=["f"])

    def __call__(self, prediction: str, references: Sequence[str]) -> float:
        """Best F1 over the references; an empty side scores 0.0.

        Raises:
            ScoreError: `references` is empty.
        """
        _require(references)
        return max(self._f1(prediction, reference) for reference in references)

    def _f1(self, given: str, target: str) -> float:
        if not given or not target:
            return 0.0
        try:
            return float(self._rouge.get_scores(given, target)[0]["rouge-l"]["f"])
        except (ValueError, RecursionError):  # the package refuses a text of nothing but separators
            return 0.0


RougeL = Callable[[str, Sequence[str]], float]

_SCORERS: Mapping[Rouge, Callable[[], RougeL]] = {
    Rouge.ROUGE_SCORE: RougeLScorer,
    Rouge.ROUGE: RougePackageScorer,
    Rouge.WORDS_AND_NUMBERS: WordsAndNumbersScorer,
}


def rouge_l_scorer(parameters: ScoreParameters) -> RougeL:
    """The ROUGE-L function that the parameters name."""
    plain = _SCORERS[parameters.rouge]()

    def scorer(prediction: str, references: Sequence[str]) -> float:
        if parameters.rouge_text is RougeText.CLEANED:
            prediction, references = _cleaned(prediction), [_cleaned(r) for r in references]
        empty = not prediction.strip() or not all(r.strip() for r in references)
        if empty and parameters.empty is EmptyRule.REFERENCE:
            return 1.0
        return plain(prediction, references)

    return scorer


def _cleaned(text: str) -> str:
    return text.strip().replace(".", "").lower()


def score(prediction: Prediction, parameters: ScoreParameters, rouge_l: RougeL) -> Score:
    """One prediction's score."""
    text = cut_at_stop(prediction.prediction, parameters.stop)
    if prediction.kind is Kind.EXACT_MATCH:
        value = float(exact_match(text, prediction.references, parameters.normaliser))
    else:
        value = rouge_l(text, prediction.references)
    task, row, kind = prediction.task, prediction.id, prediction.kind
    if isinstance(prediction, MeasuredPrediction):
        return MeasuredScore(task=task, id=row, kind=kind, score=value, signals=prediction.signals)
    return Score(task=task, id=row, kind=kind, score=value)


def read_scores(path: Path) -> Iterator[Score]:
    """The records of `scores.jsonl`, in order."""
    return (_score(**row) for row in read_jsonl(path))


def _score(kind: str, signals: Mapping[str, float] | None = None, **columns: Any) -> Score:
    if signals is None:
        return Score(kind=Kind(kind), **columns)
    return MeasuredScore(kind=Kind(kind), signals=signals_of(signals), **columns)
