"""Preference pairs from rated answers: the best answer with the worst, or with each other answer.

    for first, second in candidates(prompt, "best-worst"):
        item = pair(prompt, first, second, "best-worst")    # a Row, or a Dropped for a tie or equal texts

Where it sits: rated records and message trees -> **pairs** -> preferences.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from core.example.example import Description, Message, Preference
from core.example.messages import untrained
from core.stage import Dropped
from curation.builders.rows import Row

PAIR = "pair"
"""Unit of the pairs."""


Pairing = Literal["best-worst", "best-rest"]
"""Which answers to a prompt form pairs: the best with the worst, or the best with each other answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RatedAnswer:
    """An answer with its rating."""

    id: str
    message: Message
    rating: float
    """Higher is better."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RatedPrompt:
    """A prompt with its rated answers, in the order of the file."""

    id: str
    messages: tuple[Message, ...]
    answers: Sequence[RatedAnswer]
    source: str
    description: Description


def candidates(prompt: RatedPrompt, pairing: Pairing) -> Iterator[tuple[RatedAnswer, RatedAnswer]]:
    """Yields the pairs of a prompt, the better answer first. Of two equal ratings the earlier answer comes first."""
    best, *others = sorted(prompt.answers, key=lambda answer: -answer.rating)
    yield from ((best, other) for other in (others[-1:] if pairing == "best-worst" else others))


def pair(prompt: RatedPrompt, better: RatedAnswer, worse: RatedAnswer, pairing: Pairing) -> Row | Dropped:
    """Returns a pair as a row. Drops a tie, texts that are equal after trimming, and an empty text."""
    name = prompt.id if pairing == "best-worst" else f"{prompt.id}/{worse.id}"
    if better.rating == worse.rating:
        return _dropped(name, "tie", f"{better.id} and {worse.id} have the same rating", prompt)
    if better.message.content.strip() == worse.message.content.strip():
        return _dropped(name, "equal_sides", f"{better.id} and {worse.id} are the same text", prompt)
    if not (better.message.content.strip() and worse.message.content.strip()):
        return _dropped(name, "empty_output", f"{better.id} or {worse.id} is empty", prompt)
    example = Preference(
        prompt=untrained(prompt.messages),
        chosen=(better.message,),
        rejected=(worse.message,),
        description=prompt.description,
    )
    return Row(id=name, example=example, source=prompt.source)


def _dropped(name: str, reason: str, detail: str, prompt: RatedPrompt) -> Dropped:
    return Dropped(unit=PAIR, id=name, reason=reason, detail=detail, source=prompt.source)
