"""Licences: which use of a text is allowed, from the licence that its source states.

    >>> spdx("CC BY-NC 4.0"), classify(["CC BY-NC 4.0"])
    ('CC-BY-NC-4.0', <Licence.NON_COMMERCIAL: 'non_commercial'>)

NI files have 30 spellings of licences (measured over 80 selected files). A spelling that is not recognised as an open
licence counts as unknown. The original text stands in every row.

Where it sits: used by the selection of tasks, the sources and the policies.
"""

import re
from collections.abc import Iterable
from enum import StrEnum


class Licence(StrEnum):
    """The use that a licence allows."""

    ALLOWED = "allowed"
    NON_COMMERCIAL = "non_commercial"
    UNKNOWN = "unknown"


class LicencePolicy(StrEnum):
    """Which licences are accepted."""

    ALL = "all"
    """As the winner did."""
    COMMERCIAL = "commercial"
    """All licences that do not exclude commercial use, unknown ones included."""
    KNOWN = "known"
    """Only licences that are recognised as open."""

    def refuses(self, licence: Licence) -> bool:
        """Whether texts under this licence are left out."""
        if self is LicencePolicy.ALL:
            return False
        return licence is Licence.NON_COMMERCIAL or (self is LicencePolicy.KNOWN and licence is Licence.UNKNOWN)


UNKNOWN_SPDX = "NOASSERTION"
"""SPDX's word for a licence that is not stated."""

_SPELLINGS = {
    "mit": "MIT",
    "apache": "Apache-2.0",
    "apache 2.0": "Apache-2.0",
    "apache-2.0": "Apache-2.0",
    "afl 3.0": "AFL-3.0",
    "afl-3.0": "AFL-3.0",
    "bsd-3-clause": "BSD-3-Clause",
    "cc0: public domain": "CC0-1.0",
    "cc0-1.0": "CC0-1.0",
    "cdla permissive 2.0": "CDLA-Permissive-2.0",
    "gfdl": "GFDL-1.3-or-later",
    "public domain": "LicenseRef-PublicDomain",
    "librivox: public domain": "LicenseRef-PublicDomain",
    "oanc": "LicenseRef-OANC",
    "odc-by": "ODC-By-1.0",
}
"""Lower-cased spelling without its link -> SPDX name. A name without a version gets the current version."""

_CC = re.compile(r"^cc[ -]by((?:-(?:nc|sa|nd))*)(?:[ -](\d\.\d))?$")
_NON_COMMERCIAL = re.compile(
    r"(?<![a-z])(nc|non[- ]?commercial|(not?|no) (for )?commercial use|research[- ]only|academic research|msr-la"
    r"|race license)(?![a-z])",
    re.IGNORECASE,
)
_LINK = re.compile(r"\s*\(?https?://\S+")


def spdx(raw: str) -> str:
    """The SPDX name of a licence as its source writes it; `NOASSERTION` if it is not recognised.

    >>> spdx("LibriVox: Public Domain (https://librivox.org/pages/public-domain/)"), spdx("Unknown")
    ('LicenseRef-PublicDomain', 'NOASSERTION')
    """
    text = _LINK.sub("", raw).strip().lower()
    match = _CC.match(text)
    if match:
        name = f"CC-BY{match[1].upper()}"
        return f"{name}-{match[2]}" if match[2] else f"LicenseRef-{name}"
    return _SPELLINGS.get(text, UNKNOWN_SPDX)


def spdx_expression(raw: Iterable[str]) -> str:
    """One SPDX expression for all licences of a file."""
    names = list(dict.fromkeys(spdx(text) for text in raw)) or [UNKNOWN_SPDX]
    return " AND ".join(names)


def classify(raw: Iterable[str]) -> Licence:
    """The strictest of a file's licences; unknown if the file states none."""
    texts = [text.strip() for text in raw]
    if any(_NON_COMMERCIAL.search(text) for text in texts):
        return Licence.NON_COMMERCIAL
    if not texts or any(spdx(text) == UNKNOWN_SPDX for text in texts):
        return Licence.UNKNOWN
    return Licence.ALLOWED
