"""Own data first: own rows are kept whole, and other sources are added by their share of the mix's tokens.

    rows = added_rows({"ni": 0.2}, candidates, own=["mine"], weights=table_1, parameters=samples)

A share counts tokens, because rows of one source may be ten times as long as those of another. `ni` is both kinds of NI
rows, divided like Table 1. The draw takes more rows of some buckets than of others, so it is repeated with the mean
length of what it took.

Where it sits: used before the draw, once it is known how many rows every source can give.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from core.errors import MixError
from curation.candidate import Candidate
from curation.sample import Drawable, SampleParameters, draw, drawable_of
from curation.sources.source import NI_SOURCES

NI = "ni"
"""Name of both kinds of NI rows together."""

MOST_DRAWS = 6


def added_rows(
    shares: Mapping[str, float],
    candidates: Sequence[Candidate],
    *,
    own: Collection[str],
    weights: Mapping[str, int],
    parameters: SampleParameters,
) -> dict[str, int]:
    """Rows by source: all of the own files without a share, and of the others as many as fill their shares.

    Args:
        shares: By `ni`, another source of the mix, or an own file.
        own: The sources that are own files.
        weights: How the two kinds of NI rows are weighed against each other.

    Raises:
        MixError: a name has no rows, or no own rows are left to be kept whole.
    """
    pool = drawable_of(candidates, parameters)
    kept = [name for name in own if name not in shares]
    parts = _parts(shares, pool, weights)
    if not sum(pool.rows.get(name, 0) for name in kept):
        raise MixError("`add=`: every own row has a share, and none is kept whole. Leave the share of one file out.")
    tokens = sum(pool.tokens.get(name, 0.0) for name in kept) / (1 - sum(shares.values()))
    means = {name: pool.means[name] for name in parts}
    rows: dict[str, int] = {}
    for _ in range(MOST_DRAWS):
        wanted = {name: min(pool.rows[name], round(tokens * share / means[name])) for name, share in parts.items()}
        if wanted == rows:
            break
        rows = wanted
        drawn, _ = draw(candidates, rows, parameters)
        counted, taken = Counter[str](), Counter(c.source for c in drawn)
        for c in drawn:
            counted[c.source] += c.num_tokens
        means |= {name: counted[name] / taken[name] for name in parts if taken[name]}
    return {**{name: pool.rows.get(name, 0) for name in kept}, **rows}


def _parts(shares: Mapping[str, float], pool: Drawable, weights: Mapping[str, int]) -> dict[str, float]:
    """The shares by source, that of NI divided among its kinds."""
    parts = {name: share for name, share in shares.items() if name != NI}
    if NI in shares:
        kinds = [name for name in NI_SOURCES.values() if pool.rows.get(name)]
        whole = sum(weights.get(name, 0) for name in kinds)
        parts |= {name: shares[NI] * weights[name] / whole for name in kinds if weights.get(name)}
    missing = [name for name in parts if not pool.rows.get(name)]
    if NI in shares and not set(parts) & set(NI_SOURCES.values()):
        missing.append(NI)
    if missing:
        has = ", ".join(name for name in pool.rows) or "none"
        raise MixError(f"`add={missing[0]}:…`: no row of it can be drawn. Rows were found of: {has}.")
    return parts
