"""Targets that give own rows a wanted share of the mix.

    >>> shared_targets({"letters": 300}, {"ni_generation": 50_000}, {"ni_generation": 9_000}, 0.3, keep_own=False)
    {'letters': 300, 'ni_generation': 700}

Where it sits: used before the draw, once it is known how many rows every source can give.
"""

from collections.abc import Mapping

from core.errors import MixError
from curation.sample import allocate


def shared_targets(
    own: Mapping[str, int], others: Mapping[str, int], could_give: Mapping[str, int], share: float, *, keep_own: bool
) -> dict[str, int]:
    """Rows by source, own rows first: as many as possible at the given share.

    Args:
        own: Number of own rows that can be drawn, by file.
        others: Largest number of rows of each other source.
        could_give: Number of rows that each source can give.
        share: Share of own rows in the mix.
        keep_own: Keep all own rows even if the others have too few rows; the share of own rows is then larger.

    Raises:
        MixError: there are no own rows, or no others.
    """
    most = {source: min(n, could_give.get(source, 0)) for source, n in others.items()}
    num_own, num_others = sum(own.values()), sum(most.values())
    if not num_own or not num_others:
        lacks = "rows of your own" if not num_own else "rows of NI tasks or other sources"
        raise MixError(
            f"`samples.own_share={share:g}`: no {lacks} can be drawn. Give more with `tasks=`, or leave "
            "`samples.own_share=` out."
        )
    wanted_own = num_own if keep_own else min(num_own, max(1, round(num_others * share / (1 - share))))
    wanted_others = min(num_others, max(1, round(wanted_own * (1 - share) / share)))
    given = _parts(wanted_own, own) | _parts(wanted_others, most, weights=others)
    return {source: given[source] for source in (*own, *others)}


def _parts(total: int, available: Mapping[str, int], *, weights: Mapping[str, int] | None = None) -> dict[str, int]:
    """Divides `total` in proportion to the weights, by default to the available rows."""
    sizes = list(available.values())
    shares = [float(n) for n in (weights or available).values()]
    return dict(zip(available, allocate(total, shares, sizes), strict=True))
