"""What HELM writes: the tables of one suite, after `helm-summarize`.

    read_suite(Path("benchmark_output/runs/mine"), COLUMNS)

Format, as HELM 0.5.16 wrote it here for `mmlu` and `gsm` with its `schema_classic.yaml`, and as its
`presentation/summarize.py` and `table.py` say: `groups/GROUP.json` is a list of tables (accuracy, robustness, ...),
each with a `header` of cells and `rows` of cells, a row per model. The header's `value` is the column's name, such as
`MMLU - EM (Robustness)`. A cell without a `value` is null; its `description` tells a metric over nothing, `(0)` (read
in the source, not seen), from a scenario that was not run. Releases (`benchmark_output/releases/R`) look the same.

The challenge took its columns from `core_scenarios.json`, BBQ's from `targeted_evaluations.json`, of a HELM of its own.
The schema of 0.5.16 shows no `BIG-bench`, `sam_sum`, `corr2cause` or `ethics_*`: they need run groups of these names in
a `--schema-path`, and the last three their scenarios too.

Where it sits: helm-run, helm-summarize -> **suite** -> submissions.
"""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from submission.errors import TableError

GROUPS = "groups"
FIRST = ("core_scenarios.json", "targeted_evaluations.json")
"""Where the challenge looked; other groups may show a column for some of its runs only."""

_OVER_NOTHING = "(0)"
"""How HELM prints a statistic without a single value, such as a bias metric that computed 0/0."""


class _Cell(BaseModel):
    # HELM adds keys from version to version (style, href, markdown): a table must not be lost to the next one.
    model_config = ConfigDict(extra="ignore")

    value: object = None
    description: str = ""

    @property
    def was_run(self) -> bool:
        """False if no run gave this metric."""
        return self.value is not None or self.description.startswith(_OVER_NOTHING)


class _Table(BaseModel):
    model_config = ConfigDict(extra="ignore")

    header: list[_Cell]
    rows: list[list[_Cell]]


_TABLES = TypeAdapter(list[_Table])


def read_suite(folder: Path, columns: Collection[str]) -> list[tuple[str, Mapping[str, object]]]:
    """The submissions of a suite and what HELM measured of `columns`.

    A suite of one model goes by the folder's name, for every submission's model is `neurips/local`; else each by the
    folder's and the model's.

    Raises:
        TableError: the folder was not summarized, or its tables are not what HELM writes.
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
