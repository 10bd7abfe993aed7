"""Candidates: the rows that may be drawn, small enough that all of them fit into memory.

    found = task_candidates(tools, question)

A candidate holds what the draw looks at (bucket, length, a hash); its text stays in its file until it is drawn.

Where it sits: bucket + source -> **candidate** -> sample.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from core.errors import MixError, TaskError
from core.example.licence import spdx_expression
from core.generation.request import Kind
from core.stage import Dropped
from curation.ni.bucket import BucketParameters, TaskBucket, generation_bucket
from curation.ni.select import SelectedTask, own_name
from curation.ni.task import Instance, Task, read_task
from curation.policies.duplicate import NearDuplicates, exact_key, signature
from curation.policies.policy import Screen, Screened
from curation.sources.source import NI_SOURCES, MixRow, source_of


class References(StrEnum):
    """What becomes of a generation row with several accepted answers."""

    FIRST = "first"
    SINGLE_ONLY = "single_only"
    """It is left out, as in the winner's script."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateParameters:
    """Which scored instances may be drawn at all."""

    wrong_only: bool = True
    """Rows that the base answers right are left out, as the winner did. False: right or wrong are drawn alike."""
    solved_rouge_l: float = 0.8
    """A generated answer from this ROUGE-L on counts as right. Source: the winner's script never samples them."""
    references: References = References.FIRST
    min_accuracy: float = 0.0
    """Exact-match tasks that the base answers less often right give no row at all. Source: the paper removes
    low-accuracy tasks first, without a figure; the scripts give them the most rows."""

    def __post_init__(self) -> None:
        if not 0 < self.solved_rouge_l <= 1:
            raise MixError(f"candidates.solved_rouge_l: {self.solved_rouge_l} is not in (0, 1]. 0.8 is usual.")
        if not 0 <= self.min_accuracy < 1:
            raise MixError(f"candidates.min_accuracy: {self.min_accuracy} is not in [0, 1). 0.1 drops the worst tasks.")


NI_ORIGIN = "allenai/natural-instructions"


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A row that may be trained on."""

    source: str
    task: str
    id: str
    kind: Kind | None
    """None: not from NI."""
    bucket: int | None
    """Exact match: the task's. Generation: the instance's own. None: the base was not asked."""
    solved: bool
    """The base already answers it well."""
    exact: bytes
    """Equal for rows that ask the same."""
    num_tokens: int
    offset: int = 0
    """Of its line in the scratch file of its source."""
    reason: str = ""
    """Why it will be dropped after the draw; only where policies come after it."""
    detail: str = ""

    @property
    def is_own(self) -> bool:
        """A row of the user's."""
        return self.kind is not None and self.source not in NI_SOURCES.values()


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateTools:
    """What a worker holds."""

    parameters: CandidateParameters
    buckets: BucketParameters
    screen: Screen
    near: bool
    keep_solved: bool
    """The draw takes some of what the base already answers well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredTask:
    """One task with what the base model made of it: the unit of work."""

    path: Path
    selected: SelectedTask
    bucket: TaskBucket | None
    """None: the base was not asked, and every instance is a candidate."""
    scores: tuple[tuple[str, float], ...]
    """(instance id, score)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The candidates of one task, the signatures of their texts, and what was dropped."""

    source: str
    candidates: list[Candidate]
    signatures: list[bytes]
    dropped: list[Dropped]


def task_candidates(tools: CandidateTools, given: ScoredTask) -> Found:
    """The rows of one task that may be drawn, and the others with their reason.

    Raises:
        TaskError: the file changed since it was selected.
    """
    selected, task = given.selected, reopen(given.path, given.selected)
    instances = {i.id: i for i in task.instances}
    source = source_of(selected.kind, selected.categories)
    found = Found(source=source, candidates=[], signatures=[], dropped=[])
    weak: list[tuple[Instance, int | None, bool]] = []
    if given.bucket is None:
        weak = [(instance, None, False) for instance in task.instances]
    elif _is_too_hard(given, tools.parameters):
        why = f"accuracy {given.bucket.mean_score:.3f}"
        found.dropped.extend(_left(selected, i, "low_accuracy", why) for i, _ in given.scores)
        return found
    for instance_id, value in given.scores:
        scored = _bucket(given, value, tools)
        solved = tools.parameters.wrong_only and is_solved(selected.kind, value, tools.parameters)
        if solved and not tools.keep_solved:
            found.dropped.append(_left(selected, instance_id, "already_solved", f"bucket {scored}"))
        else:
            weak.append((instances[instance_id], scored, solved))
    rows = [ni_row(selected, task, instance, bucket) for instance, bucket, _ in weak]
    verdicts = tools.screen.examine(rows)
    for (instance, bucket, solved), row, verdict in zip(weak, rows, verdicts, strict=True):
        verdict = _references(verdict, selected.kind, instance, tools.parameters)
        if verdict.reason and (tools.screen.parameters.refill or _before_draw(selected.kind, verdict.reason)):
            found.dropped.append(_left(selected, instance.id, verdict.reason, verdict.detail))
            continue
        found.candidates.append(_candidate(row, verdict, tools, kind=selected.kind, bucket=bucket, solved=solved))
        found.signatures.append(_signature(row) if tools.near else b"")
    return found


def _is_too_hard(given: ScoredTask, parameters: CandidateParameters) -> bool:
    """An exact-match task of NI's that the base hardly ever gets right; whoever brings rows wants them learnt."""
    assert given.bucket is not None
    selected = given.selected
    is_exact = selected.kind is Kind.EXACT_MATCH and own_name(selected.categories) is None
    return is_exact and given.bucket.mean_score < parameters.min_accuracy


