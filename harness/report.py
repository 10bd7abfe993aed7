"""The HTML report of one run, or of two side by side: one self-contained page that works offline.

    write_report([Path("runs/200k")], Path("runs/200k/report.html"))
    write_report([Path("runs/a"), Path("runs/b")], Path("runs/a/compare-b.html"))

Where it sits: history -> **report**; `oneday report` and the end of a run write it, and a run may be in any state.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from core.comparison import ANSWERS, COMPARISON, OVERALL, Comparison
from core.files import read_as, read_jsonl
from core.lm_eval_figure import LmEvalFigure, read_figures
from core.manifest import MANIFEST
from core.page import write_page
from core.run_folder import MIX, PLAN, SCORED
from harness.budget.duration import pretty
from harness.budget.rehearse import REHEARSAL, Rehearsal
from harness.charts import Chart, bar_chart, run_charts, script
from harness.checkpoint.verdict import Verdict
from harness.history import History, State, read_history

TEMPLATE = "report.html.j2"
NUM_EXAMPLES = 9
MAX_TASKS = 15
MAX_TEXT_LENGTH = 1_200
"""Characters of an example's text that the page shows."""

_NOT_COMPARED = frozenset(
    {"t", "up", "boot", "card_how", "base_path", "mix_path", "call", "inputs", "outputs", "counts", "ledger"}
    | {"candidates"}
)
"""Keys of a manifest that differ between any two runs, or that the page shows elsewhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A held-out question with the answers of base and tuned model."""

    verdict: str
    """`better`, `worse` or `the same`."""
    question: Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class MixCounts:
    """What the page shows of a mix's summary."""

    train_rows: int
    validation_rows: int
    rows_by_source: Mapping[str, int]
    rows_by_task: Mapping[str, int] = field(default_factory=dict)
    tokens: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPage:
    """The values that the template shows for one run."""

    history: History
    verdict: Verdict | None
    """None until a checkpoint is picked."""
    status: str
    comparison: Sequence[Comparison]
    examples: Sequence[Example]
    mix: MixCounts | None
    rehearsal: Rehearsal | None
    commands: Sequence[tuple[str, str]]
    lm_eval: Sequence[LmEvalFigure] = ()


Commands = Callable[[History], Sequence[tuple[str, str]]]
"""Returns the next steps for a run as (description, command)."""


def write_report(runs: Sequence[Path], path: Path, *, commands: Commands = lambda history: ()) -> None:
    """Writes the page of one run, or of two side by side.

    Raises:
        DataError: A run was never trained.
    """
    from markupsafe import Markup

    pages = _with_unique_names([_page(run, commands) for run in runs])
    histories = [page.history for page in pages]
    charts = run_charts(histories)
    if len(pages) == 1:
        charts |= _mix_charts(pages[0].mix)
    values = {
        "title": " and ".join(h.name for h in histories),
        "pages": pages,
        "charts": {name: Chart(title=c.title, html=Markup(c.html), note=c.note) for name, c in charts.items()},
        "script": Markup(script()),
        "facts": _facts(pages),
        "differences": _differences(histories) if len(pages) > 1 else [],
        "overall": OVERALL,
        "running": any(h.state is State.RUNNING for h in histories),
    }
    write_page(path, "harness", TEMPLATE, values, filters={"n": "{:,.0f}".format, "pretty": pretty})


def _with_unique_names(pages: Sequence[RunPage]) -> Sequence[RunPage]:
    """Names runs by their paths if their folders have the same name."""
    if len({page.history.name for page in pages}) == len(pages):
        return pages
    return [replace(page, history=replace(page.history, name=str(page.history.run.resolve()))) for page in pages]


