"""04_samples: the rows of all sources that are trained on; policies, duplicates and quotas decide."""

import itertools
import random
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby

import orjson

from core.errors import MixError
from core.files import JSON_OPTIONS, file_sha256, make_folder, naming, read_jsonl
from core.run_folder import PREDICTIONS, SAMPLES
from core.score import read_scores
from core.stage import DROPPED, SCRATCH, Dropped, Stage, Summary
from core.workers import ordered_map
from curation.candidate import (
    Candidate,
    CandidateParameters,
    CandidateTools,
    Found,
    Pool,
    ScoredTask,
    duplicate,
    source_candidates,
    task_candidates,
)
from curation.fit import Fit
from curation.ni.bucket import BucketParameters, TaskBucket, read_buckets
from curation.ni.select import own_name, read_selected
from curation.policies.contamination import Suites
from curation.policies.duplicate import NearDuplicates
from curation.policies.policy import Screen, ScreenSpec
from curation.preset import CurationParameters
from curation.sample import draw, drawable
from curation.share import shared_targets
from curation.sources.record import read_source
from curation.sources.shortfall import Shortfall, nothing_left, shortfalls
from curation.sources.source import NI_SOURCES, Located, MixRow, source_of
from curation.stages.context import Curation
from curation.stages.rendering import render, rows_at, to_render
from curation.stages.sizing import fitted
from curation.stages.source_quota import SourceQuota

ROWS = "rows.jsonl"

LEAST_ROWS = 2
"""One to train on and one to validate."""

_OF_ORIGIN = ("llm_generated", "non_commercial", "unknown_licence")
"""What bars a row by where it comes from goes before any draw: the winner chose the parts of a source first."""

_FEW = 20_000
"""Scores that one process is quicker with."""


def sample_stage(curation: Curation, chosen: Stage, scored: Stage) -> Stage:
    """Kept + dropped = read: scored instances and the other sources' records.

    Raises:
        MixError: nothing is left to train on; says what took it.
    """
    print_of = curation.parameters.fingerprint()
    inputs = {
        "tasks": chosen.output_digest(),
        "scores": scored.output_digest(),
        **{name: print_of[name] for name in ("buckets", "candidates", "policies", "records", "samples", "fit")},
        "targets": curation.targets,
        "sources": {name: located.fingerprint() for name, located in sorted(curation.sources.items())},
        "suites": {name: file_sha256(path) for name, path in sorted(curation.suites.items())},
        "tokenizer": file_sha256(curation.tokenizer) if curation.tokenizer else None,
    }
    stage = curation.stage(SAMPLES, inputs)
    if stage.is_done:
        return stage
    return _Sampling(curation, chosen, scored, stage).run()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Spec:
    """What a worker builds its tools from."""

    parameters: CandidateParameters
    buckets: BucketParameters
    screen: ScreenSpec
    near: bool
    keep_solved: bool


def _share(have: Mapping[str, int], own: Collection[str]) -> float | None:
    """Of the rows, are the user's own; None if there are none of others, or none at all."""
    num_own = sum(have[name] for name in own)
    return round(num_own / sum(have.values()), 4) if own and sum(have.values()) > num_own else None


def _longer(parameters: CurationParameters) -> str:
    """The setting that lets longer rows in."""
    limit = parameters.policies.max_tokens
    if parameters.policies.max_words is not None or limit is None:
        return "`policies.max_words=none`"
    return f"`policies.max_tokens={2 * limit}`"


def _tools(spec: _Spec) -> CandidateTools:
    return CandidateTools(
        parameters=spec.parameters,
        buckets=spec.buckets,
        screen=Screen(spec.screen),
        near=spec.near,
        keep_solved=spec.keep_solved,
    )


