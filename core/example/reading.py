"""Examples of whatever people have: a file, a folder, an archive, a data set of the hub.

    source = open_source("mine.jsonl")
    for item in source.examples():
        match item:
            case Read(example=example): ...
            case Rejected(place=place, detail=detail): ...

Records are streamed: one is in memory at a time.

Where it sits: `core/records` -> layout -> **reading** -> check, curation and training.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from core.errors import DataError
from core.example.columns import Columns
from core.example.example import (
    Conversation,
    Description,
    Example,
    ExampleKind,
    Message,
    Preference,
    Prompted,
    Text,
    Unusable,
    kind,
)
from core.example.layout import Layout, layout_of, read_layout
from core.files import encodable, file_sha256, sha256
from core.records.container import contents
from core.records.hub import hub_records, is_hub_name
from core.records.json_text import Items
from core.records.name import stem
from core.records.part import Part
from core.records.record import Limits, Place, Record, Rejected

_MOST_COLUMNS_TOLD = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """An example with what is known of where it came from."""

    place: Place
    part: str
    """Which file of a folder or archive; empty: the only one."""
    layout: Layout
    example: Example
    unused: tuple[str, ...]
    """Columns that hold something and are not used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Something that examples are read from."""

    where: str
    """As it was given."""
    name: str
    """What its rows are called."""
    parts: tuple[Part, ...]
    """Empty: it is on the hub."""
    skipped: tuple[str, ...] = ()
    """Files that were not taken for data."""
    held_out: tuple[str, ...] = ()
    """Files that hold a split to test on."""
    layout: Layout | None = None
    """None: found by looking at each record."""

    def fingerprint(self) -> str:
        """One hash of all files; of a single one, that file's own.

        Raises:
            DataError: it is on the hub, where a commit tells what it is.
        """
        paths = sorted({part.path for part in self.parts})
        if not paths:
            raise DataError(f"{self.where}: stands on the hub. Name its commit: {self.where}@COMMIT.")
        if len(paths) == 1:
            return file_sha256(paths[0])
        return sha256("\n".join(f"{path} {file_sha256(path)}" for path in paths).encode())

    def examples(self) -> Iterator[Read | Rejected]:
        """Every record as an example, or as rejected with its reason.

        Raises:
            DataError: a file of it cannot be read.
        """
        if not self.parts:
            yield from self._read(hub_records(self.where), "")
        for part in self.parts:
            yield from self.part(part)

    def part(self, part: Part) -> Iterator[Read | Rejected]:
        """The examples of one file.

        Raises:
            DataError: it cannot be read.
        """
        yield from self._read(part.records(), part.name)

    def _read(self, records: Items, part: str) -> Iterator[Read | Rejected]:
        for item in records:
            yield item if isinstance(item, Rejected) else read_record(item, part=part, layout=self.layout)


def open_source(given: str | Path, *, layout: Layout | None = None, limits: Limits | None = None) -> Source:
    """What stands at a path, or on the hub under a name.

    Args:
        layout: Of every record; None: it is found by looking.
    Raises:
        DataError: there is nothing that could be read.
    """
    if is_hub_name(str(given)):
        return Source(where=str(given), name=str(given).partition("@")[0].replace("/", "_"), parts=(), layout=layout)
    path = Path(given)
    found = contents(path, limits)
    return Source(
        where=str(given),
        name=stem(path),
        parts=found.parts,
        skipped=found.skipped,
        held_out=found.held_out,
        layout=layout,
    )


def layout_named(name: str) -> Layout:
    """A layout by its name.

    Raises:
        DataError: unknown.
    """
    if name not in list(Layout):
        raise DataError(f"layout {name}: unknown. Use {', '.join(Layout)}.")
    return Layout(name)


def read_record(record: Record, *, part: str = "", layout: Layout | None = None) -> Read | Rejected:
    """One record."""
    columns = Columns(record.columns)
    found = layout or layout_of(columns)
    try:
        if found is None:
            raise Unusable("malformed", _unknown(columns))
        example = read_layout(found, columns)
        if not encodable(*texts(example), *_said(example.description)):
            raise Unusable("invalid_unicode", "holds bytes that are no UTF-8; re-encode the file as UTF-8")
    except Unusable as e:
        return Rejected(place=record.place, reason=e.reason, detail=e.detail)
    except RecursionError:
        return Rejected(place=record.place, reason="malformed", detail="nested too deeply")
    return Read(place=record.place, part=part, layout=found, example=example, unused=columns.unused())


def _unknown(columns: Columns) -> str:
    names = sorted(columns.names())
    shown = ", ".join(_printable(name) for name in names[:_MOST_COLUMNS_TOLD]) or "nothing"
    more = f" and {len(names) - _MOST_COLUMNS_TOLD} more" if len(names) > _MOST_COLUMNS_TOLD else ""
    return f"lacks `instruction` and `output`, `messages`, `text` or another layout that is known: it has {shown}{more}"


def _printable(name: str) -> str:
    """A column's name as a terminal can show it."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in name)


def texts(example: Example) -> tuple[str, ...]:
    """Every text of an example that is trained on or asked."""
    match example:
        case Text():
            return (example.text,)
        case Prompted():
            return example.system, example.instruction, example.input, *example.outputs
        case Conversation():
            return example.tools, *_contents(example.messages)
        case Preference():
            return _contents((*example.prompt, *example.chosen, *example.rejected))


def _said(description: Description) -> tuple[str, ...]:
    """Every text of a description."""
    d = description
    return d.id, d.source, d.licence, d.language, *d.other.values()


def _contents(messages: tuple[Message, ...]) -> tuple[str, ...]:
    return tuple(text for message in messages for text in (message.role, message.content, message.tool_calls))


@dataclass(slots=True)
class Census:
    """What a source was found to hold, counted while it is read."""

    num_records: int = 0
    num_turns: int = 0
    kinds: Counter[ExampleKind] = field(default_factory=Counter)
    layouts: Counter[Layout] = field(default_factory=Counter)
    unused: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)

    def add(self, item: Read | Rejected) -> None:
        """Counts one record."""
        self.num_records += 1
        if isinstance(item, Rejected):
            self.rejected[item.reason] += 1
            return
        self.num_turns += item.example.num_turns
        self.kinds[kind(item.example)] += 1
        self.layouts[item.layout] += 1
        self.unused.update(item.unused)

    def __iadd__(self, other: "Census") -> "Census":
        """Another source's counts."""
        self.num_records += other.num_records
        self.num_turns += other.num_turns
        for name in ("kinds", "layouts", "unused", "rejected"):
            getattr(self, name).update(getattr(other, name))
        return self

    def told(self, where: str) -> list[str]:
        """In one line each: the layout, and the columns that are not used."""
        layouts = ", ".join(f"{layout} ({n:,})" for layout, n in self.layouts.most_common())
        lines = [f"{where}: layout {layouts}"] if layouts else []
        if self.unused:
            columns = ", ".join(
                f"{_printable(name)} ({n:,})" for name, n in sorted(self.unused.items())[:_MOST_COLUMNS_TOLD]
            )
            lines.append(f"{where}: columns that are not used: {columns}")
        return lines
