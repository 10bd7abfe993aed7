"""The day's one clock: which phase every second went to.

    ledger = Ledger.start(path, budget_s=180)
    ledger.enter("load")
    ledger.report().charged_s

Append-only JSON lines, fsynced: the sum survives a kill. Time is counted by the machine's uptime, so setting the system
clock changes nothing; across a reboot the wall clock counts, and at least the time since boot. A heartbeat every two
seconds bounds what a kill hides. Downtime is charged as `down` (strict), or not at all (compute).

Where it sits: the supervisor writes it; picker, report and demo read it. Its arithmetic is in harness/budget/day.py.
"""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, TypedDict

import orjson
from pydantic import Field, TypeAdapter, ValidationError

from core.files import make_folder, naming, sync_directory
from harness.budget.clock import Clock
from harness.budget.day import (
    BEAT_S,
    PHASES,
    Charging,
    Day,
    Heartbeat,
    LedgerRecord,
    LedgerReport,
    PhaseChange,
    PhaseName,
    Resume,
    Span,
    Start,
    Stop,
    UnchargedWork,
    elapsed,
)
from harness.errors import HarnessError


class ClockReading(TypedDict):
    """The three clocks at one moment."""

    t: float
    up: float
    boot: str


class Ledger:
    """An open ledger."""

    def __init__(self, path: Path, *, clock: Clock | None = None) -> None:
        self._path, self._clock = path, clock or Clock()
        self._day = Day(_read(path))
        self._unwritten = self._end_of_abandoned()
        for record in self._unwritten:
            self._day.add(record)
        self._torn = path.is_file() and not path.read_bytes().endswith(b"\n")

    @classmethod
    def start(
        cls,
        path: Path,
        *,
        budget_s: float,
        run_id: str = "",
        charging: Charging = Charging.STRICT,
        clock: Clock | None = None,
    ) -> "Ledger":
        """Begins the day, or goes on with the one that `path` holds.

        Args:
            run_id: Identifies what is trained. A ledger with another `run_id` is deleted and a new one is started.
        """
        ledger = cls(path, clock=clock)
        if ledger._day.records and ledger._day.start.job == run_id:
            ledger._append(Resume(**ledger._reading()))
            return ledger
        make_folder(path.parent)
        with naming(path):
            path.unlink(missing_ok=True)
        ledger._day, ledger._unwritten, ledger._torn = Day(), [], False
        ledger._append(Start(**ledger._reading(), budget_s=budget_s, job=run_id, clock=charging))
        sync_directory(path.parent)
        return ledger

    @classmethod
    def of_run(cls, path: Path) -> "Ledger":
        """An existing ledger, to be read.

        Raises:
            HarnessError: there is none.
        """
        ledger = cls(path)
        if not ledger._day.records:
            raise HarnessError(f"{path}: no ledger. It is begun by `oneday train`; check the run folder.")
        return ledger

    @property
    def budget_s(self) -> float:
        """What the day may cost."""
        return self._day.start.budget_s

    @property
    def left_s(self) -> float:
        """Seconds to the deadline; negative past it."""
        since = 0.0 if self.is_closed else elapsed(self._last, self._now())
        return self.budget_s - self._day.charged_s - since

    @property
    def deadline(self) -> float:
        """On the machine's uptime clock (`harness.budget.clock`)."""
        return self._clock.up() + self.left_s

    @property
    def is_closed(self) -> bool:
        """True after `stop`."""
        return self._day.is_closed

    @property
    def phase(self) -> str:
        """That is charged now, or was last."""
        return self._day.phase or "idle"

    @property
    def is_alive(self) -> bool:
        """Somebody is at work and gave a sign of life lately."""
        return bool(self._day.records) and not self.is_closed and not self._is_gone(self._last)

    def spans(self) -> Iterator[Span]:
        """The charged day, phase after phase; neighbours of one phase are one."""
        return self._day.spans(self._now_if_alive())

    def moments(self) -> Iterator[tuple[float, float]]:
        """(wall-clock time, seconds charged so far) of every record and of now: what maps events onto the day."""
        return self._day.moments(self._now_if_alive())

    def enter(self, phase: PhaseName, *, at: float | None = None) -> None:
        """From now (or `at`, not before the last record) on, time is charged to `phase`."""
        assert phase in PHASES, phase
        if self._day.phase != phase:
            self._append(PhaseChange(**self._reading(), phase=phase), at=at)

    def beat(self) -> None:
        """A heartbeat, if the last record is old enough."""
        if self._clock.up() - self._last.up >= BEAT_S:
            self._append(self._now())

    def note_not_charged(self, what: str, seconds: float) -> None:
        """Work outside the budget, so that it is seen. No moment of the day: a closed one stays closed."""
        note = UnchargedWork(**self._reading(), what=what, seconds=round(seconds, 3))
        self._write(note)
        self._day.add(note)

    def stop(self, *, at_last: bool = False) -> None:
        """Nothing is charged any more, until a resume.

        Args:
            at_last: From the last record on instead of from now on: since then nothing was done.
        """
        if not self.is_closed:
            self._append(Stop(**self._reading()), at=self._last.up if at_last else None)

    @contextlib.contextmanager
    def working(self, phase: PhaseName) -> Iterator[None]:
        """Charges what is done after the trainer's end, or while it lies down, to `phase`.

        The time between the end of the day's training and this is not charged to any phase.
        """
        was_closed = self.is_closed
        if was_closed:
            self._append(PhaseChange(**self._reading(), phase=phase, after="stop"))
        else:
            self._append(Resume(**self._reading()))
            self.enter(phase)
        try:
            yield
        finally:
            self.stop() if was_closed else self.enter("idle")

    def report(self) -> LedgerReport:
        """Charged time up to the stop, or to now, or to the last sign of life of a run that is gone."""
        return self._day.report(self._now_if_alive())

    @property
    def _last(self) -> LedgerRecord:
        last = self._day.last
        assert last is not None, "the day has begun"
        return last

    def _now(self) -> Heartbeat:
        return Heartbeat(**self._reading())

    def _now_if_alive(self) -> Heartbeat | None:
        """A record of this moment, unless the day is over or its supervisor has gone."""
        return None if self.is_closed or self._is_gone(self._last) else self._now()

    def _reading(self) -> ClockReading:
        return {"t": round(self._clock.wall(), 3), "up": round(self._clock.up(), 3), "boot": self._clock.boot()}

    def _append(self, record: LedgerRecord, *, at: float | None = None) -> None:
        up = record.up if at is None else min(record.up, round(at, 3))
        last = self._day.last
        if last is not None and last.boot == record.boot:
            up = max(up, last.up)
        record = replace(record, up=up)
        for unwritten in (*self._unwritten, record):
            self._write(unwritten)
        self._unwritten = []
        self._day.add(record)

    def _write(self, record: LedgerRecord) -> None:
        said = {key: value for key, value in asdict(record).items() if value is not None}
        with naming(self._path), self._path.open("ab") as f:
            f.write((b"\n" if self._torn else b"") + orjson.dumps(said, option=orjson.OPT_APPEND_NEWLINE))
            f.flush()
            os.fsync(f.fileno())
        self._torn = False

    def _end_of_abandoned(self) -> list[LedgerRecord]:
        """Work after the end of a day that was killed: it ended with its last sign of life, and the day is closed."""
        turns = [record for record in self._day.records if not isinstance(record, Heartbeat)]
        last = self._day.last
        if last is None or not turns:
            return []
        after_stop = isinstance(turns[-1], PhaseChange) and turns[-1].after == "stop"
        return [Stop(t=last.t, up=last.up, boot=last.boot)] if after_stop and self._is_gone(last) else []

    def _is_gone(self, last: LedgerRecord) -> bool:
        """Whoever wrote this record gives no sign of life any more."""
        now = self._reading()
        return last.boot != now["boot"] or now["up"] - last.up > 2 * BEAT_S


_ADAPTER: TypeAdapter[LedgerRecord] = TypeAdapter(Annotated[LedgerRecord, Field(discriminator="event")])


def _read(path: Path) -> Iterator[LedgerRecord]:
    """Whole records; a line that a kill tore is skipped.

    Raises:
        HarnessError: a line is whole and no record, or the first one begins no day.
    """
    first = True
    for number, line in enumerate(path.read_bytes().splitlines() if path.is_file() else [], start=1):
        try:
            record = _ADAPTER.validate_json(line)
        except ValidationError as e:
            if e.errors()[0]["type"] == "json_invalid":
                continue
            raise HarnessError(f"{path}:{number}: no record of a ledger. Remove the line.") from e
        if first and not isinstance(record, Start):
            raise HarnessError(f"{path}: does not begin with the start of a day. Restore it, or move it away.")
        first = False
        yield record
