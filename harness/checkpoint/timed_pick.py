"""The timed picker: races the checkpoints that nobody measured, within a given time, and says why one was picked.

    picked = timed_pick(PickJob(folder=run, checkpoints=good, ..., until=uptime() + 600))

Those with a loss over all rows need no measuring; the best of them runs along, so that the others are compared with it
in pairs. The average of the best few is taken instead of the best if it beats it by the same measure.

Where it sits: checkpoints + validation rows -> **timed pick** -> serve. `oneday train` itself picks by the losses it
measured (harness/checkpoint/pick.py), which takes no time.
"""

import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from core.errors import PredictionError
from core.model.folder import model_fingerprint
from core.model.quantisation import Precision, Quantisation
from core.model.token_ids import RowIds
from core.run_folder import PICK
from core.stage import Dropped
from harness.budget.clock import uptime
from harness.budget.duration import pretty
from harness.checkpoint.adapter import average_adapters
from harness.checkpoint.pick import BASE, RULE, Candidate, Picked, known_candidates, no_candidate, publish, with_base
from harness.checkpoint.race import DOUBT, Race, Standing, TimeUp
from harness.checkpoint.seal import ADAPTER_FILES, Checkpoint
from harness.checkpoint.trained_base import TrainedBase, find_trained_base
from harness.errors import BudgetError, CheckpointError

COPY_BYTES_PER_S = 100e6
"""A slow disk: the time to publish an adapter is kept free by it."""

PUBLISH_S = 0.3

