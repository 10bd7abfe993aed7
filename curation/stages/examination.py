"""Examination: decides which instances and records become candidates, and why the others do not. Runs in workers.

    examiner = Examiner(spec)
    found = examine_task(examiner, ScoredTask(selected=task, bucket=bucket, scores=block))

Where it sits: scores + sources -> **examination** -> pool of candidates.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NamedTuple

from core.generation.request import Kind
from core.generation.signals import Signals
from curation.candidate import Candidate, CandidateParameters, References, is_solved
from curation.ni.bucket import BucketParameters, TaskBucket, generation_bucket
from curation.ni.instances import InstanceStore
from curation.ni.row import TaskRows
from curation.ni.select import SelectedTask, own_name
from curation.ni.task import Instance
from curation.policies.duplicate import exact_key, near_key
from curation.policies.policy import Screen, Screened, ScreenSpec
from curation.sources.source import MixRow
from curation.stages.row_files import TOGETHER, RowFiles, write_row, writing
from curation.stages.scores import ScoreBlock, ScoredRow, read_block


@dataclass(frozen=True, slots=True, kw_only=True)
class ExaminerSpec:
    """What a worker builds its `Examiner` from."""

    parameters: CandidateParameters
    buckets: BucketParameters
    screen: ScreenSpec
    near: bool
    """Whether near duplicates will be searched for."""
    keep_solved: bool
    """Whether the draw takes some rows that the base already answers well."""
    instances: Path
    scores: Path
    rows: Path
    """Folder of the scratch files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredTask:
    """One task with the scores of the base model's answers: the unit of work."""

    selected: SelectedTask
    bucket: TaskBucket | None
    """None: the base was not asked, and every instance is a candidate."""
    scores: ScoreBlock | None


class Left(NamedTuple):
    """A row that is left out."""

    id: str
    reason: str
    detail: str


class Examined(NamedTuple):
    """The candidates of one task, and what was left out."""

    source: str
    task: str
    candidates: list[Candidate]
    left: list[Left]


class _Weak(NamedTuple):
    """An instance that may become a candidate."""

    instance: Instance
    bucket: int | None
    solved: bool


def examine_task(examiner: "Examiner", given: ScoredTask) -> Examined:
    """The candidates of one task, and the other rows with their reason."""
    return examiner.task(given)


