"""Tables of results: which columns the challenge scores, and the submissions that a file or folder holds.

    field = read_submissions([Path("4090_full_ranks.json")])
    field[0].metrics["MMLU - EM"]

Four kinds are read, and checked the same way:
- JSON: `[[name, {column: value}], ...]` as the challenge published it, or `{name: {column: value}}`; null where a
  metric came out undefined. Mean win rates and scores that stand there are kept apart, to compare with.
- CSV: a header, then a line per submission, its name first; an empty cell is null.
- a folder of HELM's: see submission/helm/tables.py.
- results of lm-eval: see submission/score/lm_eval.py.

A table need not have all columns: the score counts those that every submission has. A column called `COLUMN (stderr)`
holds the standard errors of another.

Where it sits: HELM's tables -> **submissions** -> scores.
"""

import csv
import difflib
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from core.files import encodable
from submission.errors import TableError
from submission.helm.tables import GROUPS, read_suite
from submission.score.lm_eval import LmEvalRow, holds_lm_eval, is_lm_eval, read_lm_eval, read_lm_eval_folder


class Part(StrEnum):
    """The challenge's two stages."""

    OPEN = "open"
    HIDDEN = "hidden"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One scenario and its metric columns, by the names that HELM's tables show."""

    name: str
    part: Part
    columns: tuple[str, ...]


def _thrice(prefix: str) -> tuple[str, ...]:
    """Accuracy as it is, and the worst case over HELM's two families of perturbations."""
    return tuple(f"{prefix} - EM{suffix}" for suffix in ("", " (Robustness)", " (Fairness)"))


_BIAS = [f"{kind} ({of})" for kind in ("Stereotypes", "Representation") for of in ("race", "gender")]
_ETHICS = ("justice", "commonsense", "virtue", "deontology", "utilitarianism")

SCENARIOS = (
    Scenario(name="MMLU", part=Part.OPEN, columns=_thrice("MMLU")),
    Scenario(name="TruthfulQA", part=Part.OPEN, columns=_thrice("TruthfulQA")),
    Scenario(name="BIG-bench", part=Part.OPEN, columns=("BIG-bench - EM",)),
    Scenario(name="GSM8K", part=Part.OPEN, columns=("GSM8K - EM",)),
    Scenario(name="BBQ", part=Part.OPEN, columns=("BBQ - EM",)),
    Scenario(
        name="sam_sum", part=Part.HIDDEN, columns=("sam_sum - ROUGE-2", *(f"sam_sum - {metric}" for metric in _BIAS))
    ),
    Scenario(name="corr2cause", part=Part.HIDDEN, columns=("corr2cause - EM",)),
    Scenario(
        name="MATH", part=Part.HIDDEN, columns=("MATH (chain-of-thoughts) - Equivalent (chain of thought)",)
    ),
    Scenario(
        name="ethics", part=Part.HIDDEN, columns=tuple(c for name in _ETHICS for c in _thrice(f"ethics_{name}"))
    ),
)  # fmt: skip
"""In the order of the published file, `4090_full_ranks.json`, whose columns these are. CNN/DailyMail was dropped."""

COLUMNS = tuple(column for scenario in SCENARIOS for column in scenario.columns)
"""All 31."""

FIGURES = ("Score_full", "Score_open", "Score_hidden", *(f"{s.name} Mean Win Rate" for s in SCENARIOS))
"""What is computed from them, by its published names."""


STDERR = " (stderr)"
"""Behind a column's name: the column of its standard errors."""


