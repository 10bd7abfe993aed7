"""The arguments of one instruction, checked when the items are read.

    Arguments({"num_words": 300, "relation": "at least"}, where="items.jsonl:1").whole("num_words")

Where it sits: the suite's reader makes them, the checks take what they need.
"""

from collections.abc import Callable, Mapping
from typing import Any

from evaluation.errors import EvaluationError

AT_LEAST, LESS_THAN = "at least", "less than"


class Arguments:
    """`kwargs` of an instruction. Keys whose value is null count as absent: some copies carry every key."""

    def __init__(self, values: Mapping[str, Any], where: str) -> None:
        self._values = {name: value for name, value in values.items() if value is not None}
        self._where = where

    def _value(self, name: str) -> Any:
        if name not in self._values:
            raise EvaluationError(f"{self._where} lacks the argument {name}. Mend the item.")
        return self._values[name]

    def whole(self, name: str) -> int:
        """A number; one that is written as text, or with a point and a zero, is converted."""
        value = self._value(name)
        if isinstance(value, str) and value.strip().isdecimal():
            return int(value)
        if isinstance(value, bool) or not isinstance(value, int | float) or not float(value).is_integer() or value < 0:
            raise EvaluationError(f"{self._where}: {name} is {value!r}, not a whole number. Mend the item.")
        return int(value)

    def text(self, name: str) -> str:
        """A text that is not blank, without white space around it."""
        value = self._value(name)
        if not isinstance(value, str) or not value.strip():
            raise EvaluationError(f"{self._where}: {name} is {value!r}, not a text. Mend the item.")
        return value.strip()

    def texts(self, name: str) -> list[str]:
        """One or more texts."""
        value = self._value(name)
        if not isinstance(value, list) or not value or not all(isinstance(text, str) and text for text in value):
            raise EvaluationError(f"{self._where}: {name} is no list of texts. Mend the item.")
        return value

    def relation(self, name: str, threshold: str) -> Callable[[int], bool]:
        """Whether a count fulfils `at least N` or `less than N`."""
        value, bound = self._value(name), self.whole(threshold)
        if value == AT_LEAST:
            return lambda count: count >= bound
        if value == LESS_THAN:
            return lambda count: count < bound
        raise EvaluationError(f"{self._where}: {name} is {value!r}. Use {AT_LEAST!r} or {LESS_THAN!r}.")
