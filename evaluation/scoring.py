"""Scores all responses of a suite: one figure with an interval for each metric, and by category, type, language, ...

    evaluation = evaluate(suite, join(suite, responses), responses)
    evaluation.metrics["prompt_strict"]     # Figure(k=417, n=541, value=0.7708, interval=(0.7335, 0.8044))

Where it sits: responses -> suite -> join -> cells -> **scoring** -> difference, the command, the report.
"""

import statistics
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

from evaluation.cells import Cell, Place, ScoredItem, breakdowns, collect, matrix, parts_of
from evaluation.join import Joined
from evaluation.resampling import SEED, Interval, percentile_interval, resampled_ratios
from evaluation.responses import ResponseFile, recorded_prompt
from evaluation.suite import ItemT, Metric, Suite, Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One number of a table."""

    k: int | None
    """How many observations are right; None where they are not right or wrong, or the figure is no share of all."""
    n: int
    """Observations."""
    value: float | None
    """None: nothing to average."""
    interval: Interval | None
    """95 %; None where there is none, as for a median."""

    def as_json(self) -> dict[str, object]:
        """`{k, n, value, interval}`, rounded to six decimals."""
        return {
            "k": self.k,
            "n": self.n,
            "value": None if self.value is None else round(self.value, 6),
            "interval": self.interval and [round(bound, 6) for bound in self.interval],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """A responses file, scored by one suite."""

    suite: str
    responses: ResponseFile
    metrics: Mapping[str, Figure]
    """In the order of `Suite.metrics`; one that was not run is absent."""
    by: Mapping[str, Mapping[str, Mapping[str, Figure]]]
    """Dimension -> label -> metric."""
    nulls: Mapping[str, int]
    """Metric -> undecided outcomes, which no figure counts."""
    not_run: Mapping[str, str]
    """Metric -> why."""
    parameters: Mapping[str, str | int | float | bool | None]
    missing: tuple[str, ...]
    """Items without a response, counted as failed; not empty only where that was asked for."""
    unexpected: tuple[str, ...]
    other_prompts: tuple[str, ...]
    rows: tuple[ScoredItem, ...]
    specs: tuple[Metric, ...]
    tables: tuple[Table, ...] = ()
    """What the suite shows beside its figures."""

    @property
    def warnings(self) -> list[str]:
        """What a reader must know before the figures."""
        found = []
        if self.missing:
            found.append(f"partial: items without a response, which count as failed: {len(self.missing)}")
        if self.unexpected:
            found.append(
                f"unexpected ids, which the suite does not have and which are not scored: {len(self.unexpected)}"
            )
        if self.other_prompts:
            names = ", ".join(self.other_prompts[:5])
            found.append(f"responses to another wording of the prompt: {len(self.other_prompts)} ({names})")
        if self.nulls:
            counts = ", ".join(f"{metric} {num}" for metric, num in self.nulls.items())
            found.append(f"undecided outcomes, which are in no figure: {counts}")
        return found

    def figure(self, place: Place) -> Figure:
        """The figure of a place that has one."""
        dimension, label, metric = place
        return self.by[dimension][label][metric] if dimension else self.metrics[metric]

    def as_json(self) -> dict[str, object]:
        """The machine-readable result. Counts, not lists: the lists stand in the report."""
        return {
            "suite": self.suite,
            "responses": str(self.responses.path),
            "metrics": {name: figure.as_json() for name, figure in self.metrics.items()},
            "by": {
                dimension: {
                    label: {name: figure.as_json() for name, figure in figures.items()}
                    for label, figures in labels.items()
                }
                for dimension, labels in self.by.items()
            },
            "unexpected": len(self.unexpected),
            "not_run": dict(self.not_run),
            "prompts_differ": len(self.other_prompts),
            "missing": len(self.missing),
            "nulls": dict(self.nulls),
            "parameters": dict(self.parameters),
            "tables": [asdict(table) for table in self.tables],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """What another stage reads of `Evaluation.as_json`."""

    metrics: Mapping[str, Figure]
    by: Mapping[str, Mapping[str, Mapping[str, Figure]]]
    not_run: Mapping[str, str]


def evaluate(
    suite: Suite[ItemT],
    joined: Joined[ItemT],
    responses: ResponseFile,
    *,
    seed: int = SEED,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Evaluation:
    """Scores every pair. A pure function of the suite, the responses and the seed.

    Where every metric is `not run`, no response is scored: what would score it is missing.
    """
    not_run = suite.not_run()
    specs = tuple(metric for metric in suite.metrics if metric.name not in not_run)
    rows = []
    suite.prepare(joined.pairs)
    for item, response in joined.pairs:
        rows.append(
            ScoredItem(
                item=item,
                cluster=suite.cluster(item),
                prompt=recorded_prompt(suite.prompt(item)),
                reference=suite.reference(item),
                response=response,
                outcomes=tuple(suite.score(item, response)) if specs else (),
            )
        )
        on_progress(len(rows), len(joined.pairs))
    cells, nulls = collect(rows, specs)
    figures = _figures(cells, specs, seed)
    return Evaluation(
        suite=suite.name,
        responses=responses,
        metrics={spec.name: figures["", "", spec.name] for spec in specs},
        by=breakdowns(figures, specs),
        nulls=nulls,
        not_run=dict(not_run),
        parameters={**suite.parameters(), "bootstrap_seed": seed},
        missing=joined.missing,
        unexpected=joined.unexpected,
        other_prompts=joined.other_prompts,
        rows=tuple(rows),
        specs=specs,
        tables=tuple(suite.tables()),
    )


def _figures(cells: Mapping[Place, Cell], specs: Sequence[Metric], seed: int) -> dict[Place, Figure]:
    of = {spec.name: spec for spec in specs}
    figures: dict[Place, Figure] = {}
    resampled: dict[Place, Cell] = {}
    for place, cell in cells.items():
        spec = of[place[2]]
        if spec.macro_over and not place[0]:
            figures[place] = _macro(cells, spec, len(cell.values), seed)
        elif not cell.values:
            figures[place] = Figure(k=None if spec.graded else 0, n=0, value=None, interval=None)
        elif spec.statistic == "median":
            figures[place] = Figure(k=None, n=len(cell.values), value=statistics.median(cell.values), interval=None)
        else:
            figures[place] = _share(cell, spec, None if spec.graded else cell.wilson_interval)
            if figures[place].interval is None:
                resampled[place] = cell
    for place, interval in _bootstrap(resampled, seed).items():
        figures[place] = _share(cells[place], of[place[2]], interval)
    return figures


def _share(cell: Cell, spec: Metric, interval: Interval | None) -> Figure:
    k = round(sum(cell.values)) if cell.is_share and not spec.graded else None
    return Figure(k=k, n=len(cell.values), value=cell.mean, interval=interval)


def _bootstrap(cells: Mapping[Place, Cell], seed: int) -> dict[Place, Interval]:
    """Each cell's own clusters are resampled; cells with the same clusters share their draws."""
    alike: dict[frozenset[str], list[Place]] = defaultdict(list)
    for place, cell in cells.items():
        alike[frozenset(cell.counts)].append(place)
    found: dict[Place, Interval] = {}
    for places in alike.values():
        draws = resampled_ratios(*matrix([cells[place] for place in places]), seed=seed)
        found |= {place: percentile_interval(draws[:, column]) for column, place in enumerate(places)}
    return found


def _macro(cells: Mapping[Place, Cell], spec: Metric, n: int, seed: int) -> Figure:
    """The plain mean of the labels' means. Clusters of one label are resampled within it, others all together."""
    import numpy as np

    parts = [cells[place] for place in parts_of(cells, spec)]
    if not parts:
        return Figure(k=None, n=n, value=None, interval=None)
    clusters = [name for part in parts for name in part.counts]
    if len(set(clusters)) == len(clusters):
        each = [resampled_ratios(*matrix([part]), seed=seed + place) for place, part in enumerate(parts)]
        draws = np.concatenate(each, axis=1).mean(axis=1)
    else:
        draws = np.nanmean(resampled_ratios(*matrix(parts), seed=seed), axis=1)
    value = sum(part.mean for part in parts) / len(parts)
    return Figure(k=None, n=n, value=value, interval=percentile_interval(draws))
