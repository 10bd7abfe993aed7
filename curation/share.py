"""Share: how many rows the others give, so that the user's own are a wanted part of the mix.

    >>> shared_targets({"letters": 300}, {"ni_generation": 50_000}, {"ni_generation": 9_000}, 0.3, keep_own=False)
    {'letters': 300, 'ni_generation': 700}

Where it sits: asked by the draw, once it is known what every source could give.
"""

from collections.abc import Mapping

from core.errors import MixError
from curation.sample import allocate


def shared_targets(
    own: Mapping[str, int], others: Mapping[str, int], could_give: Mapping[str, int], share: float, *, keep_own: bool
) -> dict[str, int]:
    """Rows by source, own ones first: as many as there are, none side more than its share allows.

    Args:
        own: Rows of the user's own that could be drawn, by file.
        others: Rows wanted of each other source at most.
        could_give: Rows that each source could give.
        share: Of the mix, that own rows are to be.
        keep_own: Where the others give too little, own rows are kept, and their share is larger.

    Raises:
        MixError: one side has no row.
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
    """In proportion to the weights, or to what there is."""
    sizes = list(available.values())
    shares = [float(n) for n in (weights or available).values()]
    return dict(zip(available, allocate(total, shares, sizes), strict=True))