OnSlice = Callable[[Race], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class PickJob:
    """What is picked from."""

    folder: Path
    """Gets `08_pick`."""
    checkpoints: Sequence[Checkpoint]
    rejected: Sequence[Dropped]
    base: Path
    precision: Precision | Quantisation | None
    rows: Sequence[RowIds]
    """Of the validation set."""
    seed: int = 2023
    average: int = 0
    """Of so many of the best; below 2: none."""
    base_loss: float | None = None
    """Of the base over all rows, if it was measured before."""
    until: float = math.inf
    """On the uptime clock: when the pick must be published."""

    @property
    def four_bit(self) -> bool:
        """The base is kept in 4 bits."""
        kept = self.precision
        return kept.load_in_4bit if isinstance(kept, Quantisation) else kept == "4bit"

    @property
    def measure_until(self) -> float:
        """Less the time to publish."""
        largest = max((_adapter_bytes(c.path) for c in self.checkpoints), default=0)
        return self.until - PUBLISH_S - largest / COPY_BYTES_PER_S


def timed_pick(
    job: PickJob, *, on_slice: OnSlice = lambda race: None, while_measuring: Callable[[], None] = lambda: None
) -> Picked:
    """Measures, chooses, publishes.

    Args:
        on_slice: Called after every slice of the race.
        while_measuring: Called before every forward pass.
    Raises:
        CheckpointError: none can be picked; the message has the first reason.
        BudgetError: the time did not even hold a first slice.
    """
    began = uptime()
    known = known_candidates(job.checkpoints)
    if len(known) == len(job.checkpoints) and (job.average < 2 or len(known) < 2):
        if not known:
            raise no_candidate(job.folder, job.rejected)
        best = next(c for c in job.checkpoints if c.path.name == known[0].checkpoint)
        return publish(
            job.folder / PICK, best.path, _picked(job, known, job.rejected, RULE, 0.0, with_base(known, job.base_loss))
        )
    measuring = _Measuring(job, known, on_slice, while_measuring)
    try:
        candidates, paths, rule = measuring.run()
        shown = measuring.with_base(candidates)
    except TimeUp as e:
        raise BudgetError(
            f"the time was up before {len(job.checkpoints)} checkpoints were measured on their first rows. Give more "
            f"with `time=` (loading and measuring took {pretty(uptime() - began)})."
        ) from e
    rejected = [*job.rejected, *measuring.rejected]
    if not candidates:
        raise no_candidate(job.folder, rejected, mend="Save it again, or give `base=` of the model that it fits.")
    picked = _picked(job, candidates, rejected, rule, uptime() - began, shown)
    path = paths[picked.checkpoint]
    trained = find_trained_base(path) or measuring.base
    picked = publish(job.folder / PICK, path, picked, trained=trained)
    shutil.rmtree(measuring.average_folder, ignore_errors=True)
    return picked


class _Measuring:
    """The race, on a loaded model."""

    def __init__(
        self, job: PickJob, known: Sequence[Candidate], on_slice: OnSlice, while_measuring: Callable[[], None]
    ) -> None:
        from harness.checkpoint.loss import AdapterLosses

        def before_batch() -> None:
            while_measuring()
            if uptime() > job.measure_until:
                raise TimeUp

        self._job, self._on_slice = job, on_slice
        self._known = {c.checkpoint: c for c in known}
        self._paths = {c.path.name: c.path for c in job.checkpoints}
        self._steps = {c.path.name: c.step for c in job.checkpoints}
        self._unreadable: dict[str, str] = {}
        self._losses = AdapterLosses(job.base, precision=job.precision, rows=job.rows, before_batch=before_batch)
        self._rows: Sequence[int] = ()
        self.average_folder = job.folder / PICK / "average"

    @property
    def base(self) -> TrainedBase:
        """The base as it was measured on: for adapters of a trainer that does not tell."""
        return TrainedBase(quantisation=self._losses.quantisation, fingerprint=model_fingerprint(self._job.base))

    def run(self) -> tuple[list[Candidate], dict[str, Path], str]:
        """Candidates, best first, the folder of each, and the rule by which they are ordered."""
        job = self._job
        names = sorted(self._paths, key=lambda name: self._steps[name])
        now = uptime()
        share = len(names) / (len(names) + 1) if job.average > 1 else 1.0  # the rest is the average's
        race = Race(
            names,
            self._losses.weights,
            self._measure,
            seed=job.seed,
            until=now + share * (job.measure_until - now) if math.isfinite(job.until) else math.inf,
            known={name: c.validation_loss for name, c in self._known.items()},
            on_slice=self._on_slice,
        )
        standings = race.run()
        usable = [s for s in standings if math.isfinite(s.loss) and s.name not in self._unreadable]
        if job.average > 1 and len(usable) > 1:
            usable = self._try_average(race, usable)
        self._rows = race.order[: race.num_rows]
        return [self._candidate(s) for s in usable], self._paths, _rule(race)

    def with_base(self, candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
        """All candidates by their step behind the base, which runs over the rows of the race if it was not measured."""
        if self._job.base_loss is not None or not self._rows:
            return with_base(candidates, self._job.base_loss)
        try:
            loss = round(self._losses.base_mean(self._rows), 6)
        except TimeUp:
            return with_base(candidates, None)
        return with_base(candidates, loss, measured_by="picker", num_rows=len(self._rows))

    @property
    def rejected(self) -> list[Dropped]:
        """Checkpoints whose loss is no number, and why."""
        return [
            Dropped(unit="checkpoint", id=name, reason="not_finite", detail=why)
            for name, why in self._unreadable.items()
        ]

    def _measure(self, name: str, rows: Sequence[int]) -> Sequence[float]:
        if name in self._unreadable:
            return [math.nan] * len(rows)
        try:
            sums = self._losses.sums(self._paths[name], rows)
        except PredictionError as e:
            self._unreadable[name] = str(e)
            return [math.nan] * len(rows)
        if not all(map(math.isfinite, sums)):
            self._unreadable[name] = "its validation loss is no finite number"
        return sums

    def _try_average(self, race: Race, usable: list[Standing]) -> list[Standing]:
        """The average of the best, first if it is better than the best of them."""
        best = [s.name for s in usable[: self._job.average]]
        name = f"average of {', '.join(sorted(best, key=lambda n: self._steps[n]))}"
        try:
            self._paths[name] = average_adapters([self._paths[n] for n in best], self.average_folder)
        except (CheckpointError, OSError) as e:
            self._unreadable[name] = str(e)
            return usable
        self._steps[name] = max(self._steps[n] for n in best)
        race.until = self._job.measure_until
        wins = race.challenge(name, past=best[0])
        if not race.has_run(name):
            return usable
        standings = [race.standing(s.name) for s in usable]
        return [race.standing(name), *standings] if wins else [*standings, race.standing(name)]

    def _candidate(self, standing: Standing) -> Candidate:
        known = self._known.get(standing.name)
        return Candidate(
            checkpoint=standing.name,
            step=self._steps[standing.name],
            validation_loss=standing.loss,
            measured_by="trainer" if known else "picker",
            standard_error=standing.standard_error,
            num_rows=standing.num_rows,
            verdict=standing.verdict,
        )


def _rule(race: Race) -> str:
    if race.is_exact and not race.dropped:
        return RULE
    return (
        f"raced over {race.num_rows} of {race.total_rows} random validation rows: who is worse than the leader beyond "
        f"chance ({DOUBT:.0%} in all) drops out; then lowest token-weighted loss, of equals the earlier step"
    )


def _picked(
    job: PickJob,
    candidates: Sequence[Candidate],
    rejected: Sequence[Dropped],
    rule: str,
    seconds: float,
    shown: tuple[Candidate, ...],
) -> Picked:
    """The first candidate; `shown` are all, the base among them."""
    best = candidates[0]
    base_loss = shown[0].validation_loss if shown[0].checkpoint == BASE else None
    return Picked(
        checkpoint=best.checkpoint,
        step=best.step,
        validation_loss=best.validation_loss,
        rule=rule,
        base_model=str(job.base),
        precision="4bit" if job.four_bit else "16bit",
        candidates=shown,
        rejected=tuple(rejected),
        seconds=round(seconds, 3),
        better_than_base=None if base_loss is None else best.validation_loss < base_loss,
    )


def _adapter_bytes(path: Path) -> int:
    return sum((path / name).stat().st_size for name in ADAPTER_FILES if (path / name).is_file())
