"""The page of an evaluation: self-contained, light and dark, without a script or a request.

    write_report(Path("runs/scores/ifeval-gpt4/report.html"), evaluation, None)

Where it sits: scoring, difference -> **report**.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from core.page import write_page
from evaluation.cells import ScoredItem
from evaluation.difference import Differences
from evaluation.responses import Messages
from evaluation.scoring import Evaluation, Figure
from evaluation.suite import Table
from evaluation.track import Track, shown

TEMPLATE, TABLES_TEMPLATE = "report.html.j2", "tables.html.j2"
NUM_EXAMPLES = 8
"""On each side."""
_SEED = 4
_SHOWN_CHARACTERS = 2_000
_TITLE_CHARACTERS = 90


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One label of a chart; positions are per cent of the track."""

    label: str
    figure: Figure
    width: float
    whisker: tuple[float, float] | None
    """Where the interval begins, and how long it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """One metric over the labels of a dimension."""

    metric: str
    bars: tuple[Bar, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One dimension. Its first chart is open, the others are folded."""

    dimension: str
    charts: tuple[Chart, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """One outcome of an example."""

    label: str
    is_right: bool | None
    """None: it is graded, and the label says how."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One response, as shown."""

    title: str
    prompt: str
    reference: str
    response: str
    outcomes: tuple[Mark, ...]


def write_report(path: Path, evaluation: Evaluation, found: Differences | None) -> None:
    """Writes the page; with `found` it also shows the differences from another file."""
    judged, right, wrong = _examples(evaluation)
    values = {
        "e": evaluation, "found": found, "sections": list(_sections(evaluation)),
        "judged": judged, "right": right, "wrong": wrong,
    }  # fmt: skip
    filters: dict[str, Callable[..., object]] = {
        "n": "{:,}".format,
        "value": shown,
        "signed": "{:+.4f}".format,
        "words": _words,
    }
    write_page(path, "evaluation", TEMPLATE, values, filters=filters)


def write_tables(path: Path, title: str, tables: Sequence[Table]) -> None:
    """Writes a page of tables alone."""
    write_page(path, "evaluation", TABLES_TEMPLATE, {"title": title, "tables": tables}, filters={})


def _words(name: str) -> str:
    return name.replace("_", " ")


def _sections(evaluation: Evaluation) -> Iterator[Section]:
    """One label alone has no bars to compare, so it is shown with every metric as its bars."""
    for dimension, labels in evaluation.by.items():
        if len(labels) == 1:
            label, figures = next(iter(labels.items()))
            yield Section(dimension=f"{dimension}: {label}", charts=(_chart("every metric", figures),))
            continue
        metrics = list(dict.fromkeys(name for figures in labels.values() for name in figures))
        charts = (
            _chart(name, {label: figures[name] for label, figures in labels.items() if name in figures})
            for name in metrics
        )
        yield Section(dimension=dimension, charts=tuple(charts))


def _chart(metric: str, figures: Mapping[str, Figure]) -> Chart:
    ends = [end for figure in figures.values() for end in (figure.value or 0.0, *(figure.interval or ()))]
    track = Track.of(ends)
    bars = (
        Bar(label=label, figure=figure, width=track.at(figure.value or 0.0), whisker=track.whisker(figure.interval))
        for label, figure in figures.items()
    )
    return Chart(metric=metric, bars=tuple(bars))


def _examples(evaluation: Evaluation) -> tuple[str, list[Example], list[Example]]:
    """By the suite's first metric that was run: items that are wholly right, and those that are not."""
    metric = next((spec.name for spec in evaluation.specs if spec.headline), "")
    values = {place: _value_of(row, metric) for place, row in enumerate(evaluation.rows)}
    decided = {place: value for place, value in values.items() if value is not None}
    best = max(decided.values(), default=1.0)
    right = [place for place, value in decided.items() if value >= best > 0]
    wrong = [place for place in decided if place not in set(right)]
    rng = random.Random(_SEED)
    drawn = [sorted(rng.sample(side, min(NUM_EXAMPLES, len(side)))) for side in (right, wrong)]
    graded = {spec.name for spec in evaluation.specs if spec.graded}
    shared = _num_shared([_text(row.prompt) for row in evaluation.rows])
    shown = [[_example(evaluation.rows[place], graded, shared) for place in side] for side in drawn]
    return metric, shown[0], shown[1]


def _value_of(row: ScoredItem, metric: str) -> float | None:
    values = [outcome.value for outcome in row.outcomes if outcome.metric == metric and outcome.value is not None]
    return sum(values) / len(values) if values else None


def _num_shared(texts: Sequence[str]) -> int:
    """With how many characters all of several texts begin."""
    first, last = min(texts, default=""), max(texts, default="")
    return next((place for place, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), 0)


def _example(row: ScoredItem, graded: Set[str], shared: int) -> Example:
    """The title begins behind what the prompts share."""
    prompt = _text(row.prompt)
    return Example(
        title=f"{row.item.id}: {_shortened(prompt[shared:])}",
        prompt=_cut(prompt),
        reference=_cut(row.reference),
        response=_cut(row.response.text),
        outcomes=tuple(_marks(row, graded)),
    )


def _shortened(text: str) -> str:
    """The beginning on one line. Chinese has no spaces to cut at."""
    line = " ".join(text.split())
    return line if len(line) <= _TITLE_CHARACTERS else f"{line[: _TITLE_CHARACTERS - 1]}…"


def _marks(row: ScoredItem, graded: Set[str]) -> Iterator[Mark]:
    """What was observed, by the narrowest breakdown; equal ones, as of many words, once with a number."""
    decided = [outcome for outcome in row.outcomes if outcome.value is not None]
    equal = Counter((f"{_words(o.metric)} {o.by.get('type', '')}".strip(), o.metric, o.value) for o in decided)
    for (label, metric, value), num in equal.items():
        times = f" × {num:,}" if num > 1 else ""
        if metric in graded:
            yield Mark(label=f"{label} {value:.4g}{times}", is_right=None)
        else:
            yield Mark(label=f"{label}{times}", is_right=value == 1.0)


def _text(prompt: str | Messages) -> str:
    if isinstance(prompt, str):
        return prompt
    return "\n\n".join(f"{message['role']}: {message['content']}" for message in prompt)


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}… ({len(text):,} characters)"