def _page(run: Path, commands: Commands) -> RunPage:
    history = read_history(run)
    mix, rehearsal = run / MIX / "summary.json", run / PLAN / REHEARSAL
    comparison = run / SCORED / COMPARISON
    return RunPage(
        history=history,
        verdict=verdict_of(history),
        status=status_sentence(history),
        comparison=read_as(list[Comparison], comparison) if comparison.is_file() else [],
        examples=_examples(run / SCORED / ANSWERS) if comparison.is_file() else [],
        mix=read_as(MixCounts, mix, key="details") if mix.is_file() else None,
        rehearsal=read_as(Rehearsal, rehearsal) if rehearsal.is_file() else None,
        commands=commands(history),
        lm_eval=read_figures(run),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _TrainSection:
    """The keys of a manifest's section `train` that the verdict needs."""

    because: str = ""
    last_loss: float | None = None
    faint_share: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Manifest:
    train: _TrainSection = _TrainSection()


def verdict_of(history: History) -> Verdict | None:
    """The verdict on a run; None while it runs, or if no checkpoint is picked.

    Raises:
        StageError: The manifest is damaged.
    """
    if history.picked is None or history.state is State.RUNNING:
        return None
    path = history.run / MANIFEST
    train = read_as(_Manifest, path, mend="Restore it, or move it away.").train if path.is_file() else _TrainSection()
    return Verdict(
        base_loss=history.picked.base_loss,
        best_loss=history.picked.validation_loss,
        last_loss=train.last_loss,
        stop_reason=train.because,
        faint_share=train.faint_share,
    )


def status_sentence(history: History) -> str:
    """The state of the run in one or two sentences."""
    day = history.day
    budget = pretty(day.budget_s)
    if history.state is State.FINISHED and history.picked:
        trained = day.by_phase.get("train", 0.0) / day.budget_s
        return (
            f"Finished: {pretty(day.charged_s)} of {budget} charged, {trained:.1%} of the budget for training, "
            f"{day.overshoot_s:.1f} s past the deadline. "
            f"{history.picked.checkpoint} is picked; its validation loss is {history.picked.validation_loss:.4f}."
        )
    step = f"step {history.steps[-1].step} of about {history.horizon}" if history.steps else "before the first step"
    best = f" Best validation loss so far: {history.best.loss:.4f} at step {history.best.step}." if history.best else ""
    if history.state is State.RUNNING:
        return f"Running: {history.phase}, {step}, {pretty(history.left_s)} of {budget} left.{best}"
    verb = "resumes it" if history.left_s > 0 else "publishes the best checkpoint"
    return f"Stopped, {step}: {pretty(history.left_s)} of {budget} left; the same command {verb}.{best}"


def _examples(path: Path) -> list[Example]:
    """A fixed random sample with equally many better, worse and unchanged answers."""
    groups: dict[str, list[Example]] = {"better": [], "worse": [], "the same": []}
    for row in read_jsonl(path):
        gain = row["scores"]["tuned"] - row["scores"]["base"]
        verdict = "better" if gain > 0 else "worse" if gain < 0 else "the same"
        groups[verdict].append(Example(verdict=verdict, question=_shortened(row)))
    rng = random.Random(0)
    shown: list[Example] = []
    for group in groups.values():
        shown += rng.sample(group, min(NUM_EXAMPLES // 3, len(group)))
    return shown


def _shortened(value: Any) -> Any:
    if isinstance(value, str):
        return value if len(value) <= MAX_TEXT_LENGTH else f"{value[:MAX_TEXT_LENGTH]} …"
    return {key: _shortened(inner) for key, inner in value.items()} if isinstance(value, dict) else value


def _mix_charts(mix: MixCounts | None) -> dict[str, Chart]:
    if mix is None:
        return {}
    sources = list(mix.rows_by_source.items())
    tasks = sorted(mix.rows_by_task.items(), key=lambda item: (-item[1], item[0]))
    shown = [(name.rpartition("/")[2], rows) for name, rows in tasks[:MAX_TASKS]]
    rest = sum(rows for _, rows in tasks[MAX_TASKS:])
    if rest:
        shown.append((f"{len(tasks) - MAX_TASKS} others", rest))
    charts = {"sources": bar_chart("sources", "Rows by source", sources)}
    return charts | ({"tasks": bar_chart("tasks", "Rows by task", shown)} if shown else {})


def _facts(pages: Sequence[RunPage]) -> list[tuple[str, list[str]]]:
    """The rows of the table of facts, with one value for each run."""

    def line(name: str, value: Callable[[RunPage], str]) -> tuple[str, list[str]]:
        return name, [value(page) for page in pages]

    unknown = [page.history.num_unknown_events for page in pages]
    return [
        line("state", lambda p: str(p.history.state)),
        line("card", lambda p: p.history.origins.train.card or "not on record"),
        line("base model", lambda p: Path(p.history.origins.train.base_path or "-").name),
        line("budget", lambda p: pretty(p.history.day.budget_s)),
        line("charged", lambda p: pretty(p.history.day.charged_s)),
        line("past the deadline", lambda p: f"{p.history.day.overshoot_s:.1f} s"),
        line("training", lambda p: f"{p.history.day.by_phase.get('train', 0.0) / p.history.day.budget_s:.1%}"),
        line("steps", lambda p: f"{p.history.steps[-1].step:,}" if p.history.steps else "0"),
        line("speed", lambda p: f"{p.history.tokens_per_s:,.0f} tokens/s" if p.history.tokens_per_s else "-"),
        line("peak memory", lambda p: _memory(p.history)),
        line("restarts", lambda p: str(p.history.day.resumes)),
        line("best validation loss", lambda p: f"{p.history.best.loss:.4f}" if p.history.best else "-"),
        line("picked", lambda p: p.history.picked.checkpoint if p.history.picked else "-"),
        line("base, held-out score", lambda p: _overall(p, lambda c: c.base)),
        line("tuned, held-out score", lambda p: _overall(p, lambda c: c.tuned)),
        *([("events of a newer version, skipped", [f"{number:,}" for number in unknown])] if any(unknown) else []),
    ]


def _memory(history: History) -> str:
    known = [s.memory_gib for s in history.steps if s.memory_gib is not None]
    return f"{max(known):.1f} GiB" if known else "-"


def _overall(page: RunPage, score: Callable[[Comparison], float]) -> str:
    return next((f"{score(c):.3f}" for c in page.comparison if c.group == OVERALL), "-")


def _differences(histories: Sequence[History]) -> list[tuple[str, str, str]]:
    """Name and both values of every manifest entry in which the two runs differ."""
    entries = [dict(_flattened(h.manifest)) for h in histories]
    names = sorted(set(entries[0]) | set(entries[1]))
    pairs = [(name, *(str(values.get(name, "-")) for values in entries)) for name in names]
    return [(name, a, b) for name, a, b in pairs if a != b]


def _flattened(value: Any, prefix: str = "") -> list[tuple[str, Any]]:
    if not isinstance(value, dict):
        return [(prefix, value)]
    inner: list[tuple[str, Any]] = []
    for key, nested in value.items():
        if key not in _NOT_COMPARED:
            inner += _flattened(nested, f"{prefix}.{key}" if prefix else key)
    return inner
