"""Joins responses to the items of a suite: by suite, language and id, never by position.

    joined = join(suite, read_responses(path))
    for item, response in joined.pairs: ...

Where it sits: responses -> suite -> **join** -> scoring.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Generic

from core.files import sha256
from evaluation.errors import EvaluationError
from evaluation.responses import Prompt, Response, ResponseFile, recorded_prompt
from evaluation.suite import ItemT, Suite

MAX_OTHER_PROMPTS = 0.1
"""Largest share of recorded responses whose prompt may differ from the item's. GPT-4's published IFEval file has one in
541, whose prompt was reworded later; with more of them it is the file of another suite or another language."""

NAMES_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined(Generic[ItemT]):
    """Every item with its response, in the order of the suite."""

    pairs: tuple[tuple[ItemT, Response], ...]
    missing: tuple[str, ...]
    """Items without a response. They are in `pairs` with an empty one, so that they count as failed."""
    unexpected: tuple[str, ...]
    """Responses whose item the suite does not have. They are not scored."""
    other_prompts: tuple[str, ...]
    """Items whose recorded response was given to another wording of the prompt. They are scored."""


def join(suite: Suite[ItemT], responses: ResponseFile, *, partial: bool = False) -> Joined[ItemT]:
    """Finds the response of each item. Rows of other suites are passed over.

    Args:
        partial: Items without a response count as failed instead of being an error.

    Raises:
        EvaluationError: no row belongs to the suite, two rows answer the same item, an item has no response, or the
            rows answer other questions than those of the suite.
    """
    items = suite.items()
    index = _Index(suite, items)
    found: dict[int, Response] = {}
    unexpected: list[str] = []
    other: list[str] = []
    rows = _own_rows(suite, responses)
    _check_suite_hash(suite, responses)
    for row in rows:
        place = index.find(row, responses)
        if place is None:
            unexpected.append(_name_of(row))
            continue
        if place in found:
            raise EvaluationError(
                f"{responses.path}: lines {found[place].line} and {row.line} both answer {_name(items[place], suite)}. "
                "Remove one."
            )
        if _asks_otherwise(suite, items[place], row):
            if not row.recorded or row.prompt_sha256 is not None:
                raise EvaluationError(
                    f"{responses.path}:{row.line}: the prompt of {_name(items[place], suite)} is another one than the "
                    "suite's: it is another question. Give the items that were asked."
                )
            other.append(_name(items[place], suite))
        found[place] = row
    _check_wording(other, len(found), responses, suite)
    missing = [_name(item, suite) for place, item in enumerate(items) if place not in found]
    if missing and not partial:
        raise EvaluationError(_missing(suite, responses, missing, unexpected))
    return Joined(
        pairs=tuple((item, found.get(place) or _absent(item)) for place, item in enumerate(items)),
        missing=tuple(missing),
        unexpected=tuple(unexpected),
        other_prompts=tuple(other),
    )


def _own_rows(suite: Suite[ItemT], responses: ResponseFile) -> list[Response]:
    languages = {item.language for item in suite.items()}
    rows = [row for row in responses.rows if _is_own(row, suite, languages)]
    if not rows:
        held = Counter(_held(row) for row in responses.rows)
        others = ", ".join(f"{name} ({num})" for name, num in held.most_common(NAMES_SHOWN))
        raise EvaluationError(
            f"{responses.path}: no response of {suite.name} in it; it holds {others}. Give the file of {suite.name}."
        )
    return rows


def _is_own(row: Response, suite: Suite[ItemT], languages: set[str]) -> bool:
    named = suite.takes_unnamed if row.suite is None else suite.part(row.suite) is not None
    return named and (row.language is None or row.language in languages)


def _held(row: Response) -> str:
    name = (row.suite or "prompts without a suite").partition("/")[0]
    return f"{name} in {row.language}" if row.language else name


def _check_suite_hash(suite: Suite[ItemT], responses: ResponseFile) -> None:
    """A file that `write_responses` made names the questions that were asked."""
    manifest = responses.manifest
    if manifest and manifest.suite_sha256 != suite.fingerprint():
        raise EvaluationError(
            f"{responses.path}: its manifest names other items of {suite.name} than those given. "
            "Give the items that were asked."
        )


class _Index(Generic[ItemT]):
    """Where an item stands, by the identity that a row has."""

    def __init__(self, suite: Suite[ItemT], items: Sequence[ItemT]) -> None:
        self._suite = suite
        self._by_key: dict[tuple[str, str, str], int] = {}
        for place, item in enumerate(items):
            if self._by_key.setdefault((item.suite, item.language, item.id), place) != place:
                raise EvaluationError(
                    f"{item.suite}: two items have the id {item.id} ({item.language}). Give each item an id of its own."
                )
        self._without_language: dict[tuple[str, str], list[int]] = {}
        for place, item in enumerate(items):
            self._without_language.setdefault((item.suite, item.id), []).append(place)
        self._items = items

    @cached_property
    def _by_prompt(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for place, item in enumerate(self._items):
            found.setdefault(_digest(self._suite.prompt(item)), []).append(place)
        return found

    def find(self, row: Response, responses: ResponseFile) -> int | None:
        """None: the suite has no such item."""
        if row.id is None:
            assert row.prompt is not None
            return self._only(self._by_prompt.get(_digest(row.prompt), []), row, responses, "prompt")
        part = self._suite.name if row.suite is None else self._suite.part(row.suite)
        assert part is not None
        if row.language is not None:
            return self._by_key.get((part, row.language, row.id))
        return self._only(self._without_language.get((part, row.id), []), row, responses, "id")

    def _only(self, places: Sequence[int], row: Response, responses: ResponseFile, what: str) -> int | None:
        if len(places) > 1:
            raise EvaluationError(
                f"{responses.path}:{row.line}: {len(places)} items of {self._suite.name} have the {what} of this row. "
                "Give each row its language and id."
            )
        return places[0] if places else None


def _asks_otherwise(suite: Suite[ItemT], item: ItemT, row: Response) -> bool:
    """Whether the row answers another text. The hash is of the rendered text: it says so only without a template."""
    if row.prompt is not None and _messages(row.prompt) != _messages(suite.prompt(item)):
        return True
    if row.prompt_sha256 is None or row.generation.get("template"):
        return False
    prompt = recorded_prompt(suite.prompt(item))
    return isinstance(prompt, str) and row.prompt_sha256 != sha256(prompt.encode())


def _messages(prompt: Prompt) -> list[Mapping[str, str]]:
    recorded = recorded_prompt(prompt)
    return [{"role": "user", "content": recorded}] if isinstance(recorded, str) else list(recorded)


def _digest(prompt: Prompt) -> str:
    return sha256(repr([(m["role"], m["content"]) for m in _messages(prompt)]).encode())


def _check_wording(other: Sequence[str], num: int, responses: ResponseFile, suite: Suite[ItemT]) -> None:
    if len(other) > MAX_OTHER_PROMPTS * num:
        raise EvaluationError(
            f"{responses.path}: {len(other)} of {num} prompts differ from those of {suite.name} (first: "
            f"{_some(other)}): it answers other questions. Give the items that were asked."
        )


def _missing(suite: Suite[ItemT], responses: ResponseFile, missing: Sequence[str], unexpected: Sequence[str]) -> str:
    extra = f" {len(unexpected)} ids that the suite does not have: {_some(unexpected)}." if unexpected else ""
    return (
        f"{responses.path}: no response for {len(missing)} of {len(suite.items())} items of {suite.name}: "
        f"{_some(missing)}.{extra} Add them, or count them as failed with `partial=true`."
    )


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return ", ".join(names[:NAMES_SHOWN]) + more


def _name(item: ItemT, suite: Suite[ItemT]) -> str:
    """The id, with its part where the suite has parts."""
    return item.id if item.suite == suite.name else f"{item.suite} {item.id}"


def _name_of(row: Response) -> str:
    if row.id is None:
        text = str(row.prompt)
        return f"the prompt {text[:40]!r}"
    return f"{row.suite} {row.id}" if row.suite and "/" in row.suite else row.id


def _absent(item: ItemT) -> Response:
    return Response(id=item.id, suite=item.suite, text="", language=item.language, expected_language=item.language)
