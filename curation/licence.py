"""Licences: what an `Instance License` allows.

    >>> classify(["CC BY-NC 4.0"])
    <Licence.NON_COMMERCIAL: 'non_commercial'>

NI writes licences in 30 spellings (measured over 80 selected files), half of them "Unknown". The raw string travels
with every row; this module only answers whether commercial use is barred.

Where it sits: asked by selection and by the sources.
"""

import re
from collections.abc import Iterable
from enum import StrEnum


class Licence(StrEnum):
    """What may be done with a text."""

    ALLOWED = "allowed"
    NON_COMMERCIAL = "non_commercial"
    UNKNOWN = "unknown"


_NON_COMMERCIAL = re.compile(r"(?<![a-z])(nc|non-?commercial|research only)(?![a-z])", re.IGNORECASE)
_UNKNOWN = re.compile(r"^(unknown|none|n/?a|)$", re.IGNORECASE)


def classify(raw: Iterable[str]) -> Licence:
    """The strictest reading of all the licences a file names; none at all is unknown."""
    texts = [text.strip() for text in raw]
    if any(_NON_COMMERCIAL.search(text) for text in texts):
        return Licence.NON_COMMERCIAL
    if not texts or any(_UNKNOWN.match(text) for text in texts):
        return Licence.UNKNOWN
    return Licence.ALLOWED
