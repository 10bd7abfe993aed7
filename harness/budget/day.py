"""A day: the ledger's records, and the arithmetic from them to phases, spans and the charged sum. No clock, no file.

    day = Day([Start(t=0, up=0, boot="b", budget_s=60, clock=Charging.STRICT)])
    day.add(PhaseChange(t=5, up=5, boot="b", phase="train"))
    day.charged_s                     # 5.0

Where it sits: below the ledger, which reads and writes the records.
"""

import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Annotated, Literal, TypeAlias, get_args

from pydantic import Field, FiniteFloat

PhaseName = Literal["load", "pack", "train", "evaluate", "save", "pick", "idle", "down"]
PHASES: tuple[str, ...] = get_args(PhaseName)


CLOSED = "closed"
"""Between the end of a day and what is done later on: not charged."""


BEAT_S = 2.0
"""Between heartbeats: the most that a kill can hide."""


class Charging(StrEnum):
    """What happens to the time in which nothing ran."""

    STRICT = "strict"
    """Charged: the day goes on."""
    COMPUTE = "compute"
    """Not charged: the deadline moves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What every line of the ledger says."""

    t: FiniteFloat
    """Wall-clock time."""
    up: FiniteFloat
    """On the uptime clock."""
    boot: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Start(Record):
    """The day begins."""

    event: Literal["start"] = "start"
    budget_s: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    job: str = ""
    """Names what is trained."""
    clock: Charging


