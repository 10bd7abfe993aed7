"""The report of a mix: one self-contained HTML page, without scripts and without requests.

    write_report(Path("runs/200k"), Path("runs/200k/05_mix/report.html"), tally, details, made)

Where it sits: written at the end of the mix stage. It reads the summaries of the stages before it.
"""

import itertools
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

from core.files import as_json, read_as
from core.generation.request import Kind
from core.page import write_page
from core.run_folder import PREDICTIONS, SAMPLES, SCORES, TASKS
from core.stage import SUMMARY, Summary, Tally, read_details
from curation.counts import MixDetails
from curation.fit import Fit
from curation.ni.bucket import BucketParameters
from curation.ni.task import EqualInputs
from curation.preset import PRESETS, CurationParameters, flat
from curation.report.task_lines import CategoryRow, TaskLine, task_lines, task_map
from curation.sample import Control
from curation.sources.source import MixRow, read_row
from curation.stages.measured import MeasuredDetails
from curation.stages.predictions import PredictionsDetails
from curation.stages.samples import SamplesDetails
from curation.stages.scores import ScoresDetails
from curation.stages.tasks import TasksDetails

TEMPLATE = "report.html.j2"
NUM_EXAMPLES = 10
_SHOWN_CHARACTERS = 1_200


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """How a mix was made."""

    parameters: CurationParameters
    model: str
    """The predictor's revision."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One bar of a chart."""

    label: str
    value: int
    share: float
    """Share of the longest bar, in [0, 1]."""
    note: str = ""


def bars(values: Sequence[tuple[str, int, str]]) -> list[Bar]:
    """Bars scaled to the longest."""
    longest = max((value for _, value, _ in values), default=0) or 1
    return [Bar(label=label, value=value, share=value / longest, note=note) for label, value, note in values]


@dataclass(frozen=True, slots=True, kw_only=True)
class FunnelStep:
    """Read, kept and dropped of one unit in one stage."""

    stage: str
    unit: str
    read: int
    kept: int
    share: float
    """Kept of what was read."""
    dropped: tuple[tuple[str, int], ...]
    """(reason, number), the most frequent first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChoiceLine:
    """A parameter."""

    key: str
    value: str
    usual: str
    """Of the recommended preset, if that differs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Page:
    """The variables of the template."""

    name: str
    rows: int
    details: MixDetails
    model: str
    control: Control
    sources: list[Bar]
    funnel: list[FunnelStep]
    accuracy: list[Bar]
    rouge: list[Bar]
    lengths: list[Bar]
    licences: list[Bar]
    tasks: list[TaskLine]
    categories: list[CategoryRow]
    contradictory: Mapping[str, int]
    accepts_all: bool
    short_spans: bool
    examples: list[MixRow]
    choices: list[ChoiceLine]
    fit: Fit | None
    signals: MeasuredDetails | None


def write_report(run: Path, path: Path, tally: Tally, details: MixDetails, made: Made) -> None:
    """Writes the page.

    Args:
        run: The run folder; stages 01 to 04 are done.
        path: Where to.
        tally: Of the mix stage's rows; its summary is not written yet.
        details: Of the mix stage.
        made: How the mix was made.
    """
    page = _page(run, path.parent, tally, details, made)
    values = {f.name: getattr(page, f.name) for f in fields(page)}
    write_page(path, "curation", TEMPLATE, values, filters={"n": "{:,}".format})


def _page(run: Path, mix: Path, tally: Tally, details: MixDetails, made: Made) -> _Page:
    drawn = read_details(SamplesDetails, run / SAMPLES)
    scores = read_details(ScoresDetails, run / SCORES)
    parameters = made.parameters
    tasks = task_lines(run, details, drawn)
    return _Page(
        name=run.name,
        rows=details.train_rows + details.validation_rows,
        details=details,
        model=made.model,
        control=parameters.samples.control,
        sources=bars([(s, details.rows_by_source.get(s, 0), f"of {target:,}") for s, target in drawn.targets.items()]),
        funnel=_funnel(run, mix.name, tally),
        accuracy=_accuracy(scores, details, parameters.buckets),
        rouge=_rouge(scores, details, parameters.buckets),
        lengths=_lengths({int(k): v for k, v in details.rows_by_tokens.items()}),
        licences=bars([(k, v, "") for k, v in sorted(details.rows_by_spdx.items(), key=lambda x: (-x[1], x[0]))]),
        tasks=tasks,
        categories=task_map(tasks),
        contradictory=read_details(TasksDetails, run / TASKS).contradictory_groups,
        accepts_all=parameters.reading.equal_inputs is EqualInputs.ACCEPT_ALL,
        short_spans=parameters.typing.short_spans,
        examples=_examples(mix),
        choices=_choices(parameters),
        fit=details.fit,
        signals=read_details(PredictionsDetails, run / PREDICTIONS).signals,
    )


