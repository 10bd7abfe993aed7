"""JSON in the forms that data comes in: lines, one array, objects over several lines, one object around all records.

    for item in read_json_text(stream, "mine.json", Limits()):
        ...

The form is found by looking at the text, for arrays are called `.jsonl` and lines `.json`. One record is in memory at a
time; an object around all records is read whole.

Where it sits: stream -> **json_text** -> container.
"""

import codecs
import io
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import orjson

from core.records.record import Limits, Place, Record, Rejected

Items = Iterator[Record | Rejected]
_CHUNK = 1 << 20
_NI_KEY = re.compile(rb'"(?:Definition|Instances)"\s*:')
_ROWS_OF = ("data", "rows", "records", "examples", "train")
"""Keys of an object that holds nothing but a list of records."""


def read_json_text(stream: io.BufferedReader, where: str, limits: Limits) -> Items:
    """Every record of a JSON text; what cannot be read is rejected with its line."""
    head = stream.peek(1)
    begin = head.lstrip()
    if begin.startswith(b"["):
        return _array(stream, where, limits)
    if begin.startswith(b"{") and _is_document(begin):
        return _documents(stream, where, limits)
    return _lines(stream, where, limits)


def looks_like_ni(head: bytes) -> bool:
    """Whether a file that begins like this is an NI task: an object with `Definition` or `Instances`."""
    text = head.removeprefix(codecs.BOM_UTF8).lstrip()
    return text.startswith(b"{") and _NI_KEY.search(text) is not None


def parse_line(line: bytes, place: Place) -> Record | Rejected:
    """One JSON line."""
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError:
        try:  # orjson takes neither NaN nor lone surrogates; json does, and says better what is wrong
            value = json.loads(line)
        except (ValueError, RecursionError) as e:
            return Rejected(place=place, reason="malformed", detail=f"not JSON ({e})")
    return _record(value, place)


def _record(value: Any, place: Place) -> Record | Rejected:
    if not isinstance(value, dict):
        return Rejected(place=place, reason="malformed", detail="not a JSON object")
    return Record(place=place, columns=value)


def too_large(place: Place, limits: Limits) -> Rejected:
    """A record over the limit."""
    detail = f"a record of more than {limits.record_bytes / (1 << 20):g} MiB. Split it"
    return Rejected(place=place, reason="too_large", detail=detail)


def _is_document(begin: bytes) -> bool:
    """Whether the first object goes on beyond its first line."""
    first, newline, rest = begin.partition(b"\n")
    if not newline:
        return looks_like_ni(begin)
    if _parses(first):
        return False
    following = rest.lstrip()
    return bool(following) and not following.startswith((b"{", b"["))


def _parses(line: bytes) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _lines(stream: io.BufferedReader, where: str, limits: Limits) -> Items:
    number = 0
    while line := stream.readline(limits.record_bytes + 1):
        number += 1
        place = Place(file=where, line=number)
        if len(line) > limits.record_bytes:
            while line and not line.endswith(b"\n"):
                line = stream.readline(_CHUNK)
            yield too_large(place, limits)
        elif line.strip():
            yield parse_line(line, place)


class _TooLarge(Exception):  # noqa: N818
    pass


