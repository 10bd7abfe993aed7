"""The tables that `helm-summarize` writes for one suite.

    read_suite(Path("benchmark_output/runs/mine"), COLUMNS)

The format, observed for `mmlu` and `gsm` with HELM 0.5.16's `schema_classic.yaml` and read in its
`presentation/summarize.py` and `table.py`: `groups/GROUP.json` is a list of tables (accuracy, robustness, ...),
each with a `header` of cells and `rows` of cells, a row per model. The header's `value` is the column's name, such as
`MMLU - EM (Robustness)`. A cell without a `value` is null; its `description` distinguishes a metric without data, `(0)`
(read in the source, not observed), from a scenario that was not run. Releases (`benchmark_output/releases/R`) have the
same form.

The challenge took its columns from `core_scenarios.json` and BBQ's from `targeted_evaluations.json` of its own version
of HELM. The schema of 0.5.16 has no `BIG-bench`, `sam_sum`, `corr2cause` or `ethics_*`: they need run groups of these
names in a `--schema-path`, and the last three need their scenarios too.

Where it sits: helm-run, helm-summarize -> **tables** -> ranks.
"""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from submission.errors import TableError

GROUPS = "groups"
FIRST = ("core_scenarios.json", "targeted_evaluations.json")
"""The groups that the challenge used. Others may show a column for some of its runs only."""

_OVER_NOTHING = "(0)"
"""How HELM prints a statistic without any value, such as a bias metric that computed 0/0."""


class _Cell(BaseModel):
    # Each version of HELM adds keys (style, href, markdown): unknown ones must not make a table unreadable.
    model_config = ConfigDict(extra="ignore")

    value: object = None
    description: str = ""

    @property
    def was_run(self) -> bool:
        """Whether a run produced this metric."""
        return self.value is not None or self.description.startswith(_OVER_NOTHING)


class _Table(BaseModel):
    model_config = ConfigDict(extra="ignore")

    header: list[_Cell]
    rows: list[list[_Cell]]


_TABLES = TypeAdapter(list[_Table])


def read_suite(folder: Path, columns: Collection[str]) -> list[tuple[str, Mapping[str, object]]]:
    """The submissions of a suite with HELM's figures for `columns`.

    A suite of one model is named after its folder, because every submission's model is `neurips/local`; otherwise each
    submission is named after folder and model.

    Raises:
        TableError: the folder was not summarised, or its tables do not have HELM's format.
    """
    models: dict[str, dict[str, object]] = {}
    for path in _files(folder):
        for table in _tables(path):
            for model, row in _named(table, columns, path):
                measured = models.setdefault(model, {})
                measured.update({column: value for column, value in row.items() if column not in measured})
    if not models:
        raise TableError(f"{folder}: its tables hold no model. Run helm-run, then helm-summarize again.")
    name = folder.resolve().name
    return [(name if len(models) == 1 else f"{name}: {model}", row) for model, row in models.items()]


def _files(folder: Path) -> list[Path]:
    found = sorted((folder / GROUPS).glob("*.json"), key=lambda path: (path.name not in FIRST, path.name))
    if not found:
        raise TableError(
            f"{folder}: no {GROUPS}/*.json in it. "
            "Run helm-summarize --suite NAME, then pass benchmark_output/runs/NAME."
        )
    return found


def _tables(path: Path) -> list[_Table]:
    try:
        return _TABLES.validate_json(path.read_bytes())
    except ValidationError as e:
        raise TableError(f"{path}: not tables of helm-summarize ({e.errors()[0]['msg']}). Run it again.") from e


def _named(table: _Table, columns: Collection[str], path: Path) -> Iterator[tuple[str, dict[str, object]]]:
    """Model and measured columns of each row."""
    seen = set()
    for row in table.rows:
        if len(row) != len(table.header) or not row:
            raise TableError(f"{path}: a row of {len(row)} cells under {len(table.header)}. Run helm-summarize again.")
        model = str(row[0].value)
        if model in seen:
            raise TableError(f"{path}: two rows are called {model!r}. Give each submission a suite of its own.")
        seen.add(model)
        cells = zip(table.header[1:], row[1:], strict=True)
        yield model, {str(h.value): c.value for h, c in cells if h.value in columns and c.was_run}
