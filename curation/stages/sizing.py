"""Fits the number of rows of each source to a training budget: draws, counts tokens and corrects until the mix fits."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from core.errors import MixError
from curation.candidate import Candidate
from curation.fit import Fit, fit
from curation.mix import validation_size
from curation.preset import CurationParameters
from curation.sample import Quota, draw, drawable_of
from curation.stages.context import Curation

_MOST_REFINEMENTS = 12
_FILLED = 0.99
"""Share of the budget from which it counts as filled."""

_ROUNDING = 1.0005
"""Keeps a refinement below the budget although numbers of rows are rounded."""


def fitted(curation: Curation, candidates: Sequence[Candidate], wanted: Mapping[str, int]) -> Fit:
    """The targets that fill the budget.

    Args:
        wanted: Rows by source of the mix; for own rows, the number of rows.

    Raises:
        MixError: the parameters do not allow it.
    """
    _check(curation)
    assert curation.parameters.fit is not None
    there = drawable_of(candidates, curation.parameters.samples)
    first = fit(curation.parameters.fit, wanted, there.means, there.rows)
    return _refined(curation, candidates, first, there.means, there.rows, wanted)


def _check(curation: Curation) -> None:
    """Refuses parameters that cannot be combined with a fit."""
    p = curation.parameters
    if curation.tokenizer is None:
        raise MixError("`fit.budget_s=` counts tokens: `tokenizer=none` cannot be. Give the base's folder.")
    if p.samples.quota is Quota.PER_BUCKET:
        raise MixError(
            "`fit.budget_s=` sizes quotas, and quotas per bucket are fixed. Add `samples.quota=proportional`, or take "
            "`preset=recommended`."
        )


def _refined(
    curation: Curation,
    candidates: Sequence[Candidate],
    first: Fit,
    means: Mapping[str, float],
    available: Mapping[str, int],
    wanted: Mapping[str, int],
) -> Fit:
    """Draws, counts the tokens of the training rows, and corrects the means, until the mix fits.

    Drawn rows differ from the pool: rows of the worst buckets may be longer, and policies may still drop some.
    """
    parameters = curation.parameters.fit
    assert parameters is not None
    budget = parameters.tokens
    candidate_fit, best = first, replace(first, tokens=0, seconds=0.0, fills=False)
    for _ in range(_MOST_REFINEMENTS):
        drawn, _ = draw(candidates, candidate_fit.targets, curation.parameters.samples)
        tokens, rows = Counter[str](), Counter[str]()
        for c in drawn:
            tokens[c.source] += 0 if c.reason else c.num_tokens
            rows[c.source] += 1
        actual = int(sum(tokens.values()) * _trained_share(curation.parameters, sum(rows.values())))
        share = actual * candidate_fit.epochs / budget
        if best.tokens * best.epochs < actual * candidate_fit.epochs <= budget or best.tokens == 0:
            seconds = actual * candidate_fit.epochs / parameters.tokens_per_s / parameters.share
            more = sum(rows.values()) < sum(available.values())  # rows are too long to come closer
            best = replace(candidate_fit, tokens=actual, seconds=seconds, fills=share >= _FILLED or more)
        if _FILLED <= share <= 1:
            break
        trained = actual / max(1, sum(tokens.values()))
        means = {**means, **{s: tokens[s] / n * trained * _ROUNDING for s, n in rows.items() if tokens[s]}}
        candidate_fit = replace(fit(parameters, wanted, means, available), paper=first.paper)
    return best


def _trained_share(p: CurationParameters, num_rows: int) -> float:
    """Share of the rows that are trained on; the others are validation rows."""
    return 1 - validation_size(num_rows, p.split, p.scale) / num_rows if num_rows > 1 else 1.0
