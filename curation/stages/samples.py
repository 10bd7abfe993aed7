"""04_samples: the rows of all sources that are trained on; policies, duplicates and quotas decide."""

import random
import shutil
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from core.errors import MixError
from core.files import atomic_writer, file_sha256
from core.run_folder import PREDICTIONS, SAMPLES
from core.stage import SCRATCH, Stage, Summary
from core.workers import ordered_map
from curation.candidate import Candidate, duplicate
from curation.fit import Fit
from curation.ni.select import read_selected
from curation.policies.contamination import Suites
from curation.policies.learnable import read_probe_losses, unlearnable
from curation.policies.policy import Screen
from curation.policies.task_tokens import capped
from curation.preset import CurationParameters
from curation.sample import draw
from curation.sources.shortfall import ToldShortfall, nothing_left, shortfalls
from curation.sources.source import source_of
from curation.stages.context import Curation
from curation.stages.losses import Losses, in_order
from curation.stages.pooling import Pooling
from curation.stages.rendering import render
from curation.stages.targets import wanted_rows
from curation.stages.tasks import TasksDetails

ROWS = "rows.jsonl"

LEAST_ROWS = 2
"""One row to train on and one to validate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeDetails:
    """What the losses of a probe training decided."""

    num_probed: int
    num_hard: int
    """Rows that stay hard; those that are not dropped for it are left out for another reason, or are not read."""
    high_before: float
    """Loss per token above which a row counted as hard before the probe."""
    high_after: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplesDetails:
    """What the stage's `summary.json` says besides its tallies."""

    targets: Mapping[str, int]
    """Rows wanted, by source."""
    drawn: Mapping[str, int]
    own_share: float | None
    """Share of own rows; None if there are no own rows, or no others."""
    lost: Mapping[str, Mapping[str, int]]
    """Source -> reason -> rows."""
    shortfalls: tuple[ToldShortfall, ...]
    fit: Fit | None
    suites_unchecked: Mapping[str, int]
    """Questions of each suite that are too short to be told from chance."""
    lost_by_task: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """`source/task` -> reason -> rows."""
    probe: ProbeDetails | None = None
    """None: no losses of a probe were given."""


def sample_stage(curation: Curation, chosen: Stage, scored: Stage) -> Stage:
    """Runs the stage on the scored instances and the records of the other sources.

    Raises:
        MixError: no row is left to train on. The message has the reasons.
    """
    fingerprint = curation.parameters.fingerprint()
    inputs = {
        "tasks": chosen.output_digest(),
        "scores": scored.output_digest(),
        **{name: fingerprint[name] for name in ("buckets", "candidates", "policies", "records", "samples", "fit")},
        "targets": curation.targets,
        "sources": {name: located.fingerprint() for name, located in sorted(curation.sources.items())},
        "suites": {name: file_sha256(path) for name, path in sorted(curation.suites.items())},
        "tokenizer": file_sha256(curation.tokenizer) if curation.tokenizer else None,
        **({"probe_losses": file_sha256(curation.probe_losses)} if curation.probe_losses else {}),
    }
    stage = curation.stage(SAMPLES, inputs)
    if stage.is_done:
        return stage
    return _Sampling(curation, chosen, scored, stage).run()


def _share(have: Mapping[str, int], own: Collection[str]) -> float | None:
    num_own = sum(have[name] for name in own)
    return round(num_own / sum(have.values()), 4) if own and sum(have.values()) > num_own else None


def _longer(parameters: CurationParameters) -> str:
    """The setting that admits longer rows."""
    limit = parameters.policies.max_tokens
    if parameters.policies.max_words is not None or limit is None:
        return "`policies.max_words=none`"
    return f"`policies.max_tokens={2 * limit}`"


