"""The ledger of a run: the phase to which every second of the budget is charged.

    ledger = Ledger.start(path, budget_s=180)
    ledger.enter("load")
    ledger.report().charged_s

The file holds append-only JSON lines and is fsynced after each, so that the charged time survives a kill. Time is
measured by the machine's uptime, so that setting the system clock has no effect; across a reboot the wall-clock time
counts, and at least the time since boot. A kill hides at most one heartbeat, which is two seconds. Downtime is charged
to the phase `down` with the strict clock, and not charged with the compute clock.

Where it sits: the supervisor writes it; picker, report and demo read it. Its arithmetic is in harness/ledger/day.py.
"""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Self, TypedDict

import orjson
from pydantic import Field, TypeAdapter, ValidationError

from core.files import make_folder, naming, sync_directory
from harness.budget.clock import Clock
from harness.errors import HarnessError
from harness.ledger.day import (
    BEAT_S,
    PHASES,
    BudgetChange,
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


class ClockReading(TypedDict):
    """The wall-clock time, the uptime and the boot identifier at one moment."""

    t: float
    up: float
    boot: str


class Ledger:
    """A ledger file that is open for reading and appending."""

    def __init__(self, path: Path, *, clock: Clock | None = None) -> None:
        self._path, self._clock = path, clock or Clock()
        self._day = Day(_read(path))
        self._unwritten = self._stop_of_abandoned_work()
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
        reopens: bool = False,
    ) -> Self:
        """Starts a ledger, or resumes the one in `path`.

        Args:
            run_id: Identifies what is trained. A ledger with another `run_id` is set aside and a new one is started.
            reopens: The time since a stop is not charged, whatever the clock.
        """
        ledger = cls(path, clock=clock)
        if ledger._day.records and ledger._day.start.job == run_id:
            if reopens and ledger.is_closed:
                ledger._append(PhaseChange(**ledger._reading(), phase="idle", after="stop"))
            else:
                ledger._append(Resume(**ledger._reading()))
            return ledger
        make_folder(path.parent)
        if ledger._day.records:
            with naming(path):
                path.rename(_aside(path))
        with naming(path):
            path.unlink(missing_ok=True)
        ledger._day, ledger._unwritten, ledger._torn = Day(), [], False
        ledger._append(Start(**ledger._reading(), budget_s=budget_s, job=run_id, clock=charging))
        sync_directory(path.parent)
        return ledger

    @classmethod
    def of_run(cls, path: Path) -> "Ledger":
        """Opens the existing ledger of a run.

        Raises:
            HarnessError: The file does not exist or holds no record.
        """
        ledger = cls(path)
        if not ledger._day.records:
            raise HarnessError(f"{path}: no ledger. `oneday train` starts it; check the run folder.")
        return ledger

    @property
    def budget_s(self) -> float:
        """The budget in seconds."""
        return self._day.budget_s

    @property
    def charging(self) -> Charging:
        """Whether downtime is charged."""
        return self._day.start.clock

    @property
    def charged_s(self) -> float:
        """Seconds charged up to the last record."""
        return self._day.charged_s

    @property
    def left_s(self) -> float:
        """Seconds until the deadline; negative after it."""
        since_last_s = 0.0 if self.is_closed else elapsed(self._last, self._now())
        return self.budget_s - self._day.charged_s - since_last_s

    @property
    def deadline(self) -> float:
        """The deadline on the uptime clock (`harness.budget.clock`)."""
        return self._clock.up() + self.left_s

    @property
    def is_closed(self) -> bool:
        """Whether charging has stopped."""
        return self._day.is_closed

    @property
    def phase(self) -> str:
        """The current phase, or the last one of a stopped run."""
        return self._day.phase or "idle"

    @property
    def is_alive(self) -> bool:
        """Whether the run is not stopped and its last record is recent."""
        return bool(self._day.records) and not self.is_closed and not self._is_gone(self._last)

    def spans(self) -> Iterator[Span]:
        """The charged time in order; adjacent intervals of one phase are merged."""
        return self._day.spans(self._now_if_alive())

    def moments(self) -> Iterator[tuple[float, float]]:
        """(wall-clock time, seconds charged so far) of every record and of now, to place events in charged time."""
        return self._day.moments(self._now_if_alive())

    def enter(self, phase: PhaseName, *, at: float | None = None, account: str = "") -> None:
        """Charges time to `phase` from now on, or from `at` on the uptime clock but not before the last record.

        Args:
            account: The training or generation of a study that pays.
        """
        assert phase in PHASES, phase
        if (self._day.phase, self._day.account) != (phase, account):
            self._append(PhaseChange(**self._reading(), phase=phase, account=account or None), at=at)

    def rebudget(self, budget_s: float) -> None:
        """Sets another budget for everything, what was charged before included."""
        if budget_s != self.budget_s:
            self._append(BudgetChange(**self._reading(), budget_s=budget_s))

    def beat(self) -> None:
        """Writes a heartbeat if the last record is at least `BEAT_S` old."""
        if self._clock.up() - self._last.up >= BEAT_S:
            self._append(self._now())

    def note_not_charged(self, what: str, seconds: float) -> None:
        """Records work outside the budget. A stopped ledger stays stopped."""
        record = UnchargedWork(**self._reading(), what=what, seconds=round(seconds, 3))
        self._write(record)
        self._day.add(record)

    def stop(self, *, at_last: bool = False) -> None:
        """Stops charging until a resume.

        Args:
            at_last: Stop at the time of the last record instead of now, because nothing was done since.
        """
        if not self.is_closed:
            self._append(Stop(**self._reading()), at=self._last.up if at_last else None)

    @contextlib.contextmanager
    def working(self, phase: PhaseName) -> Iterator[None]:
        """Charges the work of the block, done after training has ended or between two starts of it, to `phase`.

        The time between the end of training and this block is not charged to any phase.
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
        """The charged time up to the stop, to now, or to the last record of a run whose supervisor is dead."""
        return self._day.report(self._now_if_alive())

    @property
    def _last(self) -> LedgerRecord:
        last = self._day.last
        assert last is not None, "the ledger has a first record"
        return last

    def _now(self) -> Heartbeat:
        return Heartbeat(**self._reading())

    def _now_if_alive(self) -> Heartbeat | None:
        """A record of this moment; None if the run is stopped or its supervisor is dead."""
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
        line = {key: value for key, value in asdict(record).items() if value is not None}
        with naming(self._path), self._path.open("ab") as f:
            f.write((b"\n" if self._torn else b"") + orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
            f.flush()
            os.fsync(f.fileno())
        self._torn = False

    def _stop_of_abandoned_work(self) -> list[LedgerRecord]:
        """The missing stop of work that was killed after the end of training, at the time of its last record."""
        changes = [record for record in self._day.records if not isinstance(record, Heartbeat)]
        last = self._day.last
        if last is None or not changes:
            return []
        after_stop = isinstance(changes[-1], PhaseChange) and changes[-1].after == "stop"
        return [Stop(t=last.t, up=last.up, boot=last.boot)] if after_stop and self._is_gone(last) else []

    def _is_gone(self, last: LedgerRecord) -> bool:
        """Whether the process that wrote this record is dead: it has missed two heartbeats, or the machine rebooted."""
        now = self._reading()
        return last.boot != now["boot"] or now["up"] - last.up > 2 * BEAT_S


def _aside(path: Path) -> Path:
    """A free name beside it: a ledger is never deleted."""
    number = 1
    while (found := path.with_name(f"{path.stem}-{number}{path.suffix}")).exists():
        number += 1
    return found


_ADAPTER: TypeAdapter[LedgerRecord] = TypeAdapter(Annotated[LedgerRecord, Field(discriminator="event")])


def _read(path: Path) -> Iterator[LedgerRecord]:
    """The records of a file. A line that a kill truncated is skipped.

    Raises:
        HarnessError: A complete line is not a record, or the first record is not a start.
    """
    first = True
    for number, line in enumerate(path.read_bytes().splitlines() if path.is_file() else [], start=1):
        try:
            record = _ADAPTER.validate_json(line)
        except ValidationError as e:
            if e.errors()[0]["type"] == "json_invalid":
                continue
            raise HarnessError(f"{path}:{number}: not a ledger record. Remove the line.") from e
        if first and not isinstance(record, Start):
            raise HarnessError(f"{path}: the first record is not a start. Restore the file, or move it away.")
        first = False
        yield record
