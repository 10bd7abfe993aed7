"""04_samples: the rows of all sources that are trained on; policies, duplicates and quotas decide."""

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from pathlib import Path

import orjson

from curation.bucket import BucketParameters, TaskBucket, read_buckets
from curation.candidate import (
    Candidate,
    CandidateParameters,
    CandidateTools,
    Found,
    Pool,
    ScoredTask,
    duplicate,
    ni_row,
    reopen,
    source_candidates,
    task_candidates,
)
from curation.contamination import Suites
from curation.duplicate import NearDuplicates
from curation.errors import MixError
from curation.fit import Fit, fit
from curation.mix import validation_size
from curation.policy import Screen, ScreenSpec
from curation.preset import CurationParameters
from curation.record import read_source
from curation.sample import Quota, draw
from curation.score import read_scores
from curation.select import SelectedTask, read_selected
from curation.shortfall import Shortfall, shortfalls
from curation.source import NI_SOURCES, Located, MixRow
from curation.stage import DROPPED, JSON_OPTIONS, SCRATCH, Dropped, Stage, Summary, file_sha256, read_jsonl
from curation.stages.context import PREDICTIONS, SAMPLES, Curation
from curation.workers import ordered_map

ROWS = "rows.jsonl"

_OF_ORIGIN = ("llm_generated", "non_commercial", "unknown_licence")
"""What bars a row by where it comes from goes before any draw: the winner chose the parts of a source first."""

_FEW = 20_000
"""Scores that one process is quicker with."""


def sample_stage(curation: Curation, chosen: Stage, scored: Stage) -> Stage:
    """Kept + dropped = read: scored instances and the other sources' records."""
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


