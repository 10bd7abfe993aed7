"""The nearest known name of one that is not known, for a message.

    >>> did_you_mean("epocs", ["epochs", "seed"]), did_you_mean("x", ["epochs"])
    (' (did you mean epochs?)', '')

Where it sits: below every message about an unknown name.
"""

import difflib
from collections.abc import Iterable

CUTOFF = 0.6
"""Similarity from which a name counts as near; difflib's own."""


def did_you_mean(name: str, known: Iterable[str], *, cutoff: float = CUTOFF) -> str:
    """` (did you mean x?)`; empty: no known name is near."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=cutoff)
    return f" (did you mean {near[0]}?)" if near else ""
