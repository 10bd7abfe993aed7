"""What the report says of each task: what was asked, how well the base did, what was drawn, and why not more.

    lines = task_lines(run, details, drawn)
    categories = task_map(lines)

The map shows at a glance what the base can and cannot do: a row for each category of NI, a tile for each of its tasks,
coloured by the base's score. Rows and lines carry their place in every order, so that the page sorts without a script.

Where it sits: the summaries of the stages -> **task lines** -> page.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from core.generation.request import Kind
from core.run_folder import PREDICTIONS, SCORES, TASKS
from curation.counts import MixDetails
from curation.ni.bucket import TaskBucket, read_buckets
from curation.ni.select import SelectedTask, own_name, read_selected
from curation.sources.source import SOURCES, source_of
from curation.stages.predictions import POPULATIONS, Population, read_populations
from curation.stages.samples import SamplesDetails

Z = 1.959964
"""Of a 95 % interval."""

BANDS = (0.2, 0.4, 0.6, 0.8)
"""Lower edges of the colours 1 to 4 of the map."""

NUM_REASONS = 3
"""Reasons shown for a task, the most frequent first."""

ORDERS = ("score", "name", "asked", "rows", "tokens")
"""What the page can be sorted by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskLine:
    """A task, or a part of another source, with its rows."""

    source: str
    task: str
    kind: str
    category: str
    why: str
    """The evidence that decided its kind."""
    score: float | None
    """Accuracy, or mean ROUGE-L. None: the base was not asked."""
    interval: tuple[float, float] | None
    """95 %, over the answers. An interval for new instances of the task, so it has a width even if all were asked."""
    asked: int | None
    instances: int | None
    rows: int
    tokens: int
    share: float
    """Of the mix's tokens, or of its rows if tokens were not counted."""
    lost: tuple[tuple[str, int], ...]
    """(reason, rows) for which it gives no more."""
    places: Mapping[str, int]
    """Place in each of `ORDERS`."""

    @property
    def band(self) -> int | None:
        """The colour on the map: 0 for what the base cannot do, 4 for what it can. None: not asked."""
        return None if self.score is None else sum(self.score >= edge for edge in BANDS)

    @property
    def summary(self) -> str:
        """The line in words."""
        score = "not asked"
        if self.score is not None and self.interval is not None:
            score = f"{self.score:.2f} ({self.interval[0]:.2f} to {self.interval[1]:.2f})"
        return f"{self.task}, {self.kind}: {score}; {self.rows:,} rows drawn"


@dataclass(frozen=True, slots=True, kw_only=True)
class CategoryRow:
    """One category on the map."""

    category: str
    mean: float | None
    rows: int
    lines: tuple[TaskLine, ...]
    """The hardest first."""
    places: Mapping[str, int]


