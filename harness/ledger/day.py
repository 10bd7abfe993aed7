"""The records of a run's ledger, and the charged time, phases and spans computed from them. No clock and no file.

    day = Day([Start(t=0, up=0, boot="b", budget_s=60, clock=Charging.STRICT)])
    day.add(PhaseChange(t=5, up=5, boot="b", phase="train"))
    day.charged_s                     # 5.0

Where it sits: the ledger reads and writes these records.
"""

import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Annotated, Literal, TypeAlias, get_args

from pydantic import Field, FiniteFloat

PhaseName = Literal["load", "pack", "train", "evaluate", "save", "pick", "export", "generate", "score", "idle", "down"]
PHASES: tuple[str, ...] = get_args(PhaseName)

CLOSED = "closed"
"""Phase of the time between the end of the run and later work. It is not charged."""

BEAT_S = 2.0
"""Interval between heartbeats in seconds. A kill hides at most this much work."""


class Charging(StrEnum):
    """Whether downtime is charged to the budget."""

    STRICT = "strict"
    """Downtime is charged."""
    COMPUTE = "compute"
    """Downtime is not charged; the deadline moves back by it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """The fields of every line of the ledger."""

    t: FiniteFloat
    """Wall-clock time."""
    up: FiniteFloat
    """Time on the uptime clock (`harness.budget.clock`)."""
    boot: str
    """Identifier of the boot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start(Record):
    """The budget's clock starts."""

    event: Literal["start"] = "start"
    budget_s: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    job: str = ""
    """Identifier of the run."""
    clock: Charging


