"""The evaluation set: 113 instructions in four languages, and 251 modified ones with the type of their modifier.

    for item in read_instructions(Path("crosslingual")): print(item.language, item.id, item.task)

The files are line-aligned over languages: an id is a line, counted from 0, so `en 7` and `fr 7` ask the same.

Where it sits: **instructions** -> surface, judged, modified.
Source: naver/pasero, data of Chirkova and Nikoulina, INLG 2024.
"""

import random
import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from evaluation.errors import EvaluationError
from evaluation.item_file import read_bytes
from evaluation.suite import Item

SUITE = "crosslingual"
"""Under this name the responses to the 113 are recorded, whichever suite scores them."""

MODIFIERS = "modifiers"

TASKS: Mapping[int, str] = {
    0: "sport", 4: "music", 8: "home", 14: "facts", 18: "learning", 23: "exercise", 27: "life and work", 32: "why",
    36: "recipe", 41: "lists", 45: "travel", 50: "rewrite", 55: "maths explained", 60: "e-mail", 65: "opinion",
    70: "computing", 74: "calculation", 77: "word pattern", 81: "synonyms", 85: "social post", 90: "template",
    93: "review, blog, ad", 98: "outline", 102: "summary", 107: "classification",
}  # fmt: skip
"""First line of each of the 25 task types. The paper's types are not released: these are ours, by reading."""

NUM_INSTRUCTIONS = 113
_STARTS = list(TASKS)
_LANGUAGE = re.compile(r"\.([a-z]{2})\.jsonl(?:\.gz)?$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction(Item):
    """One instruction in one language."""

    text: str
    expected_language: str
    """Of the answer; equals `language` unless a modifier asks for another one."""
    task: str = ""
    """Of the 113: the type of task, by our reading. Empty for another set of instructions."""
    modifier: str = ""
    """Of the 251: as the file of types names it, `num_items_5`."""


def read_instructions(path: Path) -> list[Instruction]:
    """The instructions of a folder's `alpacaeval_test_subset.LANG.jsonl`, or of one such file; languages sorted.

    Raises:
        EvaluationError: no such file, or a line that is not one exchange.
    """
    return [
        Instruction(
            suite=SUITE, language=language, id=str(number), text=text, expected_language=language,
            task=_task(number) if len(texts) == NUM_INSTRUCTIONS else "",
        )
        for language, texts in _by_language(path, "alpacaeval_test_subset")
        for number, text in enumerate(texts)
    ]  # fmt: skip


def read_modified(path: Path) -> list[Instruction]:
    """The modified instructions with their types, `modifiers.LANG.jsonl` and `modifiers.LANG.types`.

    Raises:
        EvaluationError: no such file, or as many types as instructions there are not.
    """
    items = []
    for language, texts in _by_language(path, MODIFIERS):
        folder = path if path.is_dir() else path.parent
        types = read_bytes(folder / f"{MODIFIERS}.{language}.types").decode().split()
        if len(types) != len(texts):
            raise EvaluationError(f"{folder}: {len(types)} types of {len(texts)} modified instructions in {language}.")
        for number, (text, modifier) in enumerate(zip(texts, types, strict=True)):
            expected = modifier.removeprefix("lang_") if modifier.startswith("lang_") else language
            item = Instruction(
                suite=MODIFIERS, language=language, id=str(number), text=text, expected_language=expected,
                modifier=modifier,
            )  # fmt: skip
            items.append(item)
    return items


def draw(items: Sequence[Instruction], num: int, seed: int) -> list[Instruction]:
    """As many instructions in each language, the same ones, with at least one of each task; for people to rate.

    The paper rates 30 x 7 + 85 = 295, which does not fit 113 instructions (30 + 85 = 115): a known inconsistency.

    Raises:
        EvaluationError: fewer than there are tasks, or more than there are instructions.
    """
    ids = sorted({item.id for item in items}, key=int)
    tasks: dict[str, list[str]] = {}
    for identity in ids:
        tasks.setdefault(_task(int(identity)), []).append(identity)
    if not len(tasks) <= num <= len(ids):
        raise EvaluationError(f"cannot draw {num} of {len(ids)} instructions of {len(tasks)} tasks. Draw one a task.")
    rng = random.Random(seed)
    chosen = {rng.choice(members) for members in tasks.values()}
    rest = [identity for identity in ids if identity not in chosen]
    chosen |= set(rng.sample(rest, num - len(chosen)))
    return [item for item in items if item.id in chosen]


def _task(number: int) -> str:
    return TASKS[_STARTS[bisect_right(_STARTS, number) - 1]]


def _by_language(path: Path, stem: str) -> list[tuple[str, list[str]]]:
    inside = [*path.glob(f"{stem}.??.jsonl"), *path.glob(f"{stem}.??.jsonl.gz")]
    files = sorted(inside) if path.is_dir() else [path]
    if not files:
        raise EvaluationError(f"{path}: no {stem}.LANG.jsonl in it. Give the folder of the instructions.")
    return [(_language(file), _texts(file)) for file in files]


def _language(path: Path) -> str:
    found = _LANGUAGE.search(path.name)
    if found is None:
        raise EvaluationError(f"{path}: its name does not say the language. Name it NAME.LANG.jsonl, as NAME.fr.jsonl.")
    return found.group(1)


def _texts(path: Path) -> list[str]:
    lines = [line for line in read_bytes(path).split(b"\n") if line.strip()]
    return [_text(line, f"{path}:{number}") for number, line in enumerate(lines, start=1)]


def _text(line: bytes, where: str) -> str:
    try:
        messages: Any = orjson.loads(line)
    except orjson.JSONDecodeError as e:
        raise EvaluationError(f"{where}: not JSON ({e}). Mend the line.") from e
    match messages:
        case [{"role": "user", "content": str(text)}]:
            return text
    raise EvaluationError(
        f'{where}: not one message of a user, as [{{"role": "user", "content": ...}}]. Mend the line.'
    )
