"""Taiwan LLM's average: the plain mean of seven tasks, each by its runner's metric.

    average({"drcd": evaluation, "fgc": ..., ...})   # Figure(value=0.5399, interval=(0.52, 0.56)), or no value

Where it sits: scoring -> **average**; a report over several suites shows it.
Source: Table 3 of the paper (Lin and Chen, 2023).
"""

from collections.abc import Mapping
from typing import Any

from evaluation.cells import collect, matrix
from evaluation.resampling import SEED, percentile_interval, resampled_ratios
from evaluation.scoring import Evaluation, Figure

METRICS: Mapping[str, str] = {
    "drcd": "contain",
    "fgc": "contain",
    "ttqa": "first_character",
    "tmmlu": "first_character",
    "xsum-tc": "rouge_2",
    "imdb-tc": "first_character",
    "penguins": "first_character",
}
"""Suite -> the metric that the paper's column shows."""


def average(evaluations: Mapping[str, Evaluation], *, seed: int = SEED) -> Figure:
    """The mean of the seven; no value where one is missing or was not run. Each task is resampled within itself."""
    import numpy as np

    draws: list[Any] = []
    values: list[float] = []
    for place, (suite, metric) in enumerate(METRICS.items()):
        evaluation = evaluations.get(suite)
        figure = evaluation.metrics.get(metric) if evaluation else None
        if evaluation is None or figure is None or figure.value is None:
            return Figure(k=None, n=len(values), value=None, interval=None)
        values.append(figure.value)
        cells, _ = collect(evaluation.rows, evaluation.specs)
        draws.append(resampled_ratios(*matrix([cells["", "", metric]]), seed=seed + place))
    drawn = np.concatenate(draws, axis=1).mean(axis=1)
    return Figure(k=None, n=len(values), value=sum(values) / len(values), interval=percentile_interval(drawn))