@dataclass(frozen=True, slots=True, kw_only=True)
class Resume(Record):
    """A supervisor continues the run."""

    event: Literal["resume"] = "resume"


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseChange(Record):
    """Time is charged to another phase from here on."""

    event: Literal["phase"] = "phase"
    phase: PhaseName
    after: Literal["stop"] | None = None
    """`stop` marks work after the end of training, such as a later pick."""
    account: str | None = None
    """The training or generation of a study that time is charged to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetChange(Record):
    """The budget is another one from here on."""

    event: Literal["budget"] = "budget"
    budget_s: Annotated[float, Field(gt=0, allow_inf_nan=False)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat(Record):
    """The process that charges time was alive."""

    event: Literal["beat"] = "beat"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop(Record):
    """Charging ends."""

    event: Literal["stop"] = "stop"


@dataclass(frozen=True, slots=True, kw_only=True)
class UnchargedWork(Record):
    """Work outside the budget, such as a rehearsal. It does not split the charged time."""

    event: Literal["not_charged"] = "not_charged"
    what: str
    seconds: FiniteFloat


LedgerRecord: TypeAlias = Start | Resume | PhaseChange | BudgetChange | Heartbeat | Stop | UnchargedWork


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerReport:
    """The charged time of a run, in seconds."""

    budget_s: float
    charged_s: float
    overshoot_s: float
    """Charged work past the deadline."""
    downtime_past_deadline_s: float
    """Time past a deadline that passed during downtime, up to the end, publishing included. It is not charged."""
    by_phase: Mapping[str, float]
    resumes: int
    clock: str = Charging.STRICT
    not_charged: Mapping[str, float] | None = None
    """Seconds of each kind of work outside the budget (rehearsal, export)."""
    by_account: Mapping[str, float] | None = None
    """Seconds charged to each account of a study."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """An interval of charged time in one phase."""

    phase: str
    start_s: float
    seconds: float


class Day:
    """The records of a run in the order in which they were written. The first one is a `Start`."""

    def __init__(self, records: Iterable[LedgerRecord] = ()) -> None:
        given = list(records)
        self.uncharged = [record for record in given if isinstance(record, UnchargedWork)]
        self.records: list[LedgerRecord] = [record for record in given if not isinstance(record, UnchargedWork)]
        self.charged_s = self._sum()
        """Seconds charged up to the last record."""
        budgets = [record.budget_s for record in self.records if isinstance(record, Start | BudgetChange)]
        self.budget_s = budgets[-1] if budgets else 0.0
        """By the newest record that sets it."""

    @property
    def start(self) -> Start:
        """The first record."""
        first = self.records[0]
        assert isinstance(first, Start), "a ledger begins with its start"
        return first

    @property
    def account(self) -> str:
        """The account that time is charged to; empty: none."""
        for record in reversed(self.records):
            if (account := _account_after(record)) is not None:
                return account
        return ""

    @property
    def last(self) -> LedgerRecord | None:
        """The newest record; None if there is none."""
        return self.records[-1] if self.records else None

    @property
    def is_closed(self) -> bool:
        """Whether the newest record is a stop."""
        return isinstance(self.last, Stop)

    @property
    def phase(self) -> str | None:
        """The current phase, or the last one of a stopped run; None before the first record."""
        for record in reversed(self.records):
            if (phase := _phase_after(record)) is not None:
                return phase
        return None

    def add(self, record: LedgerRecord) -> None:
        """Appends a record and updates `charged_s`."""
        if isinstance(record, UnchargedWork):
            self.uncharged.append(record)
            return
        before = self.last
        self.records.append(record)
        if isinstance(record, Start | BudgetChange):
            self.budget_s = record.budget_s
        if isinstance(record, Resume):
            self.charged_s = self._sum()
        elif before is not None and not isinstance(before, Stop):
            self.charged_s += elapsed(before, record)

    def spans(self, now: Heartbeat | None) -> Iterator[Span]:
        """The charged time up to `now` in order; adjacent intervals of one phase are merged."""
        span: Span | None = None
        at = 0.0
        for phase, seconds in self._parts(now):
            if not self._is_charged(phase) or seconds <= 0:
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
            charged += sum(seconds for phase, seconds in parts if self._is_charged(phase))
            yield following.t, charged

    def report(self, now: Heartbeat | None) -> LedgerReport:
        """The charged time up to the stop, to `now`, or to the last record."""
        by_phase: dict[str, float] = defaultdict(float)
        budget_s, by_account = self.budget_s, self._by_account(now)
        charged_s, past_deadline_s = 0.0, 0.0
        passed_in_downtime = False
        for phase, seconds in self._parts(now):
            by_phase[phase] += seconds
            if passed_in_downtime:
                past_deadline_s += seconds
            elif self._is_charged(phase):
                over_s = charged_s + seconds - budget_s
                if phase == "down" and over_s > 0:
                    passed_in_downtime, past_deadline_s = True, min(over_s, seconds)
                    seconds -= past_deadline_s
                charged_s += seconds
        return LedgerReport(
            budget_s=budget_s,
            charged_s=round(charged_s, 3),
            overshoot_s=round(max(0.0, charged_s - budget_s), 3),
            downtime_past_deadline_s=round(past_deadline_s, 3),
            by_phase={p: round(by_phase[p], 3) for p in PHASES if by_phase[p] > 0},
            resumes=sum(isinstance(record, Resume) for record in self.records),
            clock=str(self.start.clock),
            not_charged={record.what: record.seconds for record in self.uncharged},
            by_account={name: round(spent, 3) for name, spent in by_account.items()} or None,
        )

    def _by_account(self, now: Heartbeat | None) -> dict[str, float]:
        """Charged seconds of each account. Downtime belongs to none."""
        found: dict[str, float] = {}
        account = ""
        for record, (_, parts) in zip(self.records, self._intervals(now), strict=False):
            after = _account_after(record)
            account = account if after is None else after
            if account:
                spent = sum(seconds for phase, seconds in parts if phase != "down" and self._is_charged(phase))
                found[account] = found.get(account, 0.0) + spent
        return found

    def _sum(self) -> float:
        return sum(seconds for phase, seconds in self._parts(None) if self._is_charged(phase))

    def _is_charged(self, phase: str) -> bool:
        return phase != CLOSED and (phase != "down" or self.start.clock is Charging.STRICT)

    def _parts(self, now: Heartbeat | None) -> Iterator[tuple[str, float]]:
        """The (phase, seconds) between consecutive records."""
        for _, parts in self._intervals(now):
            yield from parts

    def _intervals(self, now: Heartbeat | None) -> Iterator[tuple[LedgerRecord, list[tuple[str, float]]]]:
        """Every record but the first, with the (phase, seconds) since the previous record.

        Up to one heartbeat of the time before a resume may have been work and is charged as such. The part past the
        deadline was not, because every live process ends at the deadline or leaves a record.
        """
        phase = "load"
        budget_s = left_s = self.start.budget_s if self.records else 0.0
        for record, following in itertools.pairwise([*self.records, *([now] if now else [])]):
            phase = _phase_after(record) or phase
            seconds = elapsed(record, following)
            parts = [(phase, seconds)]
            if isinstance(following, Resume):
                was_working = not isinstance(record, Stop) and phase != "idle"
                hidden_s = min(seconds, BEAT_S, max(0.0, left_s)) if was_working else 0.0
                parts = [(phase, hidden_s), ("down", seconds - hidden_s)]
            elif isinstance(record, Stop):
                parts = [(CLOSED, seconds)]
            if isinstance(following, BudgetChange):
                left_s += following.budget_s - budget_s
                budget_s = following.budget_s
            left_s -= sum(amount for name, amount in parts if self._is_charged(name))
            yield following, parts


def _phase_after(record: LedgerRecord) -> str | None:
    """The phase that begins with a record; None if the phase does not change."""
    match record:
        case Start() | Resume():
            return "load"
        case Stop():
            return "idle"
        case PhaseChange():
            return record.phase
    return None


def _account_after(record: LedgerRecord) -> str | None:
    """The account that time is charged to after a record; None if that does not change."""
    match record:
        case Start() | Resume() | Stop():
            return ""
        case PhaseChange():
            return record.account or ""
    return None


def elapsed(before: Record, after: Record) -> float:
    """Seconds between two records.

    Within a boot this is the difference in uptime. Across a reboot it is the difference in wall-clock time, and at
    least the new uptime.
    """
    if before.boot == after.boot:
        return max(0.0, after.up - before.up)
    return max(0.0, after.t - before.t, after.up)