class _SourceQuota:
    """Tells when enough rows of a source were examined, those that repeat each other counted once."""

    def __init__(self, wanted: int) -> None:
        self._wanted = self._most = wanted
        self._signatures: list[bytes] = []

    def take(self, signature: bytes) -> None:
        """One more row may be drawn."""
        self._signatures.append(signature)

    def is_filled(self, threshold: float | None, work: Path) -> bool:
        """Whether the rows so far fill the quota; looked up only when there are enough of them at all."""
        if len(self._signatures) < self._most:
            return False
        if threshold is None:
            return True
        duplicates = NearDuplicates(threshold, work / "source_signatures.bin")
        for signature in self._signatures:
            duplicates.add(signature)
        distinct = len(self._signatures) - len(duplicates.find())
        self._most += max(self._wanted - distinct, self._most // 10)
        return distinct >= self._wanted * _MARGIN or distinct == self._wanted == 0


_MARGIN = 1.02
"""A row may also repeat one of another source, which is told at the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Spec:
    """What a worker builds its tools from."""

    parameters: CandidateParameters
    buckets: BucketParameters
    screen: ScreenSpec
    near: bool
    keep_solved: bool


def _longer(parameters: CurationParameters) -> str:
    """The setting that lets longer rows in."""
    limit = parameters.policies.max_tokens
    if parameters.policies.max_words is not None or limit is None:
        return "--set policies.max_words=none"
    return f"--set policies.max_tokens={2 * limit}"


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
        self.work.mkdir(parents=True, exist_ok=True)
        near = NearDuplicates(threshold, self.work / "signatures.bin") if threshold is not None else None
        self.pool = Pool(near=near, exact=self.refill)
        self.num_read = 0
        self.lost: dict[str, Counter[str]] = defaultdict(Counter)
        self.num_scores = scored.summary().tallies["prediction"].kept
        self.workers = curation.workers if self.num_scores > _FEW else 1
        self.fit: Fit | None = None

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
        short = shortfalls(
            targets, have, self.lost, scale=self.curation.parameters.scale, longer=_longer(self.curation.parameters)
        )
        self.stage.finish(
            Summary(
                tallies={"row": self.stage.tally("row", read=self.num_read, kept=kept)},
                details=self._details(targets, have, short),
            )
        )
        return self.stage

    def _add_earlier_losses(self) -> None:
        """What NI's tasks lost before they came here: instances that were never asked, or not answered."""
        kind_of = {s.name: s.kind for s in read_selected(self.chosen.path("tasks.jsonl"))}
        for stage in (self.chosen.directory, self.curation.run / PREDICTIONS):
            for record in read_jsonl(stage / DROPPED):
                if record["unit"] == "instance" and record["source"] in kind_of:
                    self.lost[NI_SOURCES[kind_of[record["source"]]]][record["reason"]] += 1

    def _details(self, targets: Mapping[str, int], have: Counter[str], short: Sequence[Shortfall]) -> dict[str, object]:
        return {
            "targets": dict(targets),
            "drawn": {source: have[source] for source in targets},
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
        with scratch.open("wb") as out:
            for row in read_source(located, self.curation.parameters.records, load=self.curation.load):
                self.num_read += 1
                if isinstance(row, Dropped):
                    self._drop(name, replace(row, source=name))
                    continue
                offsets.append(out.tell())
                out.write(orjson.dumps(row, option=JSON_OPTIONS))
        random.Random(f"{name}-{self.curation.parameters.seed}").shuffle(offsets)
        quota = _SourceQuota(len(offsets) if self.curation.parameters.fit else self.curation.targets[name])
        near = self.curation.parameters.policies.near_duplicates if self.refill else None
        examined = source_candidates(_tools(self.spec), self._rows_at(scratch, offsets))
        for number, (offset, (candidate, signature)) in enumerate(zip(offsets, examined, strict=False), start=1):
            if candidate.reason and (self.refill or candidate.reason in _OF_ORIGIN):
                self._lose(candidate, candidate.reason, candidate.detail)
            elif self._add(replace(candidate, offset=offset), signature):
                quota.take(signature)
            if quota.is_filled(near, self.work):
                for row in self._rows_at(scratch, offsets[number:]):
                    self._drop(name, Dropped(unit="row", id=row.id, reason="over_quota", source=row.task))
                break
        self.curation.on_progress(f"{SAMPLES} {name}", len(offsets), len(offsets))

    @staticmethod
    def _rows_at(path: Path, offsets: Iterable[int]) -> Iterator[MixRow]:
        with path.open("rb") as f:
            for offset in offsets:
                f.seek(offset)
                yield MixRow(**orjson.loads(f.readline()))

    # -- NI

    def _examine_tasks(self) -> None:
        done = 0
        found_of = ordered_map(
            task_candidates, self._scored_tasks(), build=_tools, spec=self.spec, workers=self.workers
        )
        for found in found_of:
            done += self._take(found)
            self.curation.on_progress(SAMPLES, done, self.num_scores)
        assert done == self.num_scores, f"{done} of {self.num_scores} scored instances were looked at"
        self.num_read += done

    def _take(self, found: Found) -> int:
        for dropped in found.dropped:
            self._drop(found.source, dropped)
        for candidate, signature in zip(found.candidates, found.signatures, strict=True):
            self._add(candidate, signature)
        return len(found.dropped) + len(found.candidates)

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
        """As the mix has it, or as many as fill the budget."""
        wanted = self.curation.targets
        if self.curation.parameters.fit is None:
            return wanted
        self._check_fit()
        available: Counter[str] = Counter()
        tokens: Counter[str] = Counter()
        for c in self.pool.candidates:
            if not c.solved and not c.reason:
                available[c.source] += 1
                tokens[c.source] += c.num_tokens
        means = {source: tokens[source] / n for source, n in available.items()}
        self.fit = self._refined(fit(self.curation.parameters.fit, wanted, means, available), means, available)
        return dict(self.fit.targets)

    def _check_fit(self) -> None:
        """Refuses choices that leave nothing to be sized."""
        p = self.curation.parameters
        if self.curation.tokenizer is None:
            raise MixError("--fit counts tokens: --tokenizer none cannot be. Give the base's folder.")
        if p.samples.quota is Quota.PER_BUCKET:
            raise MixError(
                "--fit sizes quotas, and quotas per bucket are fixed. Add --set samples.quota=proportional, or take "
                "--preset recommended."
            )

    def _refined(self, first: Fit, means: Mapping[str, float], available: Mapping[str, int]) -> Fit:
        """Draws, counts the tokens of what would be trained on, and corrects the means by them, until the mix fits.

        A draw's rows are not like the pool's: the worst buckets may be longer, and policies may still drop some.
        """
        parameters = self.curation.parameters.fit
        assert parameters is not None
        budget = parameters.tokens
        found, best = first, replace(first, tokens=0, seconds=0.0, fills=False)
        for _ in range(_MOST_REFINEMENTS):
            drawn, _ = draw(self.pool.candidates, found.targets, self.curation.parameters.samples)
            tokens, rows = Counter[str](), Counter[str]()
            for c in drawn:
                tokens[c.source] += 0 if c.reason else c.num_tokens
                rows[c.source] += 1
            actual = int(sum(tokens.values()) * self._trained_share(sum(rows.values())))
            share = actual * found.epochs / budget
            if best.tokens * best.epochs < actual * found.epochs <= budget or best.tokens == 0:
                seconds = actual * found.epochs / parameters.tokens_per_s / parameters.share
                more = sum(rows.values()) < sum(available.values())  # rows are too long to come closer
                best = replace(found, tokens=actual, seconds=seconds, fills=share >= _FILLED or more)
            if _FILLED <= share <= 1:
                break
            trained = actual / max(1, sum(tokens.values()))
            means = {**means, **{s: tokens[s] / n * trained * _ROUNDING for s, n in rows.items() if tokens[s]}}
            found = replace(fit(parameters, self.curation.targets, means, available), paper=first.paper)
        return best

    def _trained_share(self, num_rows: int) -> float:
        """Of the rows: the others validate."""
        p = self.curation.parameters
        return 1 - validation_size(num_rows, p.split, p.scale) / num_rows if num_rows > 1 else 1.0

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
        lines = ordered_map(_render, self._to_render(drawn), build=Screen, spec=self.spec.screen, workers=self.workers)
        num = 0

        def rows() -> Iterator[MixRow]:
            nonlocal num
            for batch in lines:
                yield from batch
                num += len(batch)
                self.curation.on_progress(f"{SAMPLES} rows", num, len(drawn))

        return self.stage.write_rows(ROWS, rows())

    def _to_render(self, drawn: Sequence[Candidate]) -> Iterator["_ToRender"]:
        files = {s.name: replace(s, asked=()) for s in read_selected(self.chosen.path("tasks.jsonl"))}
        for (source, task), group in groupby(drawn, key=lambda c: (c.source, c.task if c.kind else "")):
            candidates = list(group)
            if source in NI_SOURCES.values():
                selected = files[task]
                yield _ToRender(candidates=candidates, path=self.curation.files[selected.file], selected=selected)
                continue
            path = self.work / f"{source}.jsonl"
            for start in range(0, len(candidates), _RENDERED_TOGETHER):
                yield _ToRender(candidates=candidates[start : start + _RENDERED_TOGETHER], path=path, selected=None)


_MOST_REFINEMENTS = 12
_FILLED = 0.99
"""Of the budget."""

_ROUNDING = 1.0005
"""Rounding rows up must not push the last refinement over the budget."""

_RENDERED_TOGETHER = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class _ToRender:
    """Drawn candidates of one file."""

    candidates: list[Candidate]
    path: Path
    selected: SelectedTask | None
    """None: `path` is the scratch file of another source."""


def _render(screen: Screen, given: _ToRender) -> list[MixRow]:
    """The rows of drawn candidates, tokens counted if there is a tokenizer."""
    if given.selected is None:
        rows = list(_Sampling._rows_at(given.path, (c.offset for c in given.candidates)))
    else:
        task = reopen(given.path, given.selected)
        instances = {i.id: i for i in task.instances}
        rows = [ni_row(given.selected, task, instances[c.id], c.bucket or 0) for c in given.candidates]
    return [replace(row, num_tokens=n) for row, n in zip(rows, screen.count_rows(rows), strict=True)]
