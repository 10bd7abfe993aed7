"""What an answer says: prefix and containment of a reference, the chosen letter, the sentiment.

    >>> prefix("梵語。因為", ["梵語"]), contain("答案是梵語", ["梵語"])
    (True, True)
    >>> choice("答案: (B) 越南"), first_character("答案: (B) 越南", "ABCDE")
    ('B', None)

Each task has two forms: TC-Eval's own and that of Taiwan LLM's runner. An empty answer fails both.

Where it sits: questions -> **answer** -> suites.
Source: mtkresearch/MR-Models, TC-Eval at de1e10d; MiuLab/Taiwan-LLaMa's runner.
"""

import re
from collections.abc import Sequence

LETTERS = "ABCDE"
NEGATIVE, POSITIVE = "負面", "正面"
"""The two labels of IMDB-TC: 0 and 1."""

_LETTER = "([A-Ea-e])"
_IN_BRACKETS = rf"\(?{_LETTER}\)?"
_CHOOSE, _OPTION = "[選选]", "[項项擇择]"
_PATTERNS = tuple(
    re.compile(pattern)
    for pattern in (
        rf"^\s*{_LETTER}",
        rf"^\s*\({_LETTER}\)",
        rf"^{_CHOOSE}{_OPTION}?{_IN_BRACKETS}",
        rf"{_CHOOSE}[擇择]\s*{_IN_BRACKETS}",
        rf"答案(?:可能是|是|[為为]|[應应][為为]|[應应][該该]是|{_CHOOSE}[擇择]|{_CHOOSE}{_OPTION}[為为])?[：:]?\s*"
        rf"{_CHOOSE}?{_OPTION}?\s*{_IN_BRACKETS}",
        rf"[應应][該该]*{_CHOOSE}[擇择][：:]?\s*{_IN_BRACKETS}",
        rf"[該该應应]是[：:]?\s*{_IN_BRACKETS}",
        rf"正[確确]的?(?:{_CHOOSE}[項项]|[項项]|[陳陈]述)[應应該该]*是\s*{_IN_BRACKETS}",
        rf"正確.{{0,8}}是[選項选项擇择]?[：:]?\s*{_IN_BRACKETS}",
        rf"最恰當的選項為[：:]?\s*{_IN_BRACKETS}",
        rf"{_CHOOSE}{_OPTION}\s*[：:]?\s*{_IN_BRACKETS}\s*是?正[確确]",
        rf"{_IN_BRACKETS}\s*[應該应该]?[是為为]正[確确]",
        rf"回答\s*[：:]\s*{_IN_BRACKETS}",
    )
)
"""They give the same choice as the 34 patterns of the reference on all 10,799 recorded responses to such questions."""

_LATIN = re.compile("[A-Za-z]")


def prefix(response: str, references: Sequence[str]) -> bool:
    """Whether the stripped response begins with a stripped reference: TC-Eval's form."""
    text = response.strip()
    return bool(text) and any(text.startswith(reference.strip()) for reference in references)


def contain(response: str, references: Sequence[str]) -> bool:
    """Whether a reference occurs in the response: Taiwan LLM's form, which it prints as exact match.

    It is generous: a long wrong answer that holds the reference passes.
    """
    return bool(response.strip()) and any(reference.strip() in response for reference in references)


def choice(response: str, options: Sequence[str] = ()) -> str | None:
    """The chosen letter by TC-Eval's patterns; None if there is none or more than one.

    A response that begins with a Latin word counts as its first letter ("Because" as B), as in the reference.

    Args:
        options: Texts of the options; a response that begins with one of them chooses it. TMMLU gives none.
    """
    letters = {str(letter).upper() for pattern in _PATTERNS for letter in pattern.findall(response)}
    if len(letters) == 1:
        return letters.pop()
    latin = _LATIN.findall(response)
    if len(latin) == 1 and latin[0].upper() in LETTERS:
        return str(latin[0].upper())
    text = response.strip()
    begun = [(len(option), letter) for letter, option in zip(LETTERS, options, strict=False) if text.startswith(option)]
    return max(begun)[1] if begun else None


def first_character(response: str, allowed: str) -> str | None:
    """The first character if it is allowed: Taiwan LLM's form, meant for prompts that end in ` (`."""
    return response[0] if response and response[0] in allowed else None


def sentiment(response: str) -> int | None:
    """1 if the response begins with the positive label, 0 with the negative one: TC-Eval's form."""
    text = response.lstrip()
    return 1 if text.startswith(POSITIVE) else 0 if text.startswith(NEGATIVE) else None
