"""The language of a text by langdetect, repeatable.

    langdetect_language("Hyvää huomenta kaikille, tervetuloa!")     # "fi"

langdetect draws from its n-grams at random. Its usual entry point takes the seed from a global variable that must be
set before the first use. Here the seed belongs to the factory, so a text gets the same language in any order of calls.

Where it sits: used by ifeval and by the share of responses in the right language.
"""

from functools import cache
from typing import Any

LANGDETECT = "langdetect"
"""The module; in the extra `eval`."""

SEED = 0


def langdetect_language(text: str) -> str | None:
    """ISO 639-1 code (`zh-cn`, `zh-tw` for Chinese); None: no letters to decide by."""
    from langdetect.lang_detect_exception import LangDetectException

    detector = _factory().create()
    detector.append(text)
    try:
        language: str = detector.detect()
    except LangDetectException:
        return None
    return language


@cache
def _factory() -> Any:
    from langdetect.detector_factory import PROFILES_DIRECTORY, DetectorFactory

    factory = DetectorFactory()
    factory.seed = SEED
    factory.load_profile(PROFILES_DIRECTORY)
    return factory
