"""The timed picker: measures checkpoints that have no validation loss within a given time, and publishes the best.

    picked = timed_pick(PickJob(folder=run, checkpoints=good, ..., until=uptime() + 600))

Checkpoints with a loss over all rows are not measured, except the best of them, so that the others can be compared with
it in pairs. An average of checkpoints is published instead of the best one if its loss is lower by the same test.

Where it sits: checkpoints + validation rows -> **timed pick** -> serve. `oneday train` picks by the losses that it
measured in training (harness/checkpoint/pick.py), which takes no time.
"""

import functools
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
from harness.checkpoint.average import write_average
from harness.checkpoint.averaging import Averaging, Measured, Trial
from harness.checkpoint.content import published
from harness.checkpoint.pick import BASE, RULE, Candidate, Picked, known_candidates, no_candidate, publish, with_base
from harness.checkpoint.race import ERROR_PROBABILITY, Race, Standing, TimeUp
from harness.checkpoint.seal import Checkpoint
from harness.checkpoint.trained_base import TrainedBase, find_trained_base
from harness.errors import BudgetError, CheckpointError

COPY_BYTES_PER_S = 100e6
"""Speed of a slow disk, for the time that is reserved to publish a checkpoint."""

PUBLISH_S = 0.3

OnSlice = Callable[[Race], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class PickJob:
    """The inputs of a timed pick."""

    folder: Path
    """Folder in which `08_pick` is written."""
    checkpoints: Sequence[Checkpoint]
    rejected: Sequence[Dropped]
    base: Path
    precision: Precision | Quantisation | None
    rows: Sequence[RowIds]
    """Validation rows; of pairs the chosen side and the rejected one, in turn."""
    beta: float | None = None
    """Of pairs: the recipe's `rl_beta`; None: the rows are no pairs."""
    seed: int = 2023
    averaging: Averaging = Averaging()
    """The averages that are tried after the checkpoints."""
    base_loss: float | None = None
    """Loss of the base over all rows, if it was measured before."""
    until: float = math.inf
    """Time on the uptime clock by which the pick must be published."""

    @property
    def measure_until(self) -> float:
        """Time on the uptime clock by which measuring must end, so that the checkpoint can be published in time."""
        largest = max((_bytes(c.path) for c in self.checkpoints), default=0)
        return self.until - PUBLISH_S - largest / COPY_BYTES_PER_S


def precision_name(precision: Precision | Quantisation | None) -> str:
    """As `picked.json` records it: `4bit`, `8bit` or `16bit`."""
    name = precision.precision if isinstance(precision, Quantisation) else precision
    return name if name in ("4bit", "8bit") else "16bit"


def timed_pick(
    job: PickJob, *, on_slice: OnSlice = lambda race: None, while_measuring: Callable[[], None] = lambda: None
) -> Picked:
    """Measures the checkpoints, chooses one and publishes it.

    Args:
        on_slice: Called after every slice of the race.
        while_measuring: Called before every forward pass.
    Raises:
        CheckpointError: No checkpoint can be picked; the message has the first reason.
        BudgetError: The time did not suffice for the first slice.
    """
    started_at = uptime()
    known = known_candidates(job.checkpoints)
    if len(known) == len(job.checkpoints) and not (job.averaging.num_trials and len(known) > 1):
        if not known:
            raise no_candidate(job.folder, job.rejected)
        best = next(c for c in job.checkpoints if c.path.name == known[0].checkpoint)
        return publish(
            job.folder / PICK, best.path, _picked(job, known, job.rejected, RULE, 0.0, with_base(known, job.base_loss))
        )
    measuring = _Measuring(job, known, on_slice, while_measuring)
    try:
        candidates, paths, rule = measuring.run()
        candidates_with_base = measuring.with_base(candidates)
    except TimeUp as e:
        raise BudgetError(
            f"the time was up before {len(job.checkpoints)} checkpoints were measured on their first rows. Give more "
            f"with `time=` (loading and measuring took {pretty(uptime() - started_at)})."
        ) from e
    rejected = [*job.rejected, *measuring.rejected]
    if not candidates:
        raise no_candidate(job.folder, rejected, mend="Save it again, or give `base=` of the model that it fits.")
    picked = _picked(job, candidates, rejected, rule, uptime() - started_at, candidates_with_base)
    path = paths[picked.checkpoint]
    trained = find_trained_base(path) or measuring.base
    picked = publish(job.folder / PICK, path, picked, trained=trained)
    shutil.rmtree(measuring.average_folder, ignore_errors=True)
    return picked


class _Measuring:
    """The race on a loaded model."""

    def __init__(
        self, job: PickJob, known: Sequence[Candidate], on_slice: OnSlice, while_measuring: Callable[[], None]
    ) -> None:
        from harness.checkpoint.loss import CheckpointLosses, PairLosses

        def before_batch() -> None:
            while_measuring()
            if uptime() > job.measure_until:
                raise TimeUp

        self._job, self._on_slice = job, on_slice
        self._known = {c.checkpoint: c for c in known}
        self._paths = {c.path.name: c.path for c in job.checkpoints}
        self._steps = {c.path.name: c.step for c in job.checkpoints}
        self._unreadable: dict[str, str] = {}
        load = CheckpointLosses if job.beta is None else functools.partial(PairLosses, beta=job.beta)
        self._losses = load(job.base, precision=job.precision, rows=job.rows, before_batch=before_batch)
        self._rows: Sequence[int] = ()
        self.average_folder = job.folder / PICK / "average"

    @property
    def base(self) -> TrainedBase:
        """The base as it was measured on: for adapters of a trainer that does not tell."""
        return TrainedBase(quantisation=self._losses.quantisation, fingerprint=model_fingerprint(self._job.base))

    def run(self) -> tuple[list[Candidate], dict[str, Path], str]:
        """Candidates, best first; the folder of each; and the rule of the order."""
        job = self._job
        names = sorted(self._paths, key=lambda name: self._steps[name])
        now = uptime()
        trials = job.averaging.num_trials
        share = len(names) / (len(names) + trials)  # the rest is for the averages
        race = Race(
            names,
            self._losses.num_answer_tokens,
            self._measure,
            seed=job.seed,
            until=now + share * (job.measure_until - now) if math.isfinite(job.until) else math.inf,
            known={name: c.validation_loss for name, c in self._known.items()},
            challengers=trials,
            on_slice=self._on_slice,
        )
        standings = race.run()
        usable = [s for s in standings if math.isfinite(s.loss) and s.name not in self._unreadable]
        measured = [Measured(s.name, self._steps[s.name], s.loss) for s in usable]
        averages = job.averaging.trials(measured) if len(usable) > 1 else []
        for number, trial in enumerate(averages):
            now = uptime()
            race.until = now + (job.measure_until - now) / (len(averages) - number)
            usable = self._try_average(race, usable, trial)
        self._rows = race.order[: race.num_rows]
        return [self._candidate(s) for s in usable], self._paths, _rule(race)

    def with_base(self, candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
        """The base and all candidates by step; a base without a loss is measured on the rows of the race."""
        if self._job.base_loss is not None or not self._rows:
            return with_base(candidates, self._job.base_loss)
        try:
            loss = round(self._losses.base_mean(self._rows), 6)
        except TimeUp:
            return with_base(candidates, None)
        return with_base(candidates, loss, measured_by="picker", num_rows=len(self._rows))

    @property
    def rejected(self) -> list[Dropped]:
        """Checkpoints without a finite loss, with their reasons."""
        return [
            Dropped(unit="checkpoint", id=name, reason="not_finite", detail=detail)
            for name, detail in self._unreadable.items()
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
            self._unreadable[name] = "its validation loss is not finite"
        return sums

    def _try_average(self, race: Race, usable: list[Standing], trial: Trial) -> list[Standing]:
        """Adds an average to the standings, in first place if it is better than the first."""
        name, winner = trial.name, usable[0].name
        folder = self.average_folder / trial.kind
        try:
            self._paths[name] = write_average(trial, [self._paths[n] for n in trial.members], folder)
        except (CheckpointError, OSError) as e:
            self._unreadable[name] = str(e)
            return usable
        self._steps[name] = max(self._steps[n] for n in trial.members)
        wins = race.challenge(name, winner=winner)
        self._remove_weights(self._paths[winner if wins else name])
        if not race.is_measured(name):
            return usable
        standings = [race.standing(s.name) for s in usable]
        return [race.standing(name), *standings] if wins else [*standings, race.standing(name)]

    def _remove_weights(self, loser: Path) -> None:
        """Frees the space of an average. Its configuration stays: the next adapter's shape is compared with it."""
        if loser.parent == self.average_folder:
            for file in loser.glob("*.safetensors"):
                file.unlink()

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
        f"lowest loss over {race.num_rows} of {race.total_rows} random validation rows; checkpoints "
        f"significantly worse than the leader ({ERROR_PROBABILITY:.0%} in all) were dropped; the earlier step of a tie"
    )


def _picked(
    job: PickJob,
    candidates: Sequence[Candidate],
    rejected: Sequence[Dropped],
    rule: str,
    seconds: float,
    candidates_with_base: tuple[Candidate, ...],
) -> Picked:
    """The choice of the first candidate."""
    best, first = candidates[0], candidates_with_base[0]
    base_loss = first.validation_loss if first.checkpoint == BASE else None
    return Picked(
        checkpoint=best.checkpoint,
        step=best.step,
        validation_loss=best.validation_loss,
        rule=rule,
        base_model=str(job.base),
        precision=precision_name(job.precision),
        candidates=candidates_with_base,
        rejected=tuple(rejected),
        seconds=round(seconds, 3),
        better_than_base=None if base_loss is None else best.validation_loss < base_loss,
    )


def _bytes(checkpoint: Path) -> int:
    return sum(path.stat().st_size for name in published(checkpoint) if (path := checkpoint / name).is_file())
