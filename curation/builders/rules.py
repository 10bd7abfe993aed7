"""Rules that detect bad translations and degenerate texts. Each rule has a threshold; 0 turns it off.

    >>> rules = CleaningRules(words=1.5)
    >>> rules.broken(text="Kyllä, kyllä, kyllä.", source="Yes.")
    ['words', 'characters']

Source: the rules of a sister data set of the Finnish post-training data. Where they are ambiguous, a parameter decides:
"150 % more words" can mean 2.5 or 1.5 times as many, and white space can count as a symbol or not.

Where it sits: below clean.
"""

import gzip
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

_LEFTOVER = re.compile(r"<\|(?:user|assistant|im_start|im_end)\|>|^END$", re.MULTILINE)
"""Markers of the translation prompt and of ChatML."""

OFF = "off"
RULES = ("words", "characters", "symbols", "gzip", "language", "leftovers")
"""Names of the rules. The reason of a dropped row is the first rule in this order that it breaks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CleaningRules:
    """The thresholds; 0 turns a rule off."""

    words: float = 2.5
    characters: float = 1.5
    symbols: float = 0.3
    count_spaces: bool = False
    gzip: float = 0.3
    language: str = ""
    probability: float = 0.9
    least_letters: int = 60
    leftovers: bool = True
    detect: Callable[[str, str], float] = field(default_factory=lambda: probability_of)
    """(text, language) -> probability that the text is in the language."""

    def thresholds(self, *, compares: bool) -> dict[str, str | float]:
        """Returns the threshold of each rule, or `off`.

        Args:
            compares: Whether there is a source to compare with.
        """
        values: dict[str, str | float] = {
            "words": self.words if compares else OFF,
            "characters": self.characters if compares else OFF,
            "symbols": self.symbols,
            "gzip": self.gzip,
            "language": f"{self.language} {self.probability:g}" if self.language else OFF,
            "leftovers": "on" if self.leftovers else OFF,
        }
        return {rule: values[rule] or OFF for rule in RULES}

    def broken(self, *, text: str, source: str | None) -> list[str]:
        """Returns the rules that a text breaks.

        Args:
            source: The text that was translated. None: the rules about length are not applied.
        """
        checks: dict[str, bool] = {
            "words": bool(self.words) and source is not None and _longer(text.split(), source.split(), self.words),
            "characters": bool(self.characters) and source is not None and _longer(text, source, self.characters),
            "symbols": bool(self.symbols) and symbol_share(text, count_spaces=self.count_spaces) > self.symbols,
            "gzip": bool(self.gzip) and bool(text) and compressed_share(text) < self.gzip,
            "language": bool(self.language) and self._is_other_language(text),
            "leftovers": self.leftovers and _leftovers(text) > _leftovers(source or ""),
        }
        return [name for name in RULES if checks[name]]

    def _is_other_language(self, text: str) -> bool:
        if sum(map(str.isalpha, text)) < max(1, self.least_letters):
            return False
        return self.detect(text, self.language) < self.probability


def _longer(text: Any, source: Any, factor: float) -> bool:
    return len(text) > factor * len(source)


def symbol_share(text: str, *, count_spaces: bool) -> float:
    """Returns the share of characters that are neither letters nor digits.

    >>> symbol_share("a b!", count_spaces=True), symbol_share("a b!", count_spaces=False)
    (0.5, 0.3333333333333333)
    """
    counted = text if count_spaces else "".join(text.split())
    return sum(not character.isalnum() for character in counted) / len(counted) if counted else 0.0


def compressed_share(text: str) -> float:
    """Returns the size after gzip (level 9, no time stamp) divided by the size in UTF-8. Repetition makes it small."""
    raw = text.encode()
    return len(gzip.compress(raw, 9, mtime=0)) / len(raw)


def _leftovers(text: str) -> int:
    return len(_LEFTOVER.findall(text))


def probability_of(text: str, language: str) -> float:
    """Returns the probability that a text is in a language, by langid."""
    return float(dict(_identifier().rank(text)).get(language, 0.0))


@cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
