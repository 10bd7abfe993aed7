"""Which candidate of a sweep is taken: a pure function of a table of metrics.

    rule = Selection(metrics=("language.accuracy", "spelling.micro"), tie="smaller")
    select(rule, {1e-5: [...], 1e-4: [...]}).value

A candidate's score is the mean over languages of the mean of the metrics that ran. The order of rows changes nothing.

Where it sits: the graph asks it once all candidates are trained and scored.
"""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from pydantic import Field, model_validator

from studies.document import Strict
from studies.errors import SelectionRefused

EVAL_LOSS = "eval_loss"
"""The validation loss of a training; lower is better."""

ALL = "all"
"""Stands for the language of a figure over several languages. It selects nothing, for each of them does."""

Value: TypeAlias = float | int | str


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricRow:
    """One metric of one checkpoint in one language."""

    metric: str
    """`suite.metric`, or `eval_loss`."""
    language: str
    """Empty where the metric has none; `ALL` of several together."""
    value: float | None
    """None: it was not computed."""
    k: int | None = None
    """How many observations are right, of a share."""
    n: int = 0
    """Observations."""
    interval: tuple[float, float] | None = None
    """95 %."""
    dimension: str = ""
    """Of a part of the items, as `category`; empty: all of the language."""
    label: str = ""
    """Which part."""
    note: str = ""
    """Why it was not computed."""


class Selection(Strict):
    """The rule."""

    metrics: tuple[str, ...] = Field(min_length=1)
    """Averaged. `eval_loss` stands alone."""
    languages: tuple[str, ...] = ()
    """Empty: all that there are."""
    then: tuple[str, ...] = ()
    """Metrics that decide between equal scores, one after the other."""
    tie: Literal["smaller", "larger"] = "smaller"
    """Of values that are still equal."""
    null: Literal["leave-out", "refuse"] = "leave-out"
    """What to do about a metric that is missing for a candidate: leave it out for all candidates, or refuse."""

    @model_validator(mode="after")
    def _adds_no_loss_to_shares(self) -> "Selection":
        if EVAL_LOSS in self.metrics and len(self.metrics) > 1:
            raise ValueError(f"{EVAL_LOSS} cannot be averaged with other metrics; give it alone, or under then")
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What was selected, and why."""

    value: Value
    scores: Mapping[str, float]
    """Value as text -> score, of every candidate; of `eval_loss` the loss itself."""
    notes: tuple[str, ...]
    """What a reader must know: metrics that did not run, a tie."""


def select(rule: Selection, tables: Mapping[Value, Iterable[MetricRow]]) -> Choice:
    """The best candidate.

    Args:
        tables: Swept value -> the metrics of its checkpoint.

    Raises:
        SelectionRefused: no metric ran for all candidates, or one is missing and the rule refuses that.
    """
    cells = {value: _cells(rule, rows) for value, rows in tables.items()}
    ran, notes = _ran(rule, cells)
    scores = {value: _score(rule, found, ran) for value, found in cells.items()}
    best = max(scores.values())
    equal = [value for value, score in scores.items() if score == best]
    for metric in rule.then:
        if len(equal) > 1:
            equal, said = _narrowed(metric, equal, cells)
            notes.append(said)
    if len(equal) > 1:
        notes.append(f"{', '.join(map(str, sorted(equal, key=_order)))} are equal: the {rule.tie} value is taken")
    chosen = (min if rule.tie == "smaller" else max)(equal, key=_order)
    sign = -1 if rule.metrics == (EVAL_LOSS,) else 1
    shown = {str(value): sign * scores[value] for value in sorted(scores, key=_order)}
    return Choice(value=chosen, scores=shown, notes=tuple(notes))


Cells: TypeAlias = Mapping[tuple[str, str], float]
"""(metric, language) -> value, of what ran; higher is better."""


def _cells(rule: Selection, rows: Iterable[MetricRow]) -> Cells:
    """Without the languages that the rule leaves out; losses are negated."""
    return {
        (row.metric, row.language): -row.value if row.metric == EVAL_LOSS else row.value
        for row in rows
        if row.value is not None
        and not row.dimension
        and row.language != ALL
        and (not rule.languages or row.language in ("", *rule.languages))
    }


def _ran(rule: Selection, cells: Mapping[Value, Cells]) -> tuple[list[tuple[str, str]], list[str]]:
    """The cells of the rule's metrics that every candidate has, and what is to be said of the others."""
    anywhere = {cell for found in cells.values() for cell in found if cell[0] in rule.metrics}
    ran = sorted(cell for cell in anywhere if all(cell in found for found in cells.values()))
    missing = [f"{metric} did not run" for metric in rule.metrics if metric not in {name for name, _ in anywhere}]
    missing += [f"{' in '.join(filter(None, cell))} is missing for a candidate" for cell in sorted(anywhere - set(ran))]
    if missing and rule.null == "refuse":
        raise SelectionRefused(f"selection: {missing[0]}, and `null: refuse` forbids to do without it. Compute it.")
    if not ran:
        raise SelectionRefused(
            f"selection: none of {', '.join(rule.metrics)} was computed for all candidates ({'; '.join(missing)}). "
            "Give another metric, such as eval_loss."
        )
    num = len({metric for metric, _ in ran})
    notes = [*missing, f"{num} of {len(rule.metrics)} metrics decide"] if missing else []
    return ran, notes


def _score(rule: Selection, cells: Cells, ran: Sequence[tuple[str, str]]) -> float:
    """The mean over languages of the mean of the metrics."""
    languages = sorted({language for _, language in ran})
    means = [statistics.fmean(cells[cell] for cell in ran if cell[1] == language) for language in languages]
    return statistics.fmean(means)


def _narrowed(metric: str, equal: list[Value], cells: Mapping[Value, Cells]) -> tuple[list[Value], str]:
    """Those of the equal candidates that are best by one more metric."""
    languages = set.intersection(*({language for name, language in cells[v] if name == metric} for v in equal))
    if not languages:
        return equal, f"{metric} did not run, so it decides nothing"
    means = {v: statistics.fmean(cells[v][metric, language] for language in sorted(languages)) for v in equal}
    best = max(means.values())
    return [v for v in equal if means[v] == best], f"{metric} decides between equal scores"


def _order(value: Value) -> tuple[bool, float, str]:
    """Numbers by size, then texts."""
    return (True, 0.0, value) if isinstance(value, str) else (False, float(value), "")
