"""IFEval's prompts: lines of `{key, prompt, instruction_id_list, kwargs}`, as published and as translated.

    read_items(Path("input_data.jsonl"), suite="ifeval", language="en")

Where it sits: arguments -> **items** -> suite.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import StageError
from core.files import read_jsonl
from evaluation.errors import EvaluationError
from evaluation.suite import Item


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    """One instruction of a prompt. A prompt may hold a type twice, so instructions are told apart by position."""

    kind: str
    """`CATEGORY:NAME`."""
    arguments: Mapping[str, Any]
    """Its `kwargs`: a document of the border, read by `Arguments`."""

    @property
    def category(self) -> str:
        """`keywords`, `length_constraints`, ..."""
        return self.kind.partition(":")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class IfevalItem(Item):
    """One prompt with its instructions."""

    text: str
    instructions: tuple[Instruction, ...]


def read_items(path: Path, *, suite: str, language: str) -> tuple[IfevalItem, ...]:
    """Every prompt of a file, in its order.

    Raises:
        EvaluationError: unreadable, empty, a row of another form, or a key that occurs twice.
    """
    try:
        rows = list(read_jsonl(path))
    except StageError as e:
        raise EvaluationError(str(e)) from e
    items = tuple(_item(row, f"{path}: row {number}", suite, language) for number, row in enumerate(rows, start=1))
    if not items:
        raise EvaluationError(f"{path}: no prompt in it. Each line holds key, prompt, instruction_id_list and kwargs.")
    twice = [key for key, num in Counter(item.id for item in items).items() if num > 1]
    if twice:
        raise EvaluationError(f"{path}: key {twice[0]} stands in two rows. Keys are unique; remove one.")
    return items


def _item(row: Mapping[str, Any], where: str, suite: str, language: str) -> IfevalItem:
    lacks = [name for name in ("key", "prompt", "instruction_id_list", "kwargs") if name not in row]
    if lacks:
        raise EvaluationError(f"{where} lacks {', '.join(lacks)}: these are no IFEval prompts. Give the prompts' file.")
    kinds, arguments = row["instruction_id_list"], row["kwargs"]
    if not isinstance(row["prompt"], str) or isinstance(row["key"], bool) or not isinstance(row["key"], str | int):
        raise EvaluationError(f"{where}: prompt must be a text, key a number or a text. Mend the row.")
    if (
        not isinstance(kinds, list) or not isinstance(arguments, list) or len(kinds) != len(arguments) or not kinds
        or not all(isinstance(kind, str) for kind in kinds)
        or not all(isinstance(of, dict) for of in arguments)
    ):  # fmt: skip
        raise EvaluationError(f"{where}: instruction_id_list and kwargs must be lists of equal length. Mend the row.")
    return IfevalItem(
        suite=suite,
        language=language,
        id=str(row["key"]),
        text=row["prompt"],
        instructions=tuple(
            Instruction(kind=kind, arguments={name: value for name, value in of.items() if value is not None})
            for kind, of in zip(kinds, arguments, strict=True)
        ),
    )
