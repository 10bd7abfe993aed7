"""The six criteria of the judge: the published prompt, and what a reply says.

    prompt = fill(read_prompt(path), task="Name a fruit.", submission="Apple.")
    parse_scores('{"Language": 3, "Fluency": "2"}')[Criterion.FLUENCY]    # 1

Stars are 1 to 3 in the prompt and 0 to 2 in results. What cannot be read is None, never a number.

Where it sits: **criteria** -> judge -> ratings.
Source: section 4 and appendix of Chirkova and Nikoulina, INLG 2024; judge_prompt.txt of naver/pasero.
"""

import json
import re
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

from core.files import sha256
from evaluation.errors import EvaluationError
from evaluation.item_file import find, read_bytes


class Criterion(StrEnum):
    """What an answer is judged by, 0 to 2 each."""

    LANGUAGE = "language"
    FLUENCY = "fluency"
    HELPFULNESS = "helpfulness"
    ACCURACY = "accuracy"
    LOGICAL_COHERENCE = "logical_coherence"
    HARMLESSNESS = "harmlessness"


Scores = Mapping[Criterion, int | None]
"""All six criteria; None: the reply does not say."""

JUDGE_PROMPT = "judge_prompt.txt"
JUDGE_PROMPT_SHA256 = "ed4758861b41692900e2a99a1ad851f6b7ce43be0a4b671c52a7b6e983353e30"
"""Of the published file, which says "3 starts" where the paper's table says "3 stars"."""

RELEVANCE_PROMPT = "relevance_prompt.txt"
RELEVANCE_PROMPT_SHA256 = "13640ac5e0e0963f8d69d3806dd94b583c421cc1d235e634911da49ae33ce200"
"""Of the text as printed in the paper."""

_PLACES = re.compile(r"%%%(TASK|SUBMISSION)%%%|\{(TASK|MODEL RESPONSE)\}")
_STARS = {"1": 0, "2": 1, "3": 2}


def read_prompt(path: Path, name: str, digest: str) -> str:
    """A published prompt out of a folder, or out of the file itself.

    Raises:
        EvaluationError: it is not there, or not the published text.
    """
    found = find(path, (name,))
    data = read_bytes(found)
    if sha256(data) != digest:
        raise EvaluationError(
            f"{found}: not the published prompt (sha256 {sha256(data)[:12]}, published {digest[:12]}). Restore it."
        )
    return data.decode()


def fill(prompt: str, *, task: str, submission: str) -> str:
    """The prompt with both texts in it. A placeholder inside a text stays as it is."""
    texts = {"TASK": task, "SUBMISSION": submission, "MODEL RESPONSE": submission}
    return _PLACES.sub(lambda place: texts[place.group(1) or place.group(2)], prompt)


def _key(name: str) -> str:
    return re.sub(r"[\s_]", "", name).lower()


_CRITERIA = {_key(criterion): criterion for criterion in Criterion}


def find_criterion(name: str) -> Criterion | None:
    """By its name without case, spaces and underscores."""
    return _CRITERIA.get(_key(name))


UNREADABLE: Scores = dict.fromkeys(Criterion)


def parse_scores(reply: str) -> Scores:
    """What a reply in JSON mode says. Text that is not one JSON object leaves all six open.

    Keys are compared without case, spaces and underscores. 1, 2 and 3 count as whole numbers, as floats and as digit
    strings; anything else, and a criterion that is given twice, is open.
    """
    try:
        pairs = json.loads(reply, object_pairs_hook=_Pairs)
    except (ValueError, RecursionError):
        return UNREADABLE
    if not isinstance(pairs, _Pairs):
        return UNREADABLE
    found: dict[Criterion, list[int | None]] = {}
    for name, value in pairs:
        criterion = find_criterion(name)
        if criterion is not None:
            found.setdefault(criterion, []).append(_score(value))
    return {c: found[c][0] if len(found.get(c, ())) == 1 else None for c in Criterion}


class _Pairs(list[tuple[str, Any]]):
    """A JSON object, keys that repeat included."""


def _score(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    text = str(value) if not isinstance(value, float) or not value.is_integer() else str(int(value))
    return _STARS.get(text)


_BINARY = re.compile(r"(?<![\d.,])[01](?![.,]?\d)")


def parse_binary(reply: str) -> int | None:
    """The last 0 or 1 in a reply that is no part of another number; None: there is none.

    >>> parse_binary("0 or 1? I say 1."), parse_binary("10 out of 10")
    (1, None)
    """
    found = _BINARY.findall(reply)
    return int(found[-1]) if found else None
