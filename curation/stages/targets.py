"""How many rows of each source the draw is to give.

    targets, fit = wanted_rows(curation, candidates, details)

Where it sits: examined candidates -> **targets** -> draw.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from curation.add import added_rows
from curation.candidate import Candidate
from curation.fit import Fit
from curation.sample import SampleParameters, drawable
from curation.share import shared_targets
from curation.sources.source import NI_SOURCES
from curation.stages.context import Curation
from curation.stages.sizing import fitted
from curation.stages.tasks import TasksDetails


def wanted_rows(
    curation: Curation, candidates: Sequence[Candidate], tasks: TasksDetails
) -> tuple[Mapping[str, int], Fit | None]:
    """As the mix has it, or as many as fill the budget, or as give the user's own rows their share."""
    p = curation.parameters
    could_give = _drawable(candidates, p.samples)
    own = {name: could_give.get(name, 0) for name in tasks.own_rows}
    has_ni = p.mix is not None or tasks.ni_files > 0
    others = {s: n for s, n in curation.targets.items() if has_ni or s not in NI_SOURCES.values()}
    if p.mix is None and p.scale == 1:  # neither a mix nor a scale was asked for: take what there is
        others = {s: min(n, could_give.get(s, 0)) for s, n in others.items()}
    if p.fit is not None:
        fit = fitted(curation, candidates, {**own, **others})
        return dict(fit.targets), fit
    if p.samples.add:
        weights = {source: curation.targets.get(source, 0) for source in NI_SOURCES.values()}
        return added_rows(p.samples.add, candidates, own=list(own), weights=weights, parameters=p.samples), None
    if p.samples.own_share is not None:
        return shared_targets(own, others, could_give, p.samples.own_share, keep_own=p.samples.take_all), None
    return {**own, **others}, None


def _drawable(candidates: Sequence[Candidate], parameters: SampleParameters) -> dict[str, int]:
    """Most rows that each source could give."""
    pools: dict[str, list[Candidate]] = defaultdict(list)
    for candidate in candidates:
        pools[candidate.source].append(candidate)
    return {source: drawable(pool, parameters) for source, pool in pools.items()}
