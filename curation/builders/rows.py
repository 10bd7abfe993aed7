"""The inputs of the builders: files of examples, read as rows with ids.

    data = InputSpec.parse("fi=dolly.jsonl.gz#fi")      # named fi; the example is the object under the key fi
    for item in rows(data):
        ...                                             # a Row, or a Dropped with its reason

A record may hold the same example in several languages, each under its own key. `FILE#KEY` reads one of them: an object
replaces the columns of the record, a list becomes `messages`, and a text becomes `text`.

Where it sits: core/example/reading -> **rows** -> every builder.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from core.errors import DataError
from core.example.example import Conversation, Example, Message, Preference, Prompted, Text
from core.example.language import language_code
from core.example.writing import as_row
from core.records.hub import hub_records, is_hub_name
from core.records.name import stem
from core.records.record import Place, Record, Rejected
from core.stage import Dropped

RECORD = "record"
"""Unit of the records that are read from files."""

_NAMED = re.compile(r"([\w .-]+)=(.+)")


class IsInput:
    """Marks a field of options as an input: `Annotated[str, IsInput()]`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InputSpec:
    """An input as the user writes it: `FILE` or `NAME=FILE`, optionally with `#KEY`."""

    name: str
    """Name of its rows. Default: the key, or the name of the file."""
    path: str
    """A file, a folder, an archive, or a name on the hub."""
    key: str = ""
    """Key of each record that holds the example. Empty: the record itself is the example."""

    @classmethod
    def parse(cls, text: str, *, near: Path | None = None) -> "InputSpec":
        """Parses the text of an option.

        Args:
            near: Folder that relative paths start from. None: the working folder.
        """
        named = None if Path(text).exists() else _NAMED.fullmatch(text)
        name, path = (named[1], named[2]) if named else ("", text)
        place, hash_sign, key = path.rpartition("#")
        if not hash_sign or Path(path).exists():
            place, key = path, ""
        if near is not None and not is_hub_name(place):
            place = str(near / place)
        default = re.sub(r"[^\w .-]", "_", key or stem(Path(place.partition("@")[0])))
        return cls(name=name or default, path=place, key=key)

    def fingerprint(self) -> Mapping[str, str]:
        """Returns its name and a hash of its content. The path is not part of it.

        Raises:
            DataError: it cannot be read, or it is on the hub and no revision was given.
        """
        from core.example.reading import open_source  # imported by those who read: the options are imported for --help

        source = open_source(self.path)
        on_hub = not source.parts and "@" in self.path  # the revision identifies the content
        return {"name": self.name, "key": self.key, "content": self.path if on_hub else source.fingerprint()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """An example with its id."""

    id: str
    example: Example
    source: str
    """Name of the input that it comes from."""
    is_repeat: bool = False
    """Whether an earlier row of the output has the same example."""

    def in_mixture(self, suffix: str = "") -> "Row":
        """Returns the row for a file that is joined from several inputs. Its id is `NAME/ID`, its source is `NAME`."""
        described = replace(self.example.description, source=self.source)
        return replace(
            self,
            id=f"{self.source}/{self.id}{suffix}",
            example=replace(self.example, description=described),
            is_repeat=bool(suffix),
        )

    def as_json(self) -> dict[str, object]:
        """Returns the line of the output."""
        described = self.example.description
        described = replace(described, id=self.id, source=described.source or self.source)
        return as_row(replace(self.example, description=described))


def records(data: InputSpec) -> Iterator[Record | Rejected]:
    """Yields every record of an input, with the columns under its key.

    Raises:
        DataError: a file cannot be read.
    """
    from core.example.reading import open_source

    source = open_source(data.path)
    for part in source.parts:
        for item in part.records():
            yield _under_key(item, data.key)
    if not source.parts:
        for item in hub_records(source.where):
            yield _under_key(item, data.key)


def rows(data: InputSpec) -> Iterator[Row | Dropped]:
    """Yields every record of an input as a row or as dropped.

    Raises:
        DataError: a file cannot be read.
    """
    seen: set[str] = set()
    for record in records(data):
        row = record if isinstance(record, Rejected) else row_of(record, data)
        if isinstance(row, Row) and row.id in seen:
            row = Rejected(place=record.place, reason="duplicate_id", detail=f"id {row.id!r} was used before")
        if isinstance(row, Row):
            seen.add(row.id)
        yield row if isinstance(row, Row) else dropped_record(row, data)


def row_of(record: Record, data: InputSpec) -> Row | Rejected:
    """Returns the row of a record."""
    from core.example.reading import read_record

    read = read_record(record)
    if isinstance(read, Rejected):
        return read
    example, described = read.example, read.example.description
    if data.key and not described.language and len(code := language_code(data.key)) == 2:
        example = replace(example, description=replace(described, language=code))
    return Row(id=_qualified(described.id or record.place.name, record.place, data), example=example, source=data.name)


def dropped_record(rejected: Rejected, data: InputSpec) -> Dropped:
    """Returns the entry of `dropped.jsonl` for a record that cannot be used."""
    name = _qualified(rejected.place.name, rejected.place, data)
    return Dropped(unit=RECORD, id=name, reason=rejected.reason, detail=rejected.detail, source=data.name)


def _qualified(name: str, place: Place, data: InputSpec) -> str:
    """Adds the name of the file if the input is a folder or an archive: lines of two files have the same numbers."""
    inside = place.file.removeprefix(data.path).strip("/: ")
    return f"{inside}:{name}" if inside else name


def _under_key(item: Record | Rejected, key: str) -> Record | Rejected:
    """Replaces the columns by those under the key. Other columns are kept if they are no objects or lists."""
    if isinstance(item, Rejected) or not key:
        return item
    value = item.columns.get(key)
    if value is None:
        return Rejected(place=item.place, reason="malformed", detail=f"lacks `{key}`")
    columns = {name: v for name, v in item.columns.items() if name != key and not isinstance(v, dict | list)}
    return Record(place=item.place, columns=columns | _columns(value))


def _columns(value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    return {"messages": value} if isinstance(value, list) else {"text": value}


def distinct(inputs: list[InputSpec]) -> list[InputSpec]:
    """Returns the inputs if all names differ.

    Raises:
        DataError: two inputs have the same name.
    """
    names = [data.name for data in inputs]
    if twice := next((name for name in names if names.count(name) > 1), ""):
        raise DataError(f"two inputs are called {twice}. Name them: NAME=FILE.")
    return inputs


def messages(example: Example) -> tuple[Message, ...]:
    """Returns every message of an example in order; a text has none."""
    match example:
        case Text():
            return ()
        case Prompted():
            return example.as_conversation().messages
        case Conversation():
            return example.messages
        case Preference():
            return (*example.prompt, *example.chosen, *example.rejected)


def contents(example: Example) -> tuple[str, ...]:
    """Returns every text of an example in order. Of several answers it is the one that is trained."""
    match example:
        case Text():
            return (example.text,)
        case Prompted():
            given = (example.system, example.instruction, example.input, example.outputs[0])
            return tuple(text for text in given if text.strip())
        case _:
            return tuple(message.content for message in messages(example))


def with_contents(example: Example, texts: Sequence[str]) -> Example:
    """Replaces the texts of an example, in the order of `contents`."""
    match example:
        case Text():
            return replace(example, text=texts[0])
        case Prompted():
            rest = iter(texts)
            system, instruction, given = (
                next(rest) if text.strip() else "" for text in (example.system, example.instruction, example.input)
            )
            return replace(example, system=system, instruction=instruction, input=given, outputs=(next(rest),))
        case Conversation():
            return replace(example, messages=_with_texts(example.messages, texts))
        case Preference():
            rest = iter(texts)
            prompt, chosen, rejected = (
                _with_texts(side, [next(rest) for _ in side])
                for side in (example.prompt, example.chosen, example.rejected)
            )
            return replace(example, prompt=prompt, chosen=chosen, rejected=rejected)


def _with_texts(messages: Sequence[Message], texts: Sequence[str]) -> tuple[Message, ...]:
    return tuple(replace(message, content=text) for message, text in zip(messages, texts, strict=True))
