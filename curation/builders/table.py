"""Mixture tables: the files of a mixture with the expected number of rows. The build fails if a number differs.

    name,path,expected_count,licence,prompts_from,llm_generated
    Dolly,dolly_fi.jsonl,14752,CC-BY-SA-3.0,translated prompts and answers,no
    Alpaca,alpaca_zh.jsonl,41133,CC-BY-NC-4.0,translated prompts,yes

Data in another language is made in two ways: prompt and answer are translated, or only the prompt is translated and a
model answers it. The columns `prompts_from` and `llm_generated` record which.

Source: Table 2 of Taiwan LLM (2023).

Where it sits: rows -> **table**.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from core.errors import MixError
from core.records.record import Record, Rejected
from core.stage import Dropped
from curation.builders.rows import RECORD, InputSpec, Row, distinct, records
from curation.builders.work import BuildContext, BuildOptions, Line, Output

_TRUE, _FALSE = frozenset(["yes", "true", "1"]), frozenset(["", "no", "false", "0"])


@dataclass(frozen=True, slots=True, kw_only=True)
class TableOptions(BuildOptions):
    """Options of a mixture table."""

    table: Path
    """Table with name, path, expected_count, licence, prompts_from and llm_generated. Paths are relative to the table;
    PATH#KEY reads one key of each record."""

    def inputs(self) -> tuple[InputSpec, ...]:
        """The files that the table lists."""
        return tuple(entry.data for entry in read_table(self.table))


@dataclass(frozen=True, slots=True, kw_only=True)
class TableEntry:
    """One line of the table."""

    data: InputSpec
    expected_count: int
    licence: str
    """Licence of the rows that have none."""
    prompts_from: str
    llm_generated: bool


def read_table(path: Path) -> list[TableEntry]:
    """Reads the lines of a table.

    Raises:
        MixError: a line lacks a name, a path or a count, or the table is empty.
        DataError: two lines have the same name.
    """
    entries = []
    for item in records(InputSpec.parse(str(path))):
        if isinstance(item, Rejected):
            raise MixError(f"{item}. Mend the line.")
        entries.append(_entry(item, path.parent))
    if not entries:
        raise MixError(f"{path}: no line in it. Give name, path and expected_count.")
    distinct([entry.data for entry in entries])
    return entries


def _entry(record: Record, folder: Path) -> TableEntry:
    name, path = _text(record, "name"), _text(record, "path")
    count, generated = _text(record, "expected_count").replace(",", ""), _text(record, "llm_generated").lower()
    if not (name and path and count.isdecimal()):
        raise MixError(f"{record.place}: lacks `name`, `path`, or `expected_count` as a number. Mend the line.")
    if generated not in _TRUE | _FALSE:
        raise MixError(f"{record.place}: `llm_generated` is {generated[:20]!r}. Write yes or no.")
    return TableEntry(
        data=replace(InputSpec.parse(path, near=folder), name=name),
        expected_count=int(count),
        licence=_text(record, "licence"),
        prompts_from=_text(record, "prompts_from"),
        llm_generated=generated in _TRUE,
    )


def _text(record: Record, name: str) -> str:
    value: Any = record.columns.get(name)
    return "" if value is None else str(value).strip()


def outputs(options: TableOptions, context: BuildContext) -> Iterator[Output]:
    """Yields one file with the rows of all lines, in the order of the table."""
    entries = read_table(options.table)
    yield Output(name="mixture", items=_rows(entries, context), num_in=lambda: context.num_in["row"])


def _rows(entries: Sequence[TableEntry], context: BuildContext) -> Iterator[Row | Dropped]:
    counts: dict[str, int] = {}
    for entry in entries:
        before = context.num_in["row"]
        for row in context.counted_rows(entry.data):
            yield _with_licence(row, entry.licence).in_mixture()
        counts[entry.data.name] = context.num_in["row"] - before
    context.tables["mixture"] = list(_lines(entries, counts))
    _check(entries, counts, context)


def _with_licence(row: Row, licence: str) -> Row:
    described = row.example.description
    if described.licence or not licence:
        return row
    return replace(row, example=replace(row.example, description=replace(described, licence=licence)))


def _lines(entries: Sequence[TableEntry], counts: dict[str, int]) -> Iterator[Line]:
    for entry in entries:
        yield {
            "name": entry.data.name,
            "expected": entry.expected_count,
            "rows": counts[entry.data.name],
            "licence": entry.licence,
            "prompts from": entry.prompts_from,
            "llm generated": "yes" if entry.llm_generated else "no",
        }
    yield {"name": "total", "expected": sum(e.expected_count for e in entries), "rows": sum(counts.values())}


def _check(entries: Sequence[TableEntry], counts: dict[str, int], context: BuildContext) -> None:
    """Raises `MixError` if a count differs."""
    wrong = [entry for entry in entries if counts[entry.data.name] != entry.expected_count]
    if not wrong:
        return
    told = "; ".join(f"{e.data.name} {counts[e.data.name]:,} instead of {e.expected_count:,}" for e in wrong)
    dropped = context.num_dropped[RECORD]
    also = f" {dropped:,} records gave no row, see dropped.jsonl." if dropped else ""
    raise MixError(f"rows of {told}.{also} Correct the file, or expected_count in the table.")
