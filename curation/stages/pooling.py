"""Fills the pool: the rows of all sources are examined, and exact and near duplicates are dropped.

    pooling = Pooling(curation, chosen, scored, stage, losses)
    pooling.fill()
    pooling.pool.candidates, pooling.num_read

Where it sits: scores + sources -> **pooling** -> draw.
"""

import itertools
import random
from collections.abc import Iterator
from dataclasses import replace

from core.run_folder import SAMPLES
from core.stage import SCRATCH, Dropped, Stage
from core.workers import ordered_map
from curation.candidate import Candidate, Pool
from curation.ni.bucket import read_buckets
from curation.ni.instances import INSTANCES
from curation.ni.select import own_name, read_selected
from curation.policies.learnable import HardRows
from curation.policies.policy import ScreenSpec
from curation.sources.record import read_source
from curation.sources.source import Located
from curation.stages.context import Curation
from curation.stages.examination import Examined, Examiner, ExaminerSpec, ScoredTask, examine_task
from curation.stages.losses import Losses
from curation.stages.near_duplicates import near_repeats
from curation.stages.row_files import RowFiles, rows_at, write_row, writing
from curation.stages.scores import BLOCKS, read_blocks
from curation.stages.source_quota import SourceQuota

_OF_ORIGIN = ("llm_generated", "non_commercial", "unknown_licence")
"""Reasons that concern a row's origin. Such rows are dropped before any draw, as the winner chose parts of a source."""

_FEW = 20_000
"""With fewer scores one process is faster."""


class Pooling:
    """One run of the samples stage up to the draw."""

    def __init__(
        self, curation: Curation, chosen: Stage, scored: Stage, stage: Stage, losses: Losses, hard: HardRows | None
    ) -> None:
        self.curation, self.chosen, self.scored, self.losses = curation, chosen, scored, losses
        p = curation.parameters
        self.refill, self.near = p.policies.refill, p.policies.near_duplicates
        self.work = stage.path(SCRATCH)
        self.files = RowFiles(self.work)
        self.screen = ScreenSpec(
            parameters=p.policies,
            tokenizer=curation.tokenizer,
            suites=curation.suites,
            count_all=p.fit is not None or bool(p.samples.add) or p.samples.task_tokens is not None,
            unlearnable=hard.rows if hard else {},
        )
        self.examiner = ExaminerSpec(
            parameters=p.candidates,
            buckets=p.buckets,
            screen=self.screen,
            near=self.near is not None,
            keep_solved=p.samples.retain_share > 0,
            instances=chosen.path(INSTANCES),
            scores=scored.path("scores.jsonl"),
            rows=self.work,
        )
        self.pool = Pool(exact=self.refill)
        self.num_read = 0
        self.num_scores = scored.summary().tallies["prediction"].kept
        self.workers = curation.workers if self.num_scores > _FEW else 1

    def fill(self) -> None:
        """Examines the other sources first, in the order of Table 1, because the first of duplicate rows stays."""
        for name, located in self.curation.sources.items():
            self._examine_source(name, located)
        self._examine_tasks()
        if self.near is not None:
            for candidate, dropped in self.pool.remove_near_duplicates(self._near_repeats()):
                self.losses.drop(candidate.source, dropped)

    def _add(self, candidate: Candidate) -> bool:
        """Takes a candidate into the pool, or drops it as a duplicate."""
        repeated = self.pool.add(candidate)
        if repeated:
            self.losses.drop(candidate.source, repeated)
        return repeated is None

    def _near_repeats(self, source: str | None = None) -> dict[int, int]:
        """Near duplicates in the pool, of one source or of all."""
        assert self.near is not None
        return near_repeats(
            self.pool.candidates,
            self.pool.suspects(source),
            self.files,
            threshold=self.near,
            scratch=self.work / "signatures.bin",
            workers=1 if source else self.workers,
        )

    def _examine_source(self, name: str, located: Located) -> None:
        """Reads a source whole, then examines its rows in a random order until its quota is filled."""
        path = self.files.of_source(name)
        offsets: list[int] = []
        with writing(path) as out:
            for row in read_source(located, self.curation.parameters.records, load=self.curation.load):
                self.num_read += 1
                if isinstance(row, Dropped):
                    self.losses.drop(name, replace(row, source=name))
                else:
                    offsets.append(write_row(out, row))
        random.Random(f"{name}-{self.curation.parameters.seed}").shuffle(offsets)
        p = self.curation.parameters
        quota = SourceQuota(len(offsets) if p.fit or p.samples.add else self.curation.targets[name])
        looks_near = self.refill and self.near is not None
        num_repeats = (lambda: len(self._near_repeats(name))) if looks_near else None
        examined = Examiner(self.examiner).rows(rows_at(path, offsets))
        for number, (offset, candidate) in enumerate(zip(offsets, examined, strict=False), start=1):
            if candidate.reason and (self.refill or candidate.reason in _OF_ORIGIN):
                self.losses.drop_candidate(candidate, candidate.reason, candidate.detail)
            elif self._add(candidate._replace(offset=offset)):
                quota.take()
            if quota.is_filled(num_repeats):
                for row in rows_at(path, offsets[number:]):
                    self.losses.drop(name, Dropped(unit="row", id=row.id, reason="over_quota", source=row.task))
                break
        self.curation.on_progress(f"{SAMPLES} {name}", len(offsets), len(offsets))

    def _examine_tasks(self) -> None:
        done = 0
        unasked = list(self._unasked_tasks())
        total = self.num_scores + sum(task.selected.block.num_instances for task in unasked)
        given = itertools.chain(unasked, self._scored_tasks())
        for examined in ordered_map(examine_task, given, build=Examiner, spec=self.examiner, workers=self.workers):
            done += self._take(examined)
            self.curation.on_progress(SAMPLES, done, total)
        assert done == total, f"{done} of {total} instances were looked at"
        self.num_read += done

    def _take(self, examined: Examined) -> int:
        for row in examined.left:
            dropped = Dropped(unit="row", id=row.id, reason=row.reason, detail=row.detail, source=examined.task)
            self.losses.drop(examined.source, dropped)
        for candidate in examined.candidates:
            self._add(candidate)
        return len(examined.left) + len(examined.candidates)

    def _unasked_tasks(self) -> Iterator[ScoredTask]:
        """Tasks of the user's own rows, where all are taken; every task of a control."""
        for selected in read_selected(self.chosen.path("tasks.jsonl")):
            if not self.curation.parameters.samples.asks(is_own=own_name(selected.categories) is not None):
                yield ScoredTask(selected=selected, bucket=None, scores=None)

    def _scored_tasks(self) -> Iterator[ScoredTask]:
        """Every task that has scores, in the order of the scores."""
        buckets = {b.task: b for b in read_buckets(self.scored.path("buckets.jsonl"))}
        selected_of = read_selected(self.chosen.path("tasks.jsonl"))
        for block in read_blocks(self.scored.path(BLOCKS)):
            selected = next(s for s in selected_of if s.name == block.task)
            yield ScoredTask(selected=selected, bucket=buckets[block.task], scores=block)