class _Window:
    """The part of a text that is looked at."""

    def __init__(self, stream: io.BufferedReader) -> None:
        self._stream = stream
        self._decode: Callable[..., str] = codecs.getincrementaldecoder("utf-8")("surrogateescape").decode
        self._parse = json.JSONDecoder().raw_decode
        self._text, self._position = "", 0
        self.line = 1
        self._ended = False

    def next(self, skipped: str) -> str:
        """The next character that is neither white space nor skipped; empty at the end."""
        while True:
            while self._position < len(self._text):
                character = self._text[self._position]
                if not character.isspace() and character not in skipped:
                    return character
                self._move(self._position + 1)
            if self._ended:
                return ""
            self._fill(_CHUNK)

    def skip(self) -> None:
        """Over one character."""
        self._move(self._position + 1)

    def value(self, limit: int) -> Any:
        """The value that begins here.

        Raises:
            ValueError: none does; RecursionError: nested too deeply; _TooLarge: longer than `limit` characters.
        """
        size = _CHUNK
        while True:
            try:
                value, end = self._parse(self._text, self._position)
            except ValueError:
                if self._ended:
                    raise
            else:
                if self._ended or end < len(self._text) or isinstance(value, dict | list):
                    if end - self._position > limit:
                        raise _TooLarge
                    self._move(end)
                    return value
            if len(self._text) - self._position > limit:
                raise _TooLarge
            self._fill(size)
            size *= 2

    def _fill(self, size: int) -> None:
        chunk = self._stream.read(size)
        self._ended = not chunk
        self._text = self._text[self._position :] + self._decode(chunk, final=self._ended)
        self._position = 0

    def _move(self, position: int) -> None:
        self.line += self._text.count("\n", self._position, position)
        self._position = position


def _array(stream: io.BufferedReader, where: str, limits: Limits) -> Items:
    window = _Window(stream)
    window.next("")
    window.skip()
    number = 0
    while (character := window.next(",")) != "]":
        number += 1
        place = Place(file=where, line=window.line, number=number)
        if not character:
            yield Rejected(place=place, reason="malformed", detail="the array has no end: the file is cut off")
            return
        item = _value(window, place, limits, limits.record_bytes)
        yield item if isinstance(item, Rejected) else _record(item[0], place)
        if isinstance(item, Rejected):
            return
    window.skip()
    if window.next(""):
        place = Place(file=where, line=window.line)
        yield Rejected(place=place, reason="malformed", detail="something follows the end of the array: not read")


def _value(window: _Window, place: Place, limits: Limits, limit: int) -> tuple[Any] | Rejected:
    """The next value; without it the rest of the text cannot be read either."""
    try:
        return (window.value(limit),)
    except (ValueError, RecursionError) as e:
        detail = f"not JSON ({e}); nothing after it is read"
        return Rejected(place=place, reason="malformed", detail=detail)
    except _TooLarge:
        return too_large(place, limits)


def _documents(stream: io.BufferedReader, where: str, limits: Limits) -> Items:
    """Objects over several lines, one after the other; often only one, which holds all records."""
    window = _Window(stream)
    number = 0
    limit = limits.document_bytes
    while window.next(","):
        number += 1
        place = Place(file=where, line=window.line, number=number)
        found = _value(window, place, limits, limit)
        if isinstance(found, Rejected):
            yield found
            return
        yield from _opened(found[0], place)
        limit = limits.record_bytes


def _opened(value: Any, place: Place) -> Items:
    """The records inside of an object, or the object itself."""
    if isinstance(value, dict) and isinstance(value.get("Instances"), list):
        yield from _instances(value, place)
        return
    if isinstance(value, dict):
        lists = [value[key] for key in _ROWS_OF if isinstance(value.get(key), list)]
        if len(lists) == 1 and all(isinstance(row, dict) for row in lists[0]):
            for number, row in enumerate(lists[0], start=1):
                yield Record(place=Place(file=place.file, number=number), columns=row)
            return
    yield _record(value, place)


def _instances(task: dict[str, Any], place: Place) -> Items:
    """An NI task: each instance with the definition that it shares."""
    definitions = task.get("Definition")
    first = definitions[0] if isinstance(definitions, list) and definitions else definitions
    shared = {"definition": first, "licence": _first_text(task.get("Instance License"))}
    shared["language"] = _first_text(task.get("Output_language"))
    for number, instance in enumerate(task["Instances"], start=1):
        at = Place(file=place.file, number=number)
        yield Record(place=at, columns=shared | instance) if isinstance(instance, dict) else _record(instance, at)


def _first_text(value: Any) -> str | None:
    texts = value if isinstance(value, list) else [value]
    return next((text for text in texts if isinstance(text, str)), None)