class _Sampling:
    """One run of the stage."""

    def __init__(self, curation: Curation, chosen: Stage, scored: Stage, stage: Stage) -> None:
        self.curation, self.chosen, self.scored, self.stage = curation, chosen, scored, stage
        p = curation.parameters
        self.refill = p.policies.refill
        screen = ScreenSpec(
            parameters=p.policies,
            tokenizer=curation.tokenizer,
            suites=curation.suites,
            count_all=p.fit is not None,
        )
        threshold = p.policies.near_duplicates
        self.spec = _Spec(
            parameters=p.candidates,
            buckets=p.buckets,
            screen=screen,
            near=threshold is not None,
            keep_solved=p.samples.retain_share > 0,
        )
        self.work = stage.path(SCRATCH)
        make_folder(self.work)
        near = NearDuplicates(threshold, self.work / "signatures.bin") if threshold is not None else None
        self.pool = Pool(near=near, exact=self.refill)
        self.num_read = 0
        self.lost: dict[str, Counter[str]] = defaultdict(Counter)
        self.num_scores = scored.summary().tallies["prediction"].kept
        self.workers = curation.workers if self.num_scores > _FEW else 1
        self.fit: Fit | None = None
        self.origins = chosen.summary().details

    def run(self) -> Stage:
        for name, located in self.curation.sources.items():
            self._examine_source(name, located)
        self._examine_tasks()
        for candidate, dropped in self.pool.near_duplicates():
            self._drop(candidate.source, dropped)
        targets = self._targets()
        drawn, left = draw(self.pool.candidates, targets, self.curation.parameters.samples)
        for candidate, reason in left:
            self._lose(candidate, reason)
        drawn = drawn if self.refill else self._screen_drawn(drawn)
        kept = self._write(drawn)
        have = Counter(c.source for c in drawn)
        self._add_earlier_losses()
        if kept < LEAST_ROWS:
            self.stage.give_up()
            longer = _longer(self.curation.parameters)
            why = nothing_left(kept, self.lost, longer=longer, own=self.origins["own_rows"])
            raise MixError(f"{self.curation.run}: {why}")
        short = shortfalls(
            {**targets, **self.origins["own_rows"]}, have, self.lost,
            scale=self.curation.parameters.scale, longer=_longer(self.curation.parameters),
            own=self.origins["own_rows"], is_papers=self.curation.parameters.mix is not None,
        )  # fmt: skip
        self.stage.finish(
            Summary(
                tallies={"row": self.stage.tally("row", read=self.num_read, kept=kept)},
                details=self._details(targets, have, short),
            )
        )
        return self.stage

    def _add_earlier_losses(self) -> None:
        """What tasks lost before they came here: instances that were never asked, or not answered; own examples."""
        tasks = read_selected(self.chosen.path("tasks.jsonl"))
        sources = {s.name: source_of(s.kind, s.categories) for s in tasks}
        for stage in (self.chosen.directory, self.curation.run / PREDICTIONS):
            for record in read_jsonl(stage / DROPPED):
                if record["unit"] == "instance" and record["source"] in sources:
                    self.lost[sources[record["source"]]][record["reason"]] += 1
        for name, lost in self.origins["own_lost"].items():
            self.lost[name].update(lost)

    def _details(self, targets: Mapping[str, int], have: Counter[str], short: Sequence[Shortfall]) -> dict[str, object]:
        return {
            "targets": {source: self.origins["own_rows"].get(source, target) for source, target in targets.items()},
            "drawn": {source: have[source] for source in targets},
            "own_share": _share(have, self.origins["own_rows"]),
            "lost": {source: dict(sorted(reasons.items())) for source, reasons in sorted(self.lost.items())},
            "shortfalls": [{**asdict(s), "text": str(s)} for s in short],
            "fit": self.fit.fingerprint() if self.fit else None,
            "suites_unchecked": self._num_unchecked(),
        }

    def _num_unchecked(self) -> dict[str, int]:
        """Questions of each suite that are too short to be told from chance."""
        ngram = self.curation.parameters.policies.contamination_ngram
        return Suites.read(self.curation.suites, ngram=ngram).num_unchecked if self.curation.suites else {}

    def _drop(self, source: str, dropped: Dropped) -> None:
        self.stage.drop(dropped)
        self.lost[source][dropped.reason] += 1

    def _lose(self, c: Candidate, reason: str, detail: str = "") -> None:
        shown = detail or ("" if c.bucket is None else f"bucket {c.bucket}")
        self._drop(c.source, Dropped(unit="row", id=c.id, reason=reason, detail=shown, source=c.task))

    def _add(self, candidate: Candidate, signature: bytes) -> bool:
        """Takes a candidate into the pool, or drops it as a duplicate."""
        repeated = self.pool.add(candidate, signature)
        if repeated:
            self._drop(candidate.source, repeated)
        return repeated is None

    # -- other sources

    def _examine_source(self, name: str, located: Located) -> None:
        """Reads a source whole, then examines its rows in a random order until its quota is filled."""
        scratch = self.work / f"{name}.jsonl"
        offsets: list[int] = []
        with naming(scratch), scratch.open("wb") as out:
            for row in read_source(located, self.curation.parameters.records, load=self.curation.load):
                self.num_read += 1
                if isinstance(row, Dropped):
                    self._drop(name, replace(row, source=name))
                    continue
                offsets.append(out.tell())
                out.write(orjson.dumps(row, option=JSON_OPTIONS))
        random.Random(f"{name}-{self.curation.parameters.seed}").shuffle(offsets)
        quota = SourceQuota(len(offsets) if self.curation.parameters.fit else self.curation.targets[name])
        near = self.curation.parameters.policies.near_duplicates if self.refill else None
        examined = source_candidates(_tools(self.spec), rows_at(scratch, offsets))
        for number, (offset, (candidate, signature)) in enumerate(zip(offsets, examined, strict=False), start=1):
            if candidate.reason and (self.refill or candidate.reason in _OF_ORIGIN):
                self._lose(candidate, candidate.reason, candidate.detail)
            elif self._add(replace(candidate, offset=offset), signature):
                quota.take(signature)
            if quota.is_filled(near, self.work):
                for row in rows_at(scratch, offsets[number:]):
                    self._drop(name, Dropped(unit="row", id=row.id, reason="over_quota", source=row.task))
                break
        self.curation.on_progress(f"{SAMPLES} {name}", len(offsets), len(offsets))

    # -- NI

    def _examine_tasks(self) -> None:
        done = 0
        unasked = list(self._unasked_tasks())
        total = self.num_scores + sum(len(task.selected.asked) for task in unasked)
        given = itertools.chain(unasked, self._scored_tasks())
        found_of = ordered_map(task_candidates, given, build=_tools, spec=self.spec, workers=self.workers)
        for found in found_of:
            done += self._take(found)
            self.curation.on_progress(SAMPLES, done, total)
        assert done == total, f"{done} of {total} instances were looked at"
        self.num_read += done

    def _take(self, found: Found) -> int:
        for dropped in found.dropped:
            self._drop(found.source, dropped)
        for candidate, signature in zip(found.candidates, found.signatures, strict=True):
            self._add(candidate, signature)
        return len(found.dropped) + len(found.candidates)

    def _unasked_tasks(self) -> Iterator[ScoredTask]:
        """Tasks of the user's own rows, where all are taken."""
        for selected in read_selected(self.chosen.path("tasks.jsonl")):
            if self.curation.parameters.samples.take_all and own_name(selected.categories):
                path = self.curation.files[selected.file]
                yield ScoredTask(path=path, selected=selected, bucket=None, scores=())

    def _scored_tasks(self) -> Iterator[ScoredTask]:
        """Every task that has scores, in the order of the scores."""
        buckets: dict[str, TaskBucket] = {b.task: b for b in read_buckets(self.scored.path("buckets.jsonl"))}
        selected_of = read_selected(self.chosen.path("tasks.jsonl"))
        for name, scores in groupby(read_scores(self.scored.path("scores.jsonl")), key=lambda s: s.task):
            selected = next(s for s in selected_of if s.name == name)
            yield ScoredTask(
                path=self.curation.files[selected.file],
                selected=replace(selected, asked=()),
                bucket=buckets[name],
                scores=tuple((s.id, s.score) for s in scores),
            )

    # -- the draw

    def _targets(self) -> dict[str, int]:
        """As the mix has it, or as many as fill the budget, or as give the user's own rows their share."""
        p = self.curation.parameters
        could_give = self._drawable()
        own = {name: could_give.get(name, 0) for name in self.origins["own_rows"]}
        has_ni = p.mix is not None or self.origins["ni_files"] > 0
        others = {s: n for s, n in self.curation.targets.items() if has_ni or s not in NI_SOURCES.values()}
        if p.mix is None and p.scale == 1:  # nobody asked for so many
            others = {s: min(n, could_give.get(s, 0)) for s, n in others.items()}
        if p.fit is not None:
            self.fit = fitted(self.curation, self.pool.candidates, {**own, **others})
            return dict(self.fit.targets)
        if p.samples.own_share is not None:
            return shared_targets(own, others, could_give, p.samples.own_share, keep_own=p.samples.take_all)
        return {**own, **others}

    def _drawable(self) -> dict[str, int]:
        """Most rows that each source could give."""
        pools: dict[str, list[Candidate]] = defaultdict(list)
        for candidate in self.pool.candidates:
            pools[candidate.source].append(candidate)
        return {source: drawable(pool, self.curation.parameters.samples) for source, pool in pools.items()}

    def _screen_drawn(self, drawn: Sequence[Candidate]) -> list[Candidate]:
        """Policies after the draw, as the winner's scripts: nothing that falls here is replaced."""
        order = list(drawn)
        random.Random(f"combine-{self.curation.parameters.seed}").shuffle(order)
        first: dict[bytes, Candidate] = {}
        kept: set[tuple[str, str, str]] = set()
        for c in order:
            if c.reason:
                self._lose(c, c.reason, c.detail)
            elif first.setdefault(c.exact, c) is not c:
                self._drop(c.source, duplicate(c, first[c.exact].id))
            else:
                kept.add((c.source, c.task, c.id))
        return [c for c in drawn if (c.source, c.task, c.id) in kept]

    # -- writing

    def _write(self, drawn: Sequence[Candidate]) -> int:
        """Every drawn row with its text and its tokens, by source, task and id."""
        given = to_render(drawn, chosen=self.chosen.path("tasks.jsonl"), files=self.curation.files, work=self.work)
        lines = ordered_map(render, given, build=Screen, spec=self.spec.screen, workers=self.workers)
        num = 0

        def rows() -> Iterator[MixRow]:
            nonlocal num
            for batch in lines:
                yield from batch
                num += len(batch)
                self.curation.on_progress(f"{SAMPLES} rows", num, len(drawn))

        return self.stage.write_rows(ROWS, rows())
