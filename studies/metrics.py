"""Which metrics the suites of `oneday evaluate` give, without loading their items.

    metrics_of("ifeval")                  # ("prompt_strict", "instruction_strict", ...)

Where it sits: checks the selection of a study, and names the columns of its results.
"""

import inspect
from functools import cache
from importlib import import_module

from evaluation.suite import Metric, Suite
from evaluation.suites import find_suite
from studies.document import nearest
from studies.errors import StudyError
from studies.selection import EVAL_LOSS
from studies.study import Study


def metrics_of(suite: str) -> tuple[str, ...]:
    """The names of a suite's metrics.

    Raises:
        EvaluationError: no such suite.
    """
    return tuple(metric.name for metric in specs_of(suite))


@cache
def specs_of(suite: str) -> tuple[Metric, ...]:
    """The metrics of a suite.

    Raises:
        EvaluationError: no such suite.
    """
    module = import_module(find_suite(suite).module)
    classes = [found for _, found in inspect.getmembers(module, inspect.isclass) if issubclass(found, Suite)]
    (found,) = [found for found in classes if getattr(found, "name", "") == suite]
    metrics: tuple[Metric, ...] = found.metrics
    return metrics


def check_metrics(study: Study) -> None:
    """Refuses suites that do not exist, and a selection by a metric that no suite gives.

    Raises:
        OnedayError: names the nearest that there is.
    """
    scores = dict.fromkeys(score for suite in study.suites.values() for score in suite.scores)
    known = [f"{score}.{metric}" for score in scores for metric in metrics_of(score)]
    named = [*study.selection.metrics, *study.selection.then] if study.selection else []
    for metric in named:
        if metric not in (EVAL_LOSS, *known):
            raise StudyError(f"selection: no suite gives '{metric}'{nearest(metric, [EVAL_LOSS, *known])}. Correct it.")
    for metric in study.paper.columns if study.paper else ():
        if metric not in (EVAL_LOSS, *known):
            raise StudyError(f"paper.columns: no suite gives '{metric}'{nearest(metric, known)}. Correct it.")
