"""The report of a mix: one self-contained page, light and dark, without a script or a request.

    write_report(Path("runs/200k"), Path("runs/200k/05_mix/report.html"), summary)

Where it sits: the last thing that the mix stage writes; it reads the summaries of the stages before it.
"""

import itertools
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from core.files import atomic_writer, read_json, read_jsonl
from core.generation.request import Kind
from core.run_folder import PREDICTIONS, SAMPLES, SCORES, TASKS
from core.stage import Summary
from curation.ni.bucket import read_buckets
from curation.ni.select import read_selected
from curation.ni.task import EqualInputs
from curation.preset import PRESETS, flat
from curation.sources.source import SOURCES, source_of

TEMPLATE = "report.html.j2"
NUM_EXAMPLES = 10
_SHOWN_CHARACTERS = 1_200


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One bar of a chart."""

    label: str
    value: int
    share: float
    """Of the longest bar, in [0, 1]."""
    note: str = ""


def bars(values: Sequence[tuple[str, int, str]]) -> list[Bar]:
    """Bars scaled to the longest."""
    longest = max((value for _, value, _ in values), default=0) or 1
    return [Bar(label=label, value=value, share=value / longest, note=note) for label, value, note in values]


def write_report(run: Path, path: Path, summary: Summary) -> None:
    """Writes the page.

    Args:
        run: The run folder; stages 01 to 04 are done.
        path: Where to.
        summary: Of the mix stage, which is not written yet.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("curation", "."),
        autoescape=True,
        trim_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["n"] = lambda value: f"{value:,}"
    page = environment.get_template(TEMPLATE).render(**_content(run, path.parent, summary))
    with atomic_writer(path) as f:
        f.write(page.encode())


def _content(run: Path, mix: Path, summary: Summary) -> dict[str, Any]:
    details = summary.details
    drawn = read_json(run / SAMPLES / "summary.json")["details"]
    manifest = read_json(mix / "manifest.json")
    scores = read_json(run / SCORES / "summary.json")["details"]
    return {
        "name": run.name,
        "rows": details["train_rows"] + details["validation_rows"],
        "details": details,
        "model": manifest["model"],
        "sources": bars(
            [(s, details["rows_by_source"].get(s, 0), f"of {target:,}") for s, target in drawn["targets"].items()]
        ),
        "funnel": _funnel(run, summary),
        "accuracy": _accuracy(scores, details, manifest["parameters"]["buckets"]),
        "rouge": _rouge(scores, details, manifest["parameters"]["buckets"]),
        "lengths": _lengths({int(k): v for k, v in details["rows_by_tokens"].items()}),
        "licences": bars([(k, v, "") for k, v in sorted(details["rows_by_spdx"].items(), key=lambda x: (-x[1], x[0]))]),
        "tasks": _tasks(run, details["rows_by_task"]),
        "contradictory": read_json(run / TASKS / "summary.json")["details"]["contradictory_groups"],
        "accepts_all": manifest["parameters"]["reading"]["equal_inputs"] == EqualInputs.ACCEPT_ALL,
        "short_spans": manifest["parameters"]["typing"]["short_spans"],
        "examples": _examples(mix),
        "choices": _choices(manifest["parameters"]),
        "fit": details["fit"],
    }


def _funnel(run: Path, summary: Summary) -> list[dict[str, Any]]:
    """Read, kept and dropped by reason, stage by stage."""
    stages = [
        (name, read_json(run / name / "summary.json")["tallies"]) for name in (TASKS, PREDICTIONS, SCORES, SAMPLES)
    ]
    stages.append(
        (
            "05_mix",
            {unit: {"read": t.read, "kept": t.kept, "dropped": t.dropped} for unit, t in summary.tallies.items()},
        )
    )
    return [
        {
            "stage": name,
            "unit": unit,
            "read": tally["read"],
            "kept": tally["kept"],
            "share": tally["kept"] / tally["read"] if tally["read"] else 0,
            "dropped": sorted(tally["dropped"].items(), key=lambda x: (-x[1], x[0])),
        }
        for name, tallies in stages
        for unit, tally in tallies.items()
    ]