class _Sampling:
    """One run of the stage."""

    def __init__(self, curation: Curation, chosen: Stage, scored: Stage, stage: Stage) -> None:
        self.curation, self.chosen, self.scored, self.stage = curation, chosen, scored, stage
        self.tasks = chosen.details(TasksDetails)
        self.losses = Losses(stage)
        share, probed = curation.parameters.policies.hard_share, curation.probe_losses
        self.hard = unlearnable(read_probe_losses(probed), share=share) if probed else None
        self.pooling = Pooling(curation, chosen, scored, stage, self.losses, self.hard)

    def run(self) -> Stage:
        self.pooling.fill()
        candidates = self._within_task_tokens(self.pooling.pool.candidates)
        targets, fit = wanted_rows(self.curation, candidates, self.tasks)
        drawn, left = draw(candidates, targets, self.curation.parameters.samples)
        for candidate, reason in left:
            self.losses.drop_candidate(candidate, reason)
        drawn = drawn if self.curation.parameters.policies.refill else self._screen_drawn(drawn)
        self._write(drawn)
        self._count_earlier_losses()
        if len(drawn) < LEAST_ROWS:
            self._give_up(len(drawn))
        tally = self.stage.tally("row", read=self.pooling.num_read, kept=len(drawn))
        details = self._details(targets, Counter(c.source for c in drawn), fit)
        shutil.rmtree(self.stage.path(SCRATCH))
        self.stage.finish(Summary(tallies={"row": tally}, details=details))
        return self.stage

    def _within_task_tokens(self, candidates: Sequence[Candidate]) -> Sequence[Candidate]:
        """The candidates without those that exceed the most tokens of a task; quotas are then filled from others."""
        parameters = self.curation.parameters.samples
        if parameters.task_tokens is None:
            return candidates
        within, beyond = capped(candidates, parameters.task_tokens, seed=parameters.seed)
        for candidate in beyond:
            self.losses.drop_candidate(candidate, "over_task_tokens", f"{candidate.num_tokens} tokens")
        return within

    def _give_up(self, num_rows: int) -> None:
        self.stage.give_up()
        longer = _longer(self.curation.parameters)
        why = nothing_left(num_rows, self.losses.by_source, longer=longer, own=self.tasks.own_rows)
        raise MixError(f"{self.curation.run}: {why}")

    def _count_earlier_losses(self) -> None:
        tasks = read_selected(self.chosen.path("tasks.jsonl"))
        sources = {s.name: source_of(s.kind, s.categories) for s in tasks}
        self.losses.count_earlier((self.chosen.directory, self.curation.run / PREDICTIONS), sources)
        self.losses.count_own(self.tasks.own_lost)

    def _details(self, targets: Mapping[str, int], have: Counter[str], fit: Fit | None) -> SamplesDetails:
        own = self.tasks.own_rows
        short = shortfalls(
            {**targets, **own}, have, self.losses.by_source,
            scale=self.curation.parameters.scale, longer=_longer(self.curation.parameters),
            own=own, is_papers=self.curation.parameters.mix is not None,
        )  # fmt: skip
        return SamplesDetails(
            targets={source: own.get(source, target) for source, target in targets.items()},
            drawn={source: have[source] for source in targets},
            own_share=_share(have, own),
            lost=in_order(self.losses.by_source),
            shortfalls=tuple(ToldShortfall.of(s) for s in short),
            fit=fit,
            suites_unchecked=self._num_unchecked(),
            lost_by_task=in_order(self.losses.by_task),
            probe=self._probe(),
        )

    def _probe(self) -> ProbeDetails | None:
        if self.hard is None:
            return None
        return ProbeDetails(
            num_probed=self.hard.num_probed,
            num_hard=len(self.hard.rows),
            high_before=self.hard.high_before,
            high_after=self.hard.high_after,
        )

    def _num_unchecked(self) -> dict[str, int]:
        ngram = self.curation.parameters.policies.contamination_ngram
        return Suites.read(self.curation.suites, ngram=ngram).num_unchecked if self.curation.suites else {}

    def _screen_drawn(self, drawn: Sequence[Candidate]) -> list[Candidate]:
        """Policies after the draw, as the winner's scripts: nothing that is dropped here is replaced."""
        order = list(drawn)
        random.Random(f"combine-{self.curation.parameters.seed}").shuffle(order)
        first: dict[bytes, Candidate] = {}
        kept: set[tuple[str, str, str]] = set()
        for c in order:
            if c.reason:
                self.losses.drop_candidate(c, c.reason, c.detail)
            elif first.setdefault(c.exact, c) is not c:
                self.losses.drop(c.source, duplicate(c, first[c.exact].id))
            else:
                kept.add((c.source, c.task, c.id))
        return [c for c in drawn if (c.source, c.task, c.id) in kept]

    def _write(self, drawn: Sequence[Candidate]) -> None:
        """Every drawn row with its text and its tokens, by source, task and id."""
        num = 0
        batches = self.pooling.files.batches(drawn)
        with atomic_writer(self.stage.path(ROWS)) as out:
            for lines in ordered_map(
                render, batches, build=Screen, spec=self.pooling.screen, workers=self.pooling.workers
            ):
                out.write(b"".join(lines))
                num += len(lines)
                self.curation.on_progress(f"{SAMPLES} rows", num, len(drawn))