def _bucket(given: ScoredTask, value: float, tools: CandidateTools) -> int:
    if given.selected.kind is Kind.GENERATION:
        return generation_bucket(value, tools.buckets)
    assert given.bucket is not None
    assert given.bucket.bucket is not None
    return given.bucket.bucket


def is_solved(kind: Kind, value: float, parameters: CandidateParameters) -> bool:
    """Whether the base answers an instance well enough that there is nothing to learn from it."""
    return value >= (1.0 if kind is Kind.EXACT_MATCH else parameters.solved_rouge_l)


def _references(verdict: Screened, kind: Kind, instance: Instance, parameters: CandidateParameters) -> Screened:
    if verdict.reason or kind is Kind.EXACT_MATCH or parameters.references is References.FIRST:
        return verdict
    if len(instance.outputs) == 1:
        return verdict
    return Screened(reason="several_references", detail=str(len(instance.outputs)), num_tokens=verdict.num_tokens)


def _before_draw(kind: Kind, reason: str) -> bool:
    """The winner's exact-match script drops long rows before it draws; everything else of it comes after."""
    return kind is Kind.EXACT_MATCH and reason == "too_long"


def _left(selected: SelectedTask, instance: str, reason: str, detail: str) -> Dropped:
    return Dropped(unit="row", id=instance, reason=reason, detail=detail, source=selected.name)


def _candidate(
    row: MixRow, verdict: Screened, tools: CandidateTools, *, kind: Kind | None, bucket: int | None, solved: bool
) -> Candidate:
    return Candidate(
        source=row.source,
        task=row.task,
        id=row.id,
        kind=kind,
        bucket=bucket,
        solved=solved,
        exact=exact_key(row.instruction, row.input, tools.screen.parameters.dedup_key),
        num_tokens=verdict.num_tokens,
        reason=verdict.reason,
        detail=verdict.detail,
    )


def source_candidates(tools: CandidateTools, rows: Iterable[MixRow]) -> Iterator[tuple[Candidate, bytes]]:
    """Another source's rows, each with its signature; a candidate with a reason is to be dropped."""
    for row in rows:
        verdict = tools.screen.examine([row])[0]
        near = _signature(row) if tools.near else b""
        yield _candidate(row, verdict, tools, kind=None, bucket=None, solved=False), near


def _signature(row: MixRow) -> bytes:
    """Of the question; the instruction counts like the answer, unless it is the question itself."""
    return signature(row.input or row.instruction, row.output, row.instruction if row.input else "")


def ni_row(selected: SelectedTask, task: Task, instance: Instance, bucket: int | None) -> MixRow:
    """An instance of NI's or of the user's own as a row; the answer is the first reference, stripped."""
    own = own_name(selected.categories)
    return MixRow(
        id=instance.id,
        source=source_of(selected.kind, selected.categories),
        task=selected.name,
        origin=f"own data: {own}" if own else f"{NI_ORIGIN}/{selected.file}",
        licence=" | ".join(selected.licences) or "none given",
        spdx=spdx_expression(selected.licences),
        language="en" if task.languages == ("English",) else "",
        llm_generated=False,
        instruction=instance.instruction or task.definition,
        input=instance.input,
        output=instance.outputs[0].strip(),
        kind=selected.kind,
        bucket=bucket,
    )


def reopen(path: Path, selected: SelectedTask) -> Task:
    """A selected task's file again.

    Raises:
        TaskError: it changed since it was selected.
    """
    task = read_task(path, selected.reading).task
    if task.sha256 != selected.sha256:
        raise TaskError(f"{path}: changed since it was selected. Restore it, or pass `redo=true`.")
    return task


class Pool:
    """All candidates of a mix, each text once.

    Args:
        near: Tells near duplicates; None: exact ones alone.
        exact: Whether exact duplicates are dropped on the way in.
    """

    def __init__(self, *, near: NearDuplicates | None, exact: bool) -> None:
        self.candidates: list[Candidate] = []
        self.num_by_source: Counter[str] = Counter()
        self._near = near
        self._first: dict[bytes, Candidate] | None = {} if exact else None

    def add(self, candidate: Candidate, signature: bytes) -> Dropped | None:
        """Takes a candidate, or says whose duplicate it is."""
        if self._first is not None:
            first = self._first.setdefault(candidate.exact, candidate)
            if first is not candidate:
                return duplicate(candidate, first.id)
        self.candidates.append(candidate)
        self.num_by_source[candidate.source] += 1
        if self._near is not None:
            self._near.add(signature)
        return None

    def near_duplicates(self) -> Iterator[tuple[Candidate, Dropped]]:
        """Takes near duplicates out and says whose they are; called once, after the last `add`."""
        if self._near is None:
            return
        repeats = self._near.find()
        for number, first in sorted(repeats.items()):
            candidate = self.candidates[number]
            self.num_by_source[candidate.source] -= 1
            yield candidate, duplicate(candidate, self.candidates[first].id, near=True)
        self.candidates = [c for number, c in enumerate(self.candidates) if number not in repeats]


def duplicate(candidate: Candidate, first: str, *, near: bool = False) -> Dropped:
    """A candidate that repeats another."""
    reason = "near_duplicate" if near else "duplicate"
    return Dropped(unit="row", id=candidate.id, reason=reason, detail=f"same as {first}", source=candidate.task)