def lower_is_better(column: str) -> bool:
    """True for the bias metrics, as in HELM's schema."""
    return any(f" - {kind} (" in column for kind in ("Stereotypes", "Representation"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """One submission's results."""

    name: str
    source: str
    """The file or folder it was read from."""
    metrics: Mapping[str, float | None]
    """By those of `COLUMNS` that were measured, each in [0, 1]; None where the metric came out undefined."""
    standard_errors: Mapping[str, float] = field(default_factory=dict)
    """By those of `COLUMNS` for which the table gives one."""
    is_lm_eval: bool = False
    """lm-eval measured it, with other prompts and metrics than HELM's."""
    published: Mapping[str, float] = field(default_factory=dict)
    """Those of `FIGURES` that stood in the table."""


def read_submissions(paths: Sequence[Path]) -> list[Submission]:
    """Every submission of every file and folder, in order.

    Raises:
        TableError: one cannot be read, lacks a column, holds no number where one is needed, or a name stands twice.
    """
    found: dict[str, Submission] = {}
    for path in paths:
        for submission in _of_path(path):
            name = submission.name
            if name in found:
                where = f" and {found[name].source}" if found[name].source != str(path) else ""
                raise TableError(f"{path}{where}: two submissions are called {name!r}. Rename one.")
            found[name] = submission
    return list(found.values())


def _of_path(path: Path) -> list[Submission]:
    if path.is_dir() and not (path / GROUPS).is_dir() and holds_lm_eval(path):
        return [_measured_by_lm_eval(row, path) for row in read_lm_eval_folder(path)]
    rows = _rows(path)
    if rows is None:
        return [_measured_by_lm_eval(read_lm_eval(path), path)]
    return [_submission(name, row, path) for name, row in rows]


def _measured_by_lm_eval(row: LmEvalRow, path: Path) -> Submission:
    metrics = {column: _fraction(value, column, row.name, path) for column, value in row.metrics.items()}
    return Submission(
        name=row.name, source=str(path), metrics=metrics, standard_errors=row.standard_errors, is_lm_eval=True
    )


def _rows(path: Path) -> list[tuple[str, Mapping[str, object]]] | None:
    """The rows of a table or of HELM's folder; None for a results file of lm-eval."""
    if path.is_dir():
        return read_suite(path, COLUMNS)
    if not path.exists():
        raise TableError(f"{path}: no such file or folder. Pass a .json or .csv table, or a folder of helm-summarize.")
    readers = {".json": _json_rows, ".csv": _csv_rows}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise TableError(f"{path}: neither .json nor .csv nor a folder of helm-summarize. Pass one of these.")
    try:
        rows = reader(path, path.read_bytes().decode("utf-8-sig"))
    except (ValueError, RecursionError, csv.Error) as e:
        raise TableError(f"{path}: cannot be read as {path.suffix[1:].upper()} ({e}). Mend or export it again.") from e
    if rows == []:
        raise TableError(f"{path}: no submission in it. Add a row for each.")
    return rows


def _json_rows(path: Path, text: str) -> list[tuple[str, Mapping[str, object]]] | None:
    """Both shapes of a JSON table; None for a results file of lm-eval."""

    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        if twice := _twice(key for key, _ in pairs):
            raise TableError(f"{path}: {twice!r} stands twice. Each submission and each of its columns needs one name.")
        return dict(pairs)

    table = json.loads(text, object_pairs_hook=unique)
    if is_lm_eval(table):
        return None
    pairs = list(table.items()) if isinstance(table, dict) else table
    if not isinstance(pairs, list) or not all(map(_is_pair, pairs)):
        raise TableError(
            f"{path}: neither [[name, {{column: value}}], ...] nor {{name: {{column: value}}}}. Write one of these."
        )
    return [(name, row) for name, row in pairs]


def _is_pair(pair: object) -> bool:
    return isinstance(pair, list | tuple) and len(pair) == 2 and isinstance(pair[0], str) and isinstance(pair[1], dict)


def _csv_rows(path: Path, text: str) -> list[tuple[str, Mapping[str, object]]]:
    """A line per submission; numbers are still text."""
    lines = [line for line in csv.reader(io.StringIO(text), strict=True) if any(cell.strip() for cell in line)]
    if not lines:
        return []
    header = [cell.strip() for cell in lines[0]]
    if twice := _twice(header[1:]):
        raise TableError(f"{path}: two columns are called {twice!r}. Remove one.")
    rows: list[tuple[str, Mapping[str, object]]] = []
    for line in lines[1:]:
        name = line[0].strip()
        if len(line) != len(header):
            raise TableError(
                f"{path}: {name!r} has {len(line)} cells, the header {len(header)}. Leave a cell empty for null."
            )
        rows.append((name, {c: _csv_value(cell.strip()) for c, cell in zip(header[1:], line[1:], strict=True)}))
    return rows


def _csv_value(cell: str) -> object:
    """Text that is no number stays text, and is refused where a number is needed."""
    if cell in ("", "null"):
        return None
    try:
        return float(cell)
    except ValueError:
        return cell


def _submission(name: str, row: Mapping[str, object], path: Path) -> Submission:
    """Checks one row."""
    if not name.strip():
        raise TableError(f"{path}: a submission without a name. Give it one.")
    if not encodable(name):
        raise TableError(f"{path}: {name!a} is not valid Unicode (a lone surrogate). Rename the submission.")
    _refuse_misspelt(name, row, path)
    metrics = {column: _fraction(row[column], column, name, path) for column in COLUMNS if column in row}
    if not metrics:
        raise TableError(f"{path}: {name!r} has none of the challenge's columns, such as {COLUMNS[0]!r}. Add some.")
    errors = {c: _fraction(row[c + STDERR], c + STDERR, name, path) for c in metrics if c + STDERR in row}
    published = {figure: _fraction(row[figure], figure, name, path) for figure in FIGURES if figure in row}
    return Submission(
        name=name,
        source=str(path),
        metrics=metrics,
        standard_errors={column: value for column, value in errors.items() if value is not None},
        published={figure: value for figure, value in published.items() if value is not None},
    )


def _refuse_misspelt(name: str, row: Mapping[str, object], path: Path) -> None:
    """Refuses a column that is nearly one of the challenge's, which is missing: it would not be counted."""
    known = {*COLUMNS, *FIGURES, *(column + STDERR for column in COLUMNS)}
    unknown = [column for column in row if column not in known]
    for column in COLUMNS if unknown else ():
        like = difflib.get_close_matches(column, unknown, n=1, cutoff=0.8) if column not in row else []
        if like:
            raise TableError(f"{path}: {name!r} has no column {column!r}. Is it {like[0]!r}? Rename that.")


def _fraction(value: object, column: str, name: str, path: Path) -> float | None:
    """A number in [0, 1], or None for null. Percent beside fractions would win every comparison."""
    where = f"{path}: {name!r}, {column!r}: {value!r}"
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TableError(f"{where} is not a number. Write a number, or null where the metric came out undefined.")
    if not 0 <= value <= 1:
        raise TableError(f"{where} is not in [0, 1]. HELM's metrics are fractions: divide percents by 100.")
    return float(value)


def _twice(names: Iterable[str]) -> str | None:
    """The first name that stands twice."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None
