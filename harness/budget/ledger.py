"""The day's one clock: which phase every second went to.

    ledger = Ledger.start(path, budget_s=180)
    ledger.enter("load")
    ledger.report().charged_s

Append-only JSON lines, fsynced: the sum survives a kill. Time is counted by the machine's uptime, so setting the system
clock changes nothing; across a reboot the wall clock counts, and at least the time since boot. A heartbeat every two
seconds bounds what a kill hides. The time that a run lay down is charged as `down` (strict), or not at all (compute).

Where it sits: the supervisor writes it; picker, report and demo read it.
"""

import contextlib
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson

from core.files import naming, sync_directory
from harness.budget.clock import Clock
from harness.budget.day import (
    _PHASE_AFTER,
    BEAT_S,
    PHASES,
    Charging,
    LedgerReport,
    Span,
    _charged,
    _counts,
    _elapsed,
    _intervals,
    _pairs,
    _phase,
)
from harness.errors import HarnessError


class Ledger:
    """An open ledger."""

    def __init__(self, path: Path, *, clock: Clock | None = None) -> None:
        self._path, self._clock = path, clock or Clock()
        found = list(_read(path))
        self._notes = [r for r in found if r["event"] == "not_charged"]
        self._records = [r for r in found if r["event"] != "not_charged"]
        self._unwritten = self._end_of_abandoned()
        self._records += self._unwritten
        self._charged = _charged(self._records)
        self._torn = path.is_file() and not path.read_bytes().endswith(b"\n")

    @classmethod
    def start(
        cls,
        path: Path,
        *,
        budget_s: float,
        job: str = "",
        charging: Charging = Charging.STRICT,
        clock: Clock | None = None,
    ) -> "Ledger":
        """Begins the day, or goes on with the one that `path` holds.

        Args:
            job: Names what is trained. The ledger of another job (thrown away) is begun anew.
        """
        ledger = cls(path, clock=clock)
        if ledger._records and ledger._records[0].get("job") == job:
            ledger._append({"event": "resume"})
            return ledger
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        ledger._records, ledger._notes, ledger._unwritten = [], [], []
        ledger._charged, ledger._torn = 0.0, False
        ledger._append({"event": "start", "budget_s": budget_s, "job": job, "clock": charging})
        sync_directory(path.parent)
        return ledger

    @classmethod
    def of_run(cls, path: Path) -> "Ledger":
        """An existing ledger, to be read.

        Raises:
            HarnessError: there is none.
        """
        ledger = cls(path)
        if not ledger._records:
            raise HarnessError(f"{path}: no ledger. It is begun by `oneday train`; check the run folder.")
        return ledger

    @property
    def budget_s(self) -> float:
        """What the day may cost."""
        return float(self._records[0]["budget_s"])

    @property
    def left_s(self) -> float:
        """Seconds to the deadline; negative past it."""
        since = 0.0 if self.is_closed else _elapsed(self._records[-1], self._reading())
        return self.budget_s - self._charged - since

    @property
    def deadline(self) -> float:
        """On the machine's uptime clock (`harness.budget.clock`)."""
        return self._clock.up() + self.left_s

    @property
    def is_closed(self) -> bool:
        """True after `stop`."""
        return bool(self._records) and self._records[-1]["event"] == "stop"

    @property
    def phase(self) -> str:
        """That is charged now, or was last."""
        return _phase(self._records) or "idle"

    @property
    def is_alive(self) -> bool:
        """Somebody is at work and gave a sign of life lately."""
        return bool(self._records) and not self.is_closed and not self._is_gone(self._records[-1])

    def spans(self) -> Iterator["Span"]:
        """The charged day, phase after phase; neighbours of one phase are one."""
        span: Span | None = None
        at = 0.0
        for phase, seconds in _intervals(self._records, self._now_if_alive()):
            if not _counts(phase, self._records) or seconds <= 0:
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

    def moments(self) -> Iterator[tuple[float, float]]:
        """(wall-clock time, seconds charged so far) of every record and of now: what maps events onto the day."""
        charged = 0.0
        yield float(self._records[0]["t"]), charged
        for following, parts in _pairs(self._records, self._now_if_alive()):
            charged += sum(seconds for phase, seconds in parts if _counts(phase, self._records))
            yield float(following["t"]), charged

    def enter(self, phase: str, *, at: float | None = None) -> None:
        """From now (or `at`, not before the last record) on, time is charged to `phase`."""
        assert phase in PHASES, phase
        if _phase(self._records) != phase:
            self._append({"event": "phase", "phase": phase}, at=at)

    def beat(self) -> None:
        """A heartbeat, if the last record is old enough."""
        if self._clock.up() - self._records[-1]["up"] >= BEAT_S:
            self._append({"event": "beat"})

    def note_not_charged(self, what: str, seconds: float) -> None:
        """Work outside the budget, so that it is seen. No moment of the day: a closed one stays closed."""
        note = {**self._reading(), "event": "not_charged", "what": what, "seconds": round(seconds, 3)}
        self._write(note)
        self._notes.append(note)

    def stop(self, *, at_last: bool = False) -> None:
        """Nothing is charged any more, until a resume.

        Args:
            at_last: From the last record on instead of from now on: since then nothing was done.
        """
        if not self.is_closed:
            self._append({"event": "stop"}, at=self._records[-1]["up"] if at_last else None)

    @contextlib.contextmanager
    def working(self, phase: str) -> Iterator[None]:
        """Charges what is done after the trainer's end, or while it lies down, to `phase`.

        The time between the end of the day's training and this is nobody's: it is not charged.
        """
        was_closed = self.is_closed
        if was_closed:
            self._append({"event": "phase", "phase": phase, "after": "stop"})
        else:
            self._append({"event": "resume"})
            self.enter(phase)
        try:
            yield
        finally:
            self.stop() if was_closed else self.enter("idle")

    def report(self) -> LedgerReport:
        """Charged time up to the stop, or to now, or to the last sign of life of a run that is gone."""
        by_phase: dict[str, float] = defaultdict(float)
        charged, past_in_down = 0.0, 0.0
        passed_in_down = False
        for phase, seconds in _intervals(self._records, self._now_if_alive()):
            by_phase[phase] += seconds
            if passed_in_down:
                past_in_down += seconds
            elif _counts(phase, self._records):
                over = charged + seconds - self.budget_s
                if phase == "down" and over > 0:
                    passed_in_down, past_in_down = True, min(over, seconds)
                    seconds -= past_in_down
                charged += seconds
        return LedgerReport(
            budget_s=self.budget_s,
            charged_s=round(charged, 3),
            overshoot_s=round(max(0.0, charged - self.budget_s), 3),
            downtime_past_deadline_s=round(past_in_down, 3),
            by_phase={p: round(by_phase[p], 3) for p in PHASES if by_phase[p] > 0},
            resumes=sum(r["event"] == "resume" for r in self._records),
            clock=str(self._records[0]["clock"]),
            not_charged={r["what"]: r["seconds"] for r in self._notes},
        )

    def _now_if_alive(self) -> dict[str, Any] | None:
        """A record of this moment, unless the day is over or its supervisor has gone."""
        gone = self._is_gone(self._records[-1])
        return None if self.is_closed or gone else {**self._reading(), "event": "beat"}

    def _reading(self) -> dict[str, Any]:
        return {"t": round(self._clock.wall(), 3), "up": round(self._clock.up(), 3), "boot": self._clock.boot()}

    def _append(self, record: dict[str, Any], *, at: float | None = None) -> None:
        reading = self._reading()
        if at is not None:
            reading["up"] = min(reading["up"], round(at, 3))
        if self._records and self._records[-1]["boot"] == reading["boot"]:
            reading["up"] = max(reading["up"], self._records[-1]["up"])
        record = {**reading, **record}
        for unwritten in (*self._unwritten, record):
            self._write(unwritten)
        self._unwritten = []
        self._records.append(record)
        self._charged = _charged(self._records) if record["event"] == "resume" else self._charged + self._last_cost()

    def _write(self, record: dict[str, Any]) -> None:
        with naming(self._path), self._path.open("ab") as f:
            f.write((b"\n" if self._torn else b"") + orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE))
            f.flush()
            os.fsync(f.fileno())
        self._torn = False

    def _end_of_abandoned(self) -> list[dict[str, Any]]:
        """Work after the end of a day that was killed: it ended with its last sign of life, and the day is closed."""
        if not self._records:
            return []
        last = self._records[-1]
        phases = [r for r in self._records if r["event"] in (*_PHASE_AFTER, "phase")]
        abandoned = phases and phases[-1].get("after") == "stop" and self._is_gone(last)
        return [{**last, "event": "stop"}] if abandoned else []

    def _is_gone(self, last: Mapping[str, Any]) -> bool:
        """Whoever wrote this record gives no sign of life any more."""
        now = self._reading()
        return bool(last["boot"] != now["boot"] or now["up"] - last["up"] > 2 * BEAT_S)

    def _last_cost(self) -> float:
        """Of the interval that the newest record ended."""
        if len(self._records) < 2 or self._records[-2]["event"] == "stop":
            return 0.0
        return _elapsed(self._records[-2], self._records[-1])