def _funnel(run: Path, mix: str, tally: Tally) -> list[FunnelStep]:
    """Read, kept and dropped by reason, stage by stage."""
    stages = (TASKS, PREDICTIONS, SCORES, SAMPLES)
    tallies = {name: read_as(Summary, run / name / SUMMARY).tallies for name in stages}
    return [
        FunnelStep(
            stage=name,
            unit=unit,
            read=t.read,
            kept=t.kept,
            share=t.kept / t.read if t.read else 0,
            dropped=tuple(sorted(t.dropped.items(), key=lambda x: (-x[1], x[0]))),
        )
        for name, by_unit in (*tallies.items(), (mix, {"row": tally}))
        for unit, t in by_unit.items()
    ]


def _accuracy(scores: ScoresDetails, details: MixDetails, buckets: BucketParameters) -> list[Bar]:
    """Exact-match tasks by accuracy; the note says how many rows of such tasks were drawn."""
    by_bucket, rows = scores.exact_match_tasks_by_bucket, details.rows_by_bucket
    return bars(
        [
            (label, by_bucket.get(str(n), 0), _drawn(rows.get(f"{Kind.EXACT_MATCH}/{n}", 0)))
            for n, label in enumerate(_bands(buckets.accuracy_edges))
        ]
    )


def _rouge(scores: ScoresDetails, details: MixDetails, buckets: BucketParameters) -> list[Bar]:
    """Generated answers by ROUGE-L."""
    rows, counts = details.rows_by_bucket, scores.generation_instances_by_bucket
    return bars(
        [
            (label, n, _drawn(rows.get(f"{Kind.GENERATION}/{i}", 0)))
            for i, (label, n) in enumerate(zip(_bands(buckets.rouge_edges), counts, strict=False))
        ]
    )


def _drawn(rows: int) -> str:
    return f"→ {rows:,} rows" if rows else ""


def _bands(edges: Sequence[float]) -> list[str]:
    borders = [0.0, *edges, 1.0]
    return [f"{low:g} to {high:g}" for low, high in itertools.pairwise(borders)]


def _lengths(rows: Mapping[int, int]) -> list[Bar]:
    """Rows by length, the empty bars between the shortest and the longest included."""
    starts = sorted(rows)
    step = min((b - a for a, b in itertools.pairwise(starts)), default=1)
    return bars([(str(n), rows.get(n, 0), "") for n in range(starts[0], starts[-1] + 1, step)]) if starts else []


def _examples(mix: Path) -> list[MixRow]:
    """Ten training rows, drawn at random with a fixed seed; long texts are cut in the middle."""
    rng, chosen = random.Random("report"), list[bytes]()
    with (mix / "train.jsonl").open("rb") as rows:
        for number, line in enumerate(rows):  # reservoir: the rows stay on disk
            if number < NUM_EXAMPLES:
                chosen.append(line)
            elif (place := rng.randrange(number + 1)) < NUM_EXAMPLES:
                chosen[place] = line
    examples = (read_row(line) for line in chosen)
    return [
        replace(row, instruction=_cut(row.instruction), input=_cut(row.input), output=_cut(row.output))
        for row in examples
    ]


def _cut(text: str) -> str:
    if len(text) <= _SHOWN_CHARACTERS:
        return text
    half = _SHOWN_CHARACTERS // 2
    return f"{text[:half]}\n[ … {len(text) - 2 * half:,} characters … ]\n{text[-half:]}"


def _choices(parameters: CurationParameters) -> list[ChoiceLine]:
    """Every parameter, with the recommended value if that differs."""
    recommended = as_json(flat(PRESETS["recommended"]))
    shown: dict[str, object] = {}
    for key, value in as_json(parameters.fingerprint()).items():
        if isinstance(value, dict) and key not in ("kinds", "fit", "adaptive"):
            shown |= {f"{key}.{inner}": v for inner, v in value.items()}
        else:
            shown[key] = value
    return [
        ChoiceLine(
            key=key,
            value=_short(value),
            usual=_short(recommended.get(key)) if value != recommended.get(key) else "",
        )
        for key, value in shown.items()
    ]


def _short(value: object) -> str:
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 120 else text[:110] + " …"
