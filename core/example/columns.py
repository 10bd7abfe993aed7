"""A record's columns, with a note of those that were used, so that the others can be named.

    >>> columns = Columns({"Question": "Why?", "id": 7, "score": 3, "extra": None})
    >>> columns.take("query", "question"), columns.unused()
    ('Why?', ('score',))

Where it sits: record -> **columns** -> the readers of the layouts.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from core.example.example import Description
from core.example.language import language_code

_ID, _LICENCE, _LANGUAGE, _SOURCE = ("id", "uuid"), ("licence", "license"), ("language", "lang"), ("source", "dataset")
_DESCRIBING = frozenset(
    """author categories category config conversation_id created created_at data_source date difficulty
    domain generator hash idx index length locale meta metadata model model_name n_tokens num_tokens
    num_turns prompt_id source_id split subcategory subject subset tag tags task task_type timestamp
    title token_count topic turn type url version""".split()  # noqa: SIM905
)
"""Columns that say something about a record and are no part of what is trained on."""

_SAYING = frozenset({*_ID, *_LICENCE, *_LANGUAGE, *_SOURCE, *_DESCRIBING})
_NOTHING: tuple[Any, ...] = (None, "", [], {})


class Columns:
    """Columns by their names in small letters; a null is no column."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values: dict[str, Any] = {}
        for name, value in values.items():
            if value is not None:
                self._values.setdefault(name.strip().lower(), value)
        self._filled = frozenset(name for name, value in self._values.items() if value not in _NOTHING)
        self._used: set[str] = set()
        self._unused_inside: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def names(self) -> frozenset[str]:
        """Every column."""
        return frozenset(self._values)

    def filled(self) -> frozenset[str]:
        """Columns that hold something: a table of two layouts fills the other's columns with nothing."""
        return self._filled

    def first(self, *names: str) -> str:
        """Which of these columns is there, one that holds something before others; empty: none is."""
        for name in names:
            if name in self._filled:
                return name
        for name in names:
            if name in self._values:
                return name
        return ""

    def take(self, *names: str) -> Any:
        """The value of the first of these columns that is there, which counts as used; None: none is."""
        name = self.first(*names)
        if not name:
            return None
        self._used.add(name)
        return self._values[name]

    def peek(self, name: str) -> Any:
        """The value of a column, which counts as not used by that; None: there is none."""
        return self._values.get(name)

    def leave(self, names: Iterable[str]) -> None:
        """Notes parts of a used column that are not used."""
        self._unused_inside.update(names)

    def unused(self) -> tuple[str, ...]:
        """Columns that hold something, were not used and do not only describe."""
        return tuple(sorted((self._filled - self._used - _SAYING) | self._unused_inside))

    def description(self) -> Description:
        """What the record says of itself."""
        language = _text(self._values.get(self.first(*_LANGUAGE)))
        return Description(
            id=_text(self._values.get(self.first(*_ID))),
            source=_text(self._values.get(self.first(*_SOURCE))),
            licence=_licence(self._values.get(self.first(*_LICENCE))),
            language=language_code(language) if language.strip() else "",
            other={name: _text(self._values[name]) for name in sorted(self._filled & _DESCRIBING - self._used)},
        )


def _licence(value: Any) -> str:
    if isinstance(value, list):
        return " | ".join(item for item in value if isinstance(item, str))
    return value if isinstance(value, str) else ""


def _text(value: Any) -> str:
    """A value that only describes, as text."""
    if isinstance(value, str):
        return value
    return "" if value is None else as_json(value)


def as_json(value: Any) -> str:
    """A value as JSON without its nulls, which tables put where a record has no such key."""
    return json.dumps(_without_nulls(value), ensure_ascii=False, separators=(",", ":"), default=str)


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value