def _read(path: Path) -> Iterator[dict[str, Any]]:
    """Whole records; a line that a kill tore is skipped.

    Raises:
        HarnessError: a line is whole and no record, or the first one begins no day.
    """
    first = True
    for number, line in enumerate(path.read_bytes().splitlines() if path.is_file() else [], start=1):
        with contextlib.suppress(orjson.JSONDecodeError):
            record = orjson.loads(line)
            if not _is_record(record):
                raise HarnessError(f"{path}:{number}: no record of a ledger. Remove the line.")
            if first and record["event"] != "start":
                raise HarnessError(f"{path}: does not begin with the start of a day. Restore it, or move it away.")
            first = False
            yield record


def _is_record(record: Any) -> bool:
    """Whether it says what its event needs."""
    if not isinstance(record, dict):
        return False
    event = record.get("event")
    found = [
        all(_is_number(record.get(name)) for name in ("t", "up")),
        isinstance(record.get("boot"), str),
        event in ("start", "resume", "beat", "stop", "phase", "not_charged"),
        event != "start" or (_is_number(record.get("budget_s")) and record["budget_s"] > 0),
        event != "start" or record.get("clock") in list(Charging),
        event != "phase" or record.get("phase") in PHASES,
        event != "not_charged" or (isinstance(record.get("what"), str) and _is_number(record.get("seconds"))),
    ]
    return all(found)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)
