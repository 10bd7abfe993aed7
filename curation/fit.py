"""Fits the number of rows and epochs to a training budget, with real token counts.

    plan = fit(FitParameters(budget_s=86_400, tokens_per_s=1_900), means, available)

Table 1 has three mixes. Between two of them the rows of each source are interpolated linearly; below the smallest mix
they shrink in proportion. The number of epochs is the one whose mix is nearest to the paper's mix for that number of
epochs, so that the paper's three mixes are possible results.

Where it sits: used before the draw, once the candidates' tokens are counted.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core.errors import MixError
from curation.sources.source import EPOCHS, MIXES

MOST_EPOCHS = 4
"""More epochs gain little. Source: Muennighoff et al. 2023: up to 4 epochs are about as good as new data."""

USUAL_SHARE = 0.92
"""Usual value of `FitParameters.share`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FitParameters:
    """The budget to fill."""

    budget_s: float
    tokens_per_s: float
    share: float = 1.0
    """Share of the budget that is spent on training; the rest goes to loading, evaluation and saving."""

    def __post_init__(self) -> None:
        if not 0 < self.tokens_per_s < math.inf:
            raise MixError(
                f"`fit.tokens_per_s={self.tokens_per_s}`: not a positive number. Give what a rehearsal measured."
            )
        if not 0 < self.budget_s < math.inf:
            raise MixError(f"`fit.budget_s={self.budget_s}`: not above 0. A day is 86400.")
        if not 0 < self.share <= 1:
            raise MixError(f"`fit.share={self.share}`: not in (0, 1]. 0.92 is usual.")

    @property
    def tokens(self) -> int:
        """Number of tokens that can be trained on in the budget, over all epochs."""
        return int(self.budget_s * self.share * self.tokens_per_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How long training on one of the paper's mixes would take."""

    mix: str
    epochs: int
    rows: int
    """Number of rows that the available sources can give."""
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """A mix that fills the budget."""

    targets: Mapping[str, int]
    epochs: int
    tokens: int
    """Expected number of tokens in one epoch."""
    seconds: float
    """Expected duration of the training."""
    fills: bool
    """False if the sources have too few rows to fill the budget even with the largest number of epochs."""
    paper: tuple[Ending, ...]


def targets_at(total: float, wanted: Mapping[str, int]) -> dict[str, float]:
    """Rows by source of a mix with `total` rows.

    Own rows, which Table 1 does not have, are taken first; the other sources share the rest.
    """
    own = {source: n for source, n in wanted.items() if source not in MIXES["200k"]}
    num_own = sum(own.values())
    part = min(1.0, total / num_own) if num_own else 0.0
    table = [source for source in wanted if source not in own]
    return {**{source: n * part for source, n in own.items()}, **_on_the_line(max(0.0, total - num_own), table)}


def _on_the_line(total: float, wanted: Sequence[str]) -> dict[str, float]:
    """Rows by source of Table 1's mix with `total` rows."""
    if not wanted:
        return {}
    points = [{source: float(MIXES[mix][source]) for source in wanted} for mix in MIXES]
    sums = [sum(point.values()) for point in points]
    if total <= sums[0]:
        return {source: rows * total / sums[0] for source, rows in points[0].items()}
    for (low, high), (at_low, at_high) in zip(itertools.pairwise(sums), itertools.pairwise(points), strict=True):
        if total <= high:
            part = (total - low) / (high - low)
            return {s: at_low[s] + part * (at_high[s] - at_low[s]) for s in wanted}
    return {source: rows * total / sums[-1] for source, rows in points[-1].items()}


def fit(
    parameters: FitParameters,
    wanted: Mapping[str, int],
    means: Mapping[str, float],
    available: Mapping[str, int],
) -> Fit:
    """The mix and the number of epochs that fill the budget.

    Args:
        wanted: The sources of the mix.
        means: Mean number of tokens per row, by source.
        available: Rows that each source can give.
    Raises:
        MixError: there is nothing to train on.
    """
    capacity = sum(available.get(s, 0) * means.get(s, 0.0) for s in wanted)
    if capacity <= 0:
        raise MixError(
            "`fit.budget_s=`: no source has a row to give. See the shortfalls of the run, or give more `source=`."
        )
    of_paper = not set(wanted).isdisjoint(MIXES["200k"])
    paper = tuple(_ending(mix, parameters, wanted, means, available) for mix in MIXES if of_paper)
    least = math.ceil(parameters.tokens / capacity)
    if least > MOST_EPOCHS:
        targets = {s: available.get(s, 0) for s in wanted}
        seconds = MOST_EPOCHS * capacity / parameters.tokens_per_s / parameters.share
        return Fit(targets=targets, epochs=MOST_EPOCHS, tokens=int(capacity), seconds=seconds, fills=False, paper=paper)
    choices = []
    for epochs in range(max(1, least), MOST_EPOCHS + 1):
        total = _total_for(parameters.tokens / epochs, wanted, means, available)
        sizes = {e: sum(MIXES[m].get(s, 0) for s in wanted) for m, e in EPOCHS.items()}
        reference = sizes.get(epochs)
        distance = abs(math.log(total / reference)) if reference else math.inf
        choices.append((distance, epochs, total))
    _, epochs, total = min(choices)
    targets = _capped(total, wanted, available)
    tokens = sum(n * means.get(s, 0.0) for s, n in targets.items())
    if tokens == 0:
        raise MixError(
            f"`fit.budget_s=`: {parameters.tokens:,} tokens in {parameters.budget_s:g} s do not hold a row of each "
            "source. Give more time, or check `fit.tokens_per_s=`."
        )
    return Fit(
        targets=targets,
        epochs=epochs,
        tokens=int(tokens),
        seconds=epochs * tokens / parameters.tokens_per_s / parameters.share,
        fills=True,
        paper=paper,
    )


def _capped(total: float, wanted: Mapping[str, int], available: Mapping[str, int]) -> dict[str, int]:
    return {s: min(int(n), available.get(s, 0)) for s, n in targets_at(total, wanted).items()}


def _total_for(
    tokens: float, wanted: Mapping[str, int], means: Mapping[str, float], available: Mapping[str, int]
) -> float:
    """Number of rows of the largest mix with at most `tokens` tokens."""
    low, high = 0.0, 1.0

    def size(total: float) -> float:
        return sum(n * means.get(s, 0.0) for s, n in _capped(total, wanted, available).items())

    everything = sum(available.get(s, 0) * means.get(s, 0.0) for s in wanted)
    while size(high) < min(tokens, everything) and high < _LARGEST:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if size(middle) <= tokens else (low, middle)
    return low


_LARGEST = 1e9


def _ending(
    mix: str,
    parameters: FitParameters,
    wanted: Mapping[str, int],
    means: Mapping[str, float],
    available: Mapping[str, int],
) -> Ending:
    rows = {s: min(MIXES[mix].get(s, n), available.get(s, 0)) for s, n in wanted.items()}
    tokens = EPOCHS[mix] * sum(n * means.get(s, 0.0) for s, n in rows.items())
    return Ending(
        mix=mix,
        epochs=EPOCHS[mix],
        rows=sum(rows.values()),
        seconds=tokens / parameters.tokens_per_s / parameters.share,
    )