def accuracy_interval(right: float, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share.

    >>> [round(x, 3) for x in accuracy_interval(488, 510)]
    [0.936, 0.971]
    """
    p = right / n
    middle, scale = p + Z * Z / (2 * n), 1 + Z * Z / n
    half = Z * math.sqrt(p * (1 - p) / n + Z * Z / (4 * n * n))
    return max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale)


def score_interval(bucket: TaskBucket) -> tuple[float, float]:
    """The 95 % interval of a task's score."""
    if bucket.kind is Kind.EXACT_MATCH:
        return accuracy_interval(bucket.mean_score * bucket.num_scores, bucket.num_scores)
    half = Z * bucket.score_sd / math.sqrt(bucket.num_scores)
    return max(0.0, bucket.mean_score - half), min(1.0, bucket.mean_score + half)


def task_lines(run: Path, details: MixDetails, drawn: SamplesDetails) -> list[TaskLine]:
    """Every task that was selected, hardest first; then the parts of other sources."""
    found = sorted(_lines(run, details, drawn), key=lambda x: (x.score is None, x.score or 0, x.source, x.task))
    placed = _placed(
        found,
        {
            "score": lambda x: (x.score is None, x.score or 0, x.task),
            "name": lambda x: (x.source in SOURCES and x.score is None, x.task),
            "asked": lambda x: (-(x.asked or 0), x.task),
            "rows": lambda x: (-x.rows, x.task),
            "tokens": lambda x: (-x.tokens, x.task),
        },
    )
    return [replace(line, places=places) for line, places in zip(found, placed, strict=True)]


def _lines(run: Path, details: MixDetails, drawn: SamplesDetails) -> Iterator[TaskLine]:
    chosen = {task.name: task for task in read_selected(run / TASKS / "tasks.jsonl")}
    buckets = {b.task: b for b in read_buckets(run / SCORES / "buckets.jsonl")}
    populations = {p.task: p for p in read_populations(run / PREDICTIONS / POPULATIONS)}
    keys = [f"{source_of(t.kind, t.categories)}/{name}" for name, t in chosen.items()]
    whole = details.tokens or sum(details.rows_by_task.values()) or 1
    for key in [*keys, *(key for key in details.rows_by_task if key not in set(keys))]:
        source, _, name = key.partition("/")
        task = chosen.get(name) if key in keys else None
        rows, tokens = details.rows_by_task.get(key, 0), details.tokens_by_task.get(key, 0)
        lost = sorted(drawn.lost_by_task.get(key, {}).items(), key=lambda x: (-x[1], x[0]))
        line = TaskLine(
            source=source, task=name, kind="other source", category="other sources", why="", score=None, interval=None,
            asked=None, instances=None, rows=rows, tokens=tokens, share=(tokens if details.tokens else rows) / whole,
            lost=tuple(lost[:NUM_REASONS]), places={},
        )  # fmt: skip
        yield line if task is None else _of_task(line, task, buckets.get(name), populations.get(name))


def _of_task(line: TaskLine, task: SelectedTask, bucket: TaskBucket | None, population: Population | None) -> TaskLine:
    """The line with what is known of a selected task."""
    num = task.block.num_instances
    own = own_name(task.categories)
    category = f"own rows: {own}" if own is not None else ", ".join(task.categories)
    line = replace(
        line, kind=task.kind.value.replace("_", " "), category=category, why=task.typed.reason, instances=num
    )
    if bucket is None:
        return replace(line, kind=f"{'own' if own is not None else line.kind}, not asked")
    return replace(
        line,
        score=bucket.mean_score,
        interval=score_interval(bucket),
        asked=population.asked if population else num,
    )


Key = Callable[[TaskLine], tuple[object, ...]]


def _placed(items: Sequence[TaskLine], keys: Mapping[str, Key]) -> list[dict[str, int]]:
    """The place of each item in each order."""
    places: list[dict[str, int]] = [{} for _ in items]
    for name, key in keys.items():
        for place, number in enumerate(sorted(range(len(items)), key=lambda i: key(items[i]))):
            places[number][name] = place
    return places


def task_map(lines: Sequence[TaskLine]) -> list[CategoryRow]:
    """The categories, the hardest first."""
    members: dict[str, list[TaskLine]] = defaultdict(list)
    for line in lines:
        if line.instances is not None:
            members[line.category].append(line)
    rows = [_category_row(category, tasks) for category, tasks in members.items()]
    orders: Mapping[str, Callable[[CategoryRow], tuple[object, ...]]] = {
        "score": lambda r: (r.mean is None, r.mean or 0, r.category),
        "name": lambda r: (r.category,),
        "asked": lambda r: (-sum(line.asked or 0 for line in r.lines), r.category),
        "rows": lambda r: (-r.rows, r.category),
        "tokens": lambda r: (-sum(line.tokens for line in r.lines), r.category),
    }
    ranks = {name: {r.category: n for n, r in enumerate(sorted(rows, key=key))} for name, key in orders.items()}
    placed = [replace(row, places={name: ranks[name][row.category] for name in orders}) for row in rows]
    return sorted(placed, key=lambda r: r.places["score"])


def _category_row(category: str, tasks: Sequence[TaskLine]) -> CategoryRow:
    scores = [line.score for line in tasks if line.score is not None]
    return CategoryRow(
        category=category,
        mean=sum(scores) / len(scores) if scores else None,
        rows=sum(line.rows for line in tasks),
        lines=tuple(sorted(tasks, key=lambda line: line.places["score"])),
        places={},
    )