def _accuracy(scores: Mapping[str, Any], details: Mapping[str, Any], buckets: Mapping[str, Any]) -> list[Bar]:
    """Exact-match tasks by accuracy; the note says how many rows of such tasks were drawn."""
    labels = _bands(buckets["accuracy_edges"])
    by_bucket = scores["exact_match_tasks_by_bucket"]
    rows = details["rows_by_bucket"]
    return bars(
        [
            (label, by_bucket.get(str(n), 0), _drawn(rows.get(f"{Kind.EXACT_MATCH}/{n}", 0)))
            for n, label in enumerate(labels)
        ]
    )


def _rouge(scores: Mapping[str, Any], details: Mapping[str, Any], buckets: Mapping[str, Any]) -> list[Bar]:
    """Generated answers by ROUGE-L."""
    rows = details["rows_by_bucket"]
    counts = scores["generation_instances_by_bucket"]
    labels = _bands(buckets["rouge_edges"])
    return bars(
        [
            (label, n, _drawn(rows.get(f"{Kind.GENERATION}/{i}", 0)))
            for i, (label, n) in enumerate(zip(labels, counts, strict=False))
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


def _tasks(run: Path, rows: Mapping[str, int]) -> list[dict[str, Any]]:
    """Every task that was asked with its score and rows, hardest first; then the others, and other sources' parts."""
    chosen = list(read_selected(run / TASKS / "tasks.jsonl"))
    typed = {selected.name: selected.typed for selected in chosen}
    found = []
    seen = set()
    sources = {task.name: source_of(task.kind, task.categories) for task in chosen}
    for bucket in read_buckets(run / SCORES / "buckets.jsonl"):
        key = f"{sources[bucket.task]}/{bucket.task}"
        seen.add(key)
        found.append(
            {
                "task": bucket.task,
                "kind": bucket.kind.value.replace("_", " "),
                "why": typed[bucket.task].reason,
                "score": bucket.mean_score,
                "asked": bucket.num_scores,
                "rows": rows.get(key, 0),
            }
        )
    found.sort(key=lambda t: (t["score"], t["task"]))
    others = [(*key.split("/", 1), n) for key, n in rows.items() if key not in seen]
    return found + [
        {
            "task": k,
            "kind": "other source" if s in SOURCES else "own, not asked",
            "why": "",
            "score": None,
            "asked": None,
            "rows": n,
        }
        for s, k, n in others
    ]


def _examples(mix: Path) -> list[dict[str, Any]]:
    """Ten training rows, drawn at random with a fixed seed; long texts are cut in the middle."""
    rng, chosen = random.Random("report"), []
    for number, row in enumerate(read_jsonl(mix / "train.jsonl")):  # reservoir: the rows stay on disk
        if number < NUM_EXAMPLES:
            chosen.append(row)
        elif (place := rng.randrange(number + 1)) < NUM_EXAMPLES:
            chosen[place] = row
    return [{**row, **{name: _cut(row[name]) for name in ("instruction", "input", "output")}} for row in chosen]


def _cut(text: str) -> str:
    if len(text) <= _SHOWN_CHARACTERS:
        return text
    half = _SHOWN_CHARACTERS // 2
    return f"{text[:half]}\n[ … {len(text) - 2 * half:,} characters … ]\n{text[-half:]}"


def _choices(parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every choice and whether it is the recommended one."""
    recommended = orjson.loads(orjson.dumps(flat(PRESETS["recommended"])))
    shown: dict[str, Any] = {}
    for key, value in parameters.items():
        if isinstance(value, dict) and key not in ("kinds", "fit", "adaptive"):
            shown |= {f"{key}.{inner}": v for inner, v in value.items()}
        else:
            shown[key] = value
    return [
        {
            "key": key,
            "value": _short(value),
            "usual": _short(recommended.get(key)) if value != recommended.get(key) else "",
        }
        for key, value in shown.items()
    ]


def _short(value: Any) -> str:
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 120 else text[:110] + " …"
