"""Keys and values of prompts that were read, so that a prompt which begins with the same tokens reads only its rest.

    prefixes = PrefixCache(max_bytes=1 << 30)
    prefixes.store(ids, read=lambda start, end: [(keys, values), ...])
    prefixes.find(ids).num      # how many of the first ids are known

A tree: each node holds a run of ids that some prompts continue with, and its keys and values. What two prompts share is
held once. The least recently used ends of prompts are dropped when the bytes run out. Ids are compared one by one, so a
prefix is never mistaken for another.

Where it sits: below row_decoder.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from core.decoding.token_score import Score

if TYPE_CHECKING:
    import torch

Layers = Sequence[tuple["torch.Tensor", "torch.Tensor"]]
"""Keys and values of each layer, shape [heads, tokens, size]."""

Scores = Sequence[Score | None]
"""Of each id of a prompt; the first id has none."""

LEAST_TOKENS = 16
"""Copying the keys and values of a shorter run takes longer than it saves."""

BYTES_OF_SCORE = 1_000
"""A score with five alternatives, as Python's objects (`sys.getsizeof` of all of them, rounded up)."""


@dataclass(slots=True, kw_only=True, eq=False)
class _Run:
    """Ids that continue those of the parents."""

    ids: tuple[int, ...]
    layers: Layers
    scores: Scores = ()
    parent: _Run | None = None
    children: dict[int, _Run] = field(default_factory=dict)
    """By their first id."""

    @property
    def num_bytes(self) -> int:
        tensors = sum(t.numel() * t.element_size() for pair in self.layers for t in pair)
        return tensors + BYTES_OF_SCORE * len(self.scores)

    def part(self, start: int, end: int | None) -> Layers:
        """Copies of a part of its keys and values, so that the whole can be freed."""
        return [(keys[:, start:end].clone(), values[:, start:end].clone()) for keys, values in self.layers]


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known of the beginning of a prompt."""

    num: int = 0
    """The number of ids."""
    parts: Sequence[tuple[Layers, int]] = ()
    """In order, with the number of tokens of each that belong to the prompt."""
    scores: Scores = ()


class PrefixCache:
    """Used by one thread; any thread may read the counts.

    Args:
        max_bytes: Of keys, values and scores. 0: nothing is kept.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes_of_token = 0
        self.num_bytes = 0
        """Held now."""
        self.num_reused = 0
        """Tokens of prompts that were not read again, since the start."""
        self.clear()

    def clear(self) -> None:
        """Drops all prefixes."""
        self._roots = {scored: _Run(ids=(), layers=()) for scored in (False, True)}
        self._by_use: OrderedDict[_Run, None] = OrderedDict()
        """The least recently used comes first, and a run before its parent."""
        self.num_bytes = 0

    def holds(self, num_tokens: int) -> bool:
        """Whether a prompt of that length could be kept."""
        return 0 < self._max_bytes >= num_tokens * self._bytes_of_token

    def find(self, ids: Sequence[int], *, scored: bool = False) -> Known:
        """The longest known beginning of a prompt.

        Args:
            scored: Among the prompts that were stored with scores. The others are not searched then.
        """
        path = self._path(tuple(ids), scored)
        return Known(
            num=sum(used for _, used in path),
            parts=[(run.layers, used) for run, used in path],
            scores=[score for run, used in path for score in run.scores[:used]],
        )

    def store(self, ids: Sequence[int], read: Callable[[int, int], Layers], scores: Scores | None = None) -> None:
        """Keeps what is not known of a prompt yet.

        Args:
            read: Copies of the prompt's keys and values from a position to another.
            scores: Of every id.
        """
        path = self._path(tuple(ids), scores is not None)
        num = sum(used for _, used in path)
        if len(ids) - num < LEAST_TOKENS or not self.holds(len(ids)):
            return
        parent = self._roots[scores is not None]
        if path:
            parent, used = path[-1]
            self._split(parent, used)
        run = _Run(
            ids=tuple(ids[num:]), layers=read(num, len(ids)), scores=(scores or ())[num:], parent=parent
        )  # fmt: skip
        self._bytes_of_token = run.num_bytes // len(run.ids)
        parent.children[run.ids[0]] = run
        self.num_bytes += run.num_bytes
        self._touch([*(known for known, _ in path), run])
        while self.num_bytes > self._max_bytes:
            self._drop_oldest()

    def _path(self, ids: tuple[int, ...], scored: bool) -> list[tuple[_Run, int]]:
        """The runs that a prompt begins with, and how many ids of each belong to it."""
        found, place, run = list[tuple[_Run, int]](), 0, self._roots[scored]
        while place < len(ids) and (child := run.children.get(ids[place])):
            used = num_common(child.ids, ids[place : place + len(child.ids)])
            found.append((child, used))
            place += used
            if used < len(child.ids):
                break
            run = child
        self._touch([run for run, _ in found])
        return found

    def _split(self, run: _Run, used: int) -> None:
        """Cuts a run in two, the second being a child of the first."""
        if used == len(run.ids):
            return
        rest = _Run(
            ids=run.ids[used:],
            layers=run.part(used, None),
            scores=run.scores[used:],
            parent=run,
            children=run.children,
        )
        for child in rest.children.values():
            child.parent = rest
        run.ids, run.layers, run.scores = run.ids[:used], run.part(0, used), run.scores[:used]
        run.children = {rest.ids[0]: rest}
        self._by_use[rest] = None

    def _touch(self, path: Sequence[_Run]) -> None:
        for run in reversed(path):
            self._by_use[run] = None
            self._by_use.move_to_end(run)

    def _drop_oldest(self) -> None:
        run, _ = self._by_use.popitem(last=False)
        assert run.parent is not None
        assert not run.children
        del run.parent.children[run.ids[0]]
        self.num_bytes -= run.num_bytes


def num_common(a: Sequence[int], b: Sequence[int]) -> int:
    """Length of the common beginning of two sequences of one type."""
    if a == b:
        return len(a)
    return next((n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