@dataclass(frozen=True, slots=True, kw_only=True)
class Resume(Record):
    """A supervisor goes on with the day."""

    event: Literal["resume"] = "resume"


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseChange(Record):
    """From now on time is charged to another phase."""

    event: Literal["phase"] = "phase"
    phase: PhaseName
    after: Literal["stop"] | None = None
    """Work after the end of the day's training."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat(Record):
    """A sign of life."""

    event: Literal["beat"] = "beat"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop(Record):
    """Nothing is charged any more."""

    event: Literal["stop"] = "stop"


@dataclass(frozen=True, slots=True, kw_only=True)
class UnchargedWork(Record):
    """Work outside the budget. It is no moment of the day."""

    event: Literal["not_charged"] = "not_charged"
    what: str
    seconds: FiniteFloat


LedgerRecord: TypeAlias = Start | Resume | PhaseChange | Heartbeat | Stop | UnchargedWork


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerReport:
    """Where the budget went. Seconds."""

    budget_s: float
    charged_s: float
    overshoot_s: float
    """Work past the deadline."""
    downtime_past_deadline_s: float
    """The deadline passed while nothing ran: from there to the end, publishing included. Not charged."""
    by_phase: Mapping[str, float]
    resumes: int
    clock: str = Charging.STRICT
    not_charged: Mapping[str, float] | None = None
    """What was done outside the budget (rehearsal, export)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A stretch of the charged day."""

    phase: str
    start_s: float
    seconds: float


class Day:
    """Records in the order they were written. The first one is a `Start`."""

    def __init__(self, records: Iterable[LedgerRecord] = ()) -> None:
        found = list(records)
        self.notes = [record for record in found if isinstance(record, UnchargedWork)]
        self.records: list[LedgerRecord] = [record for record in found if not isinstance(record, UnchargedWork)]
        self.charged_s = self._sum()
        """Up to the last record."""

    @property
    def start(self) -> Start:
        """The first record."""
        first = self.records[0]
        assert isinstance(first, Start), "a day begins with its start"
        return first

    @property
    def last(self) -> LedgerRecord | None:
        """The newest record; None before the day has begun."""
        return self.records[-1] if self.records else None

    @property
    def is_closed(self) -> bool:
        """Nothing was written after the end."""
        return isinstance(self.last, Stop)

    @property
    def phase(self) -> str | None:
        """That is charged now, or was last; None before the first."""
        for record in reversed(self.records):
            if (phase := _phase_after(record)) is not None:
                return phase
        return None

    def add(self, record: LedgerRecord) -> None:
        """One more record."""
        if isinstance(record, UnchargedWork):
            self.notes.append(record)
            return
        before = self.last
        self.records.append(record)
        if isinstance(record, Resume):
            self.charged_s = self._sum()
        elif before is not None and not isinstance(before, Stop):
            self.charged_s += elapsed(before, record)

    def spans(self, now: Heartbeat | None) -> Iterator[Span]:
        """The charged day up to `now`, phase after phase; neighbours of one phase are one."""
        span: Span | None = None
        at = 0.0
        for phase, seconds in self._parts(now):
            if not self._counts(phase) or seconds <= 0:
                continue
            if span is not None and span.phase == phase:
                span = replace(span, seconds=span.seconds + seconds)
            else:
                if span is not None:
                    yield span
                span = Span(phase=phase, start_s=at, seconds=seconds)
            at += seconds
        if span is not None:
            yield span

    def moments(self, now: Heartbeat | None) -> Iterator[tuple[float, float]]:
        """(wall-clock time, seconds charged so far) of every record and of `now`."""
        charged = 0.0
        yield self.start.t, charged
        for following, parts in self._intervals(now):
            charged += sum(seconds for phase, seconds in parts if self._counts(phase))
            yield following.t, charged

    def report(self, now: Heartbeat | None) -> LedgerReport:
        """Charged time up to the stop, or to `now`, or to the last record."""
        by_phase: dict[str, float] = defaultdict(float)
        charged, past_in_down = 0.0, 0.0
        passed_in_down = False
        for phase, seconds in self._parts(now):
            by_phase[phase] += seconds
            if passed_in_down:
                past_in_down += seconds
            elif self._counts(phase):
                over = charged + seconds - self.start.budget_s
                if phase == "down" and over > 0:
                    passed_in_down, past_in_down = True, min(over, seconds)
                    seconds -= past_in_down
                charged += seconds
        return LedgerReport(
            budget_s=self.start.budget_s,
            charged_s=round(charged, 3),
            overshoot_s=round(max(0.0, charged - self.start.budget_s), 3),
            downtime_past_deadline_s=round(past_in_down, 3),
            by_phase={p: round(by_phase[p], 3) for p in PHASES if by_phase[p] > 0},
            resumes=sum(isinstance(record, Resume) for record in self.records),
            clock=str(self.start.clock),
            not_charged={note.what: note.seconds for note in self.notes},
        )

    def _sum(self) -> float:
        return sum(seconds for phase, seconds in self._parts(None) if self._counts(phase))

    def _counts(self, phase: str) -> bool:
        return phase != CLOSED and (phase != "down" or self.start.clock is Charging.STRICT)

    def _parts(self, now: Heartbeat | None) -> Iterator[tuple[str, float]]:
        """(phase, seconds) between records."""
        for _, parts in self._intervals(now):
            yield from parts

    def _intervals(self, now: Heartbeat | None) -> Iterator[tuple[LedgerRecord, list[tuple[str, float]]]]:
        """Every record but the first, with the phases since the one before.

        Of the time before a resume, one heartbeat may have been work; not past the deadline, at which everything that
        is alive ends or leaves a record.
        """
        phase = "load"
        left = self.start.budget_s if self.records else 0.0
        for record, following in itertools.pairwise([*self.records, *([now] if now else [])]):
            phase = _phase_after(record) or phase
            seconds = elapsed(record, following)
            parts = [(phase, seconds)]
            if isinstance(following, Resume):
                worked = not isinstance(record, Stop) and phase != "idle"
                hidden = min(seconds, BEAT_S, max(0.0, left)) if worked else 0.0
                parts = [(phase, hidden), ("down", seconds - hidden)]
            elif isinstance(record, Stop):
                parts = [(CLOSED, seconds)]
            left -= sum(amount for name, amount in parts if self._counts(name))
            yield following, parts


def _phase_after(record: LedgerRecord) -> str | None:
    """That a record begins; None: it changes nothing."""
    match record:
        case Start() | Resume():
            return "load"
        case Stop():
            return "idle"
        case PhaseChange():
            return record.phase
    return None


def elapsed(before: Record, after: Record) -> float:
    """Seconds between two records: uptime within a boot; across a reboot wall time, and no less than the new uptime."""
    if before.boot == after.boot:
        return max(0.0, after.up - before.up)
    return max(0.0, after.t - before.t, after.up)
