"""Licences: what a text may be used for, from what its source wrote.

    >>> spdx("CC BY-NC 4.0"), classify(["CC BY-NC 4.0"])
    ('CC-BY-NC-4.0', <Licence.NON_COMMERCIAL: 'non_commercial'>)

NI writes licences in 30 spellings (measured over 80 selected files), half of them "Unknown". A spelling that is not
recognised as an open licence counts as unknown, never as allowed. The raw string travels with every row.

Where it sits: asked by curation's selection, sources and policies, and by the check of own data.
"""

import re
from collections.abc import Iterable
from enum import StrEnum


class Licence(StrEnum):
    """What may be done with a text."""

    ALLOWED = "allowed"
    NON_COMMERCIAL = "non_commercial"
    UNKNOWN = "unknown"


UNKNOWN_SPDX = "NOASSERTION"
"""SPDX's word for a licence that nobody stated."""

_SPELLINGS = {
    "mit": "MIT",
    "apache": "Apache-2.0",
    "apache 2": "Apache-2.0",
    "apache 2.0": "Apache-2.0",
    "apache-2": "Apache-2.0",
    "apache-2.0": "Apache-2.0",
    "apache version 2.0": "Apache-2.0",
    "afl 3.0": "AFL-3.0",
    "afl-3.0": "AFL-3.0",
    "bsd-3-clause": "BSD-3-Clause",
    "cc0": "CC0-1.0",
    "cc0 1.0": "CC0-1.0",
    "cc0-1.0": "CC0-1.0",
    "cc0: public domain": "CC0-1.0",
    "cdla permissive 2.0": "CDLA-Permissive-2.0",
    "cdla-permissive-2.0": "CDLA-Permissive-2.0",
    "gfdl": "GFDL-1.3-or-later",
    "public domain": "LicenseRef-PublicDomain",
    "librivox: public domain": "LicenseRef-PublicDomain",
    "oanc": "LicenseRef-OANC",
    "odc-by": "ODC-By-1.0",
    "odc-by-1.0": "ODC-By-1.0",
}
"""Lower-cased spelling without its link -> SPDX name. An upstream name without a version takes the current one."""

_CC = re.compile(r"^cc[ -]by((?:-(?:nc|sa|nd))*)(?:[ -](\d\.\d))?$")
_NON_COMMERCIAL = re.compile(
    r"(?<![a-z])(nc|non[- ]?commercial|(not?|no) (for )?commercial use|research[- ]only|academic research|msr-la"
    r"|race license)(?![a-z])",
    re.IGNORECASE,
)
_LINK = re.compile(r"\s*\(?https?://\S+")
_WORD = re.compile(r"(?:^the |,| licen[cs]e\b)")
"""What people write around a name: `MIT License`, `The Apache License, Version 2.0`."""


def spdx(raw: str) -> str:
    """The SPDX name of a licence as written; `NOASSERTION` if it is none that is recognised.

    >>> spdx("LibriVox: Public Domain (https://librivox.org/pages/public-domain/)"), spdx("Unknown")
    ('LicenseRef-PublicDomain', 'NOASSERTION')
    >>> spdx("The Apache License, Version 2.0"), spdx("cc-by-sa-4.0")
    ('Apache-2.0', 'CC-BY-SA-4.0')
    """
    text = " ".join(_WORD.sub(" ", _LINK.sub("", raw).strip().lower().replace("_", "-")).split())
    found = _CC.match(text)
    if found:
        name = f"CC-BY{found[1].upper()}"
        return f"{name}-{found[2]}" if found[2] else f"LicenseRef-{name}"
    return _SPELLINGS.get(text, UNKNOWN_SPDX)


def spdx_expression(raw: Iterable[str]) -> str:
    """All licences of a file in one SPDX expression, each once."""
    names = list(dict.fromkeys(spdx(text) for text in raw)) or [UNKNOWN_SPDX]
    return " AND ".join(names)


def classify(raw: Iterable[str]) -> Licence:
    """The strictest reading of all the licences a file names; none at all is unknown."""
    texts = [text.strip() for text in raw]
    if any(_NON_COMMERCIAL.search(text) for text in texts):
        return Licence.NON_COMMERCIAL
    if not texts or any(spdx(text) == UNKNOWN_SPDX for text in texts):
        return Licence.UNKNOWN
    return Licence.ALLOWED
