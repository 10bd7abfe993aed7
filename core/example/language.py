"""Languages in the spellings that people use: `EN`, `en-US`, `eng`, `English`.

    >>> [language_code(text) for text in ("EN", "en-US", "eng", "English", "zh_TW", "Klingonese")]
    ['en', 'en', 'en', 'en', 'zh', 'Klingonese']

    >>> language_name("pt"), language_name("fi"), language_name("Klingonese")
    ('Portuguese', 'Finnish', 'Klingonese')

Where it sits: reading asks it for each record that names a language; curation compares codes.
"""

import re
from functools import lru_cache
from typing import Any

from core.errors import DataError

_FIELDS = ("alpha_2", "alpha_3", "bibliographic", "name")
"""Codes before names: `en` is also the name of a language of Vietnam."""


@lru_cache(maxsize=1024)
def language_code(text: str) -> str:
    """The ISO 639-1 code of a language as written, or its ISO 639-3 code where it has none shorter.

    Region and script are left out: `zh-Hant-TW` is `zh`. What no table knows is returned as it is.
    """
    name = text.strip()
    found = _language(name) or _language(re.split(r"[-_]", name)[0])
    return str(getattr(found, "alpha_2", None) or found.alpha_3) if found else name


def known_code(text: str, *, field: str) -> str:
    """The code of a language that somebody typed.

    Raises:
        DataError: it is none that ISO 639 knows.
    """
    name = text.strip()
    if not (_language(name) or _language(re.split(r"[-_]", name)[0])):
        raise DataError(f"`{field}={text}`: not a language. Give a code or an English name, for example `{field}=fi`.")
    return language_code(text)


@lru_cache(maxsize=1024)
def language_name(code: str) -> str:
    """The English name of a language by its code, as NI's task files write it; what no table knows stays as it is."""
    found = _language(code)
    return re.sub(r"^Modern |\s*\(.*\)$", "", found.name) if found else code


def _language(text: str) -> Any:
    """The entry of ISO 639; None: there is none."""
    import pycountry

    entries = (pycountry.languages.get(**{field: text}) for field in _FIELDS) if text else ()
    return next((entry for entry in entries if entry), None)