class Examiner:
    """Examines rows by scores, references and policies, none of which depends on other rows."""

    def __init__(self, spec: ExaminerSpec) -> None:
        self._spec = spec
        self._screen = Screen(spec.screen)
        self._instances = InstanceStore(spec.instances)
        self._files = RowFiles(spec.rows)

    def task(self, given: ScoredTask) -> Examined:
        """Examines a task's instances and writes the rows of its candidates."""
        selected = given.selected
        rows = TaskRows(selected)
        examined = Examined(source=rows.source, task=selected.name, candidates=[], left=[])
        if self._is_too_hard(given):
            assert given.bucket is not None
            why = f"accuracy {given.bucket.mean_score:.3f}"
            examined.left.extend(Left(scored.id, "low_accuracy", why) for scored in self._scores(given))
            return examined
        weak = self._weak(given, examined.left)
        with writing(self._files.of_task(selected.name)) as file:
            while batch := list(itertools.islice(weak, TOGETHER)):
                self._examine(batch, [rows.row(w.instance, w.bucket) for w in batch], selected.kind, examined, file)
        return examined

    def _examine(
        self, batch: Sequence[_Weak], rows: Sequence[MixRow], kind: Kind, examined: Examined, file: IO[bytes]
    ) -> None:
        for weak, row, screened in zip(batch, rows, self._screen.examine(rows), strict=True):
            verdict = self._references(screened, kind, weak.instance)
            if verdict.reason and (self._screen.parameters.refill or _before_draw(kind, verdict.reason)):
                examined.left.append(Left(row.id, verdict.reason, verdict.detail))
                continue
            offset = write_row(file, row)
            examined.candidates.append(
                self._candidate(row, verdict, kind, weak.bucket, solved=weak.solved, offset=offset)
            )

    def rows(self, rows: Iterable[MixRow]) -> Iterator[Candidate]:
        """Rows of another source as candidates; those with a reason are to be dropped."""
        for row in rows:
            yield self._candidate(row, self._screen.examine([row])[0])

    def _scores(self, given: ScoredTask) -> Iterator[ScoredRow]:
        return read_block(self._spec.scores, given.scores) if given.scores else iter(())

    def _weak(self, given: ScoredTask, left: list[Left]) -> Iterator[_Weak]:
        """The instances that may be trained on. Instances that the base answers well are added to `left`."""
        instances = self._instances.read(given.selected.block)
        if given.bucket is None:
            yield from (_Weak(instance, None, False) for instance in instances)
            return
        for scored in self._scores(given):  # in the order of the instances, of which some have none
            instance = next(i for i in instances if i.id == scored.id)
            bucket = self._bucket(given, scored.score)
            parameters = self._spec.parameters
            solved = parameters.wrong_only and is_solved(given.selected.kind, scored.score, parameters)
            if solved and not self._spec.keep_solved:
                left.append(Left(scored.id, "already_solved", f"bucket {bucket}"))
            elif misled := self._misled(scored.signals):
                left.append(Left(scored.id, "high_ifd", misled))
            else:
                yield _Weak(instance, bucket, solved)

    def _misled(self, signals: Signals | None) -> str:
        """Why the prompt helps too little to produce the answer; empty if it does not, or if nothing was measured."""
        limit = self._spec.screen.parameters.max_ifd
        if limit is None or signals is None or signals.ifd is None or signals.ifd <= limit:
            return ""
        return f"IFD {signals.ifd:.3f}: loss {signals.loss:.3f} behind the prompt, {signals.loss_alone:.3f} without it"

    def _is_too_hard(self, given: ScoredTask) -> bool:
        """Whether it is an NI exact-match task that the base hardly ever gets right. Own rows are always kept."""
        selected = given.selected
        if given.bucket is None or selected.kind is not Kind.EXACT_MATCH or own_name(selected.categories) is not None:
            return False
        return given.bucket.mean_score < self._spec.parameters.min_accuracy

    def _bucket(self, given: ScoredTask, value: float) -> int:
        if given.selected.kind is Kind.GENERATION:
            return generation_bucket(value, self._spec.buckets)
        assert given.bucket is not None
        assert given.bucket.bucket is not None
        return given.bucket.bucket

    def _references(self, verdict: Screened, kind: Kind, instance: Instance) -> Screened:
        first_only = self._spec.parameters.references is References.FIRST
        if verdict.reason or kind is Kind.EXACT_MATCH or first_only or len(instance.outputs) == 1:
            return verdict
        return Screened(reason="several_references", detail=str(len(instance.outputs)), num_tokens=verdict.num_tokens)

    def _candidate(
        self,
        row: MixRow,
        verdict: Screened,
        kind: Kind | None = None,
        bucket: int | None = None,
        *,
        solved: bool = False,
        offset: int = 0,
    ) -> Candidate:
        return Candidate(
            source=row.source,
            task=row.task,
            id=row.id,
            kind=kind,
            bucket=bucket,
            solved=solved,
            exact=exact_key(row.instruction, row.input, self._screen.parameters.dedup_key),
            num_tokens=verdict.num_tokens,
            near=near_key(row.output, row.instruction if row.input else "") if self._spec.near else b"",
            offset=offset,
            reason=verdict.reason,
            detail=verdict.detail,
        )


def _before_draw(kind: Kind, reason: str) -> bool:
    """The winner's exact-match script drops long rows before the draw, and all other rows after it."""
    return kind is Kind.EXACT_MATCH and reason == "too_long"
