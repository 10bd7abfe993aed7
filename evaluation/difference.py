"""Two responses files on the same items: differences by a paired bootstrap, and what was different in their making.

    found = differences(evaluation, against)
    found.metrics["prompt_strict"].is_distinguished

Where it sits: scoring -> **difference** -> the command, the report. Every interval is for one comparison: among many,
one in twenty is expected to exclude zero by chance.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from evaluation.cells import Cell, Observed, Place, breakdowns, collect, matrix, parts_of
from evaluation.errors import EvaluationError
from evaluation.resampling import SEED, Interval, percentile_interval, resampled_ratios, two_sided_p
from evaluation.scoring import Evaluation
from evaluation.suite import Metric

if TYPE_CHECKING:
    from evaluation.resampling import Array

NOT_DISTINGUISHED = "not distinguished"

MAY_DIFFER = ("engine",)
"""Generation settings that may differ between two files that are compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Of one figure: the responses' value minus that of the other file."""

    value: float
    interval: Interval | None
    """95 %; None where there is none, as for a median."""
    p: float | None = None
    """Two-sided: twice the smaller share of draws on one side of zero, at least 2 / (draws + 1). None: no interval."""

    @property
    def is_distinguished(self) -> bool:
        """Whether the interval excludes zero."""
        return self.interval is not None and not self.interval[0] <= 0.0 <= self.interval[1]

    def as_json(self) -> dict[str, object]:
        """Rounded to six decimals."""
        return {
            "value": round(self.value, 6),
            "interval": self.interval and [round(bound, 6) for bound in self.interval],
            "distinguished": self.is_distinguished,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Differences:
    """All figures of two evaluations."""

    against: Evaluation
    metrics: Mapping[str, Difference]
    by: Mapping[str, Mapping[str, Mapping[str, Difference]]]
    settings: tuple[str, ...]
    """`generation.KEY: ours, theirs` for each setting that differs; the files are then no fair comparison."""

    def as_json(self) -> dict[str, object]:
        """As in `Evaluation.as_json`, with the other file's figures beside the differences."""
        return {
            "responses": str(self.against.responses.path),
            "metrics": {name: figure.as_json() for name, figure in self.against.metrics.items()},
            "differences": {name: difference.as_json() for name, difference in self.metrics.items()},
            "by": {
                dimension: {
                    label: {name: difference.as_json() for name, difference in found.items()}
                    for label, found in labels.items()
                }
                for dimension, labels in self.by.items()
            },
            "settings_differ": list(self.settings),
        }


def differences(ours: Evaluation, theirs: Evaluation, *, seed: int = SEED) -> Differences:
    """Of every figure that both have. Clusters are resampled, so the two responses to a prompt stay together."""
    assert ours.suite == theirs.suite
    assert [row.cluster for row in ours.rows] == [row.cluster for row in theirs.rows]
    specs = tuple(spec for spec in ours.specs if spec in theirs.specs)
    cells, others = collect(ours.rows, specs)[0], collect(theirs.rows, specs)[0]
    of = {spec.name: spec for spec in specs}
    found = {
        place: difference
        for place in cells
        if place in others
        and (difference := _difference(_values(ours, theirs, place), cells, others, place, of[place[2]], seed))
    }
    return Differences(
        against=theirs,
        metrics={name: found["", "", name] for name in of if ("", "", name) in found},
        by=breakdowns(found, specs),
        settings=tuple(settings_that_differ(ours, theirs)),
    )


def outcome_differences(
    ours: Sequence[Observed], theirs: Sequence[Observed], specs: Sequence[Metric], *, seed: int = SEED
) -> dict[Place, Difference]:
    """The same from the outcomes of scored items alone, of all items together and by language.

    Args:
        ours: In the same order as `theirs`, with the same clusters.
    """
    assert [row.cluster for row in ours] == [row.cluster for row in theirs]
    cells, others = collect(ours, specs)[0], collect(theirs, specs)[0]
    of = {spec.name: spec for spec in specs}
    found = {}
    for place in cells:
        if place[0] in ("", LANGUAGE) and place in others:
            spec = of[place[2]]
            means = _mean(cells, spec, place), _mean(others, spec, place)
            if difference := _difference(means, cells, others, place, spec, seed):
                found[place] = difference
    return found


LANGUAGE = "language"
"""The breakdown by the language of the prompt."""


def _mean(cells: Mapping[Place, Cell], spec: Metric, place: Place) -> float | None:
    parts = [cells[part] for part in parts_of(cells, spec)] if spec.macro_over and not place[0] else [cells[place]]
    means = [cell.mean for cell in parts if cell.values]
    return sum(means) / len(means) if means else None


def _values(ours: Evaluation, theirs: Evaluation, place: Place) -> tuple[float | None, float | None]:
    return ours.figure(place).value, theirs.figure(place).value


def _difference(
    values: tuple[float | None, float | None],
    cells: Mapping[Place, Cell],
    others: Mapping[Place, Cell],
    place: Place,
    spec: Metric,
    seed: int,
) -> Difference | None:
    """None: one of the two has nothing to average."""
    mine, other = values
    if mine is None or other is None:
        return None
    value = mine - other
    if spec.statistic == "median":
        return Difference(value=value, interval=None)
    if spec.macro_over and not place[0]:
        pairs = [(cells[part], others[part]) for part in parts_of(cells, spec) if part in others]
    else:
        pairs = [(cells[place], others[place])]
    draws = _draws(pairs, seed)
    return Difference(value=value, interval=percentile_interval(draws), p=two_sided_p(draws))


def _draws(pairs: list[tuple[Cell, Cell]], seed: int) -> "Array":
    """Of the plain mean of the pairs' differences."""
    import numpy as np

    clusters = [name for ours, theirs in pairs for name in {**ours.counts, **theirs.counts}]
    if len(set(clusters)) == len(clusters):  # each pair has its own clusters, which are resampled within it
        each = [resampled_ratios(*matrix(pair), seed=seed + place) for place, pair in enumerate(pairs)]
    else:
        both = resampled_ratios(*matrix([cell for pair in pairs for cell in pair]), seed=seed)
        each = [both[:, 2 * place : 2 * place + 2] for place in range(len(pairs))]
    mean: Array = np.nanmean([draws[:, 0] - draws[:, 1] for draws in each], axis=0)
    return mean


def settings_that_differ(ours: Evaluation, theirs: Evaluation) -> list[str]:
    """Generation settings that the two files do not share, but for the engine. A recorded file states none."""
    settings = [_settings(evaluation) for evaluation in (ours, theirs)]
    return [
        f"generation.{name}: {settings[0].get(name)!r}, {settings[1].get(name)!r}"
        for name in sorted({*settings[0], *settings[1]})
        if name not in MAY_DIFFER and settings[0].get(name) != settings[1].get(name)
    ]


def _settings(evaluation: Evaluation) -> Mapping[str, object]:
    """Those of all responses.

    Raises:
        EvaluationError: the responses of one file were generated with different settings.
    """
    given = [row.response for row in evaluation.rows if row.response.line]
    for response in given:
        if response.generation != given[0].generation:
            raise EvaluationError(
                f"{evaluation.responses.path}:{response.line}: its generation settings differ from those of line "
                f"{given[0].line}. Compare files that were generated with one setting each."
            )
    return given[0].generation
