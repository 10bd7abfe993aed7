"""Drawn candidates with their texts: read again from where they came, one file at a time."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

import orjson

from curation.candidate import Candidate, ni_row, reopen
from curation.ni.select import SelectedTask, read_selected
from curation.policies.policy import Screen
from curation.sources.source import MixRow

_RENDERED_TOGETHER = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class ToRender:
    """Drawn candidates of one file."""

    candidates: list[Candidate]
    path: Path
    selected: SelectedTask | None
    """None: `path` is the scratch file of another source."""


def render(screen: Screen, given: ToRender) -> list[MixRow]:
    """The rows of drawn candidates, tokens counted if there is a tokenizer."""
    if given.selected is None:
        rows = list(rows_at(given.path, (c.offset for c in given.candidates)))
    else:
        task = reopen(given.path, given.selected)
        instances = {i.id: i for i in task.instances}
        rows = [ni_row(given.selected, task, instances[c.id], c.bucket) for c in given.candidates]
    return [replace(row, num_tokens=n) for row, n in zip(rows, screen.count_rows(rows), strict=True)]


def to_render(drawn: Sequence[Candidate], *, chosen: Path, files: Mapping[str, Path], work: Path) -> Iterator[ToRender]:
    """Drawn candidates by file, in their order.

    Args:
        chosen: `tasks.jsonl` of the first stage.
        files: Task file by name.
        work: Folder of the other sources' scratch files.
    """
    selected_of = {s.name: replace(s, asked=()) for s in read_selected(chosen)}
    for (source, task), group in groupby(drawn, key=lambda c: (c.source, c.task if c.kind else "")):
        candidates = list(group)
        if candidates[0].kind is not None:
            selected = selected_of[task]
            yield ToRender(candidates=candidates, path=files[selected.file], selected=selected)
            continue
        path = work / f"{source}.jsonl"
        for start in range(0, len(candidates), _RENDERED_TOGETHER):
            yield ToRender(candidates=candidates[start : start + _RENDERED_TOGETHER], path=path, selected=None)


def rows_at(path: Path, offsets: Iterable[int]) -> Iterator[MixRow]:
    """Rows of a scratch file, by the offsets of their lines."""
    with path.open("rb") as f:
        for offset in offsets:
            f.seek(offset)
            yield MixRow(**orjson.loads(f.readline()))
