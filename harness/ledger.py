"""The day's one clock: which phase every second went to.

    ledger = Ledger.start(path, budget_s=180)
    ledger.enter("load")
    ledger.report().charged_s

Append-only JSON lines, fsynced: the sum survives a kill. A run that is resumed goes on with the same start; the time
it lay down is charged as `down` (the strict clock).

Where it sits: the supervisor writes it; picker, report and demo read it.
"""

import os
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from curation.stage import read_jsonl, sync_directory

PHASES = ("load", "pack", "train", "evaluate", "save", "pick", "idle", "down")


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerReport:
    """Where the budget went. Seconds."""

    budget_s: float
    charged_s: float
    overshoot_s: float
    by_phase: Mapping[str, float]
    resumes: int


class Ledger:
    """An open ledger. `now` is passed in so that tests own the clock."""

    def __init__(self, path: Path, *, now: Callable[[], float] = time.time) -> None:
        self._path, self._now = path, now
        self._records: list[dict[str, Any]] = list(read_jsonl(path)) if path.is_file() else []

    @classmethod
    def start(cls, path: Path, *, budget_s: float, job: str = "", now: Callable[[], float] = time.time) -> "Ledger":
        """Begins the day, or goes on with the one that `path` holds.

        Args:
            job: Names what is trained. The ledger of another job (thrown away with --redo) is begun anew.
        """
        ledger = cls(path, now=now)
        if ledger._records and ledger._records[0].get("job") == job:
            ledger._append({"event": "resume"})
            return ledger
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        ledger._records.clear()
        ledger._append({"event": "start", "budget_s": budget_s, "job": job})
        sync_directory(path.parent)
        return ledger

    @property
    def budget_s(self) -> float:
        """What the day may cost."""
        return float(self._records[0]["budget_s"])

    @property
    def deadline(self) -> float:
        """Unix time."""
        return float(self._records[0]["t"]) + self.budget_s

    @property
    def left_s(self) -> float:
        """Seconds to the deadline; negative past it."""
        return self.deadline - self._now()

    @property
    def is_closed(self) -> bool:
        """True after `stop`."""
        return bool(self._records) and self._records[-1]["event"] == "stop"

    def enter(self, phase: str, *, at: float | None = None) -> None:
        """From now (or `at`, not before the last record) on, time is charged to `phase`."""
        assert phase in PHASES, phase
        if self._records[-1].get("phase") != phase:
            self._append({"event": "phase", "phase": phase}, at=at)

    def stop(self) -> None:
        """Nothing is charged any more, until a resume."""
        if not self.is_closed:
            self._append({"event": "stop"})

    def report(self) -> LedgerReport:
        """Charged time up to the stop, or to now."""
        end = self._records[-1]["t"] if self.is_closed else self._now()
        by_phase: dict[str, float] = defaultdict(float)
        phase = "load"
        for record, following in zip(self._records, [*self._records[1:], {"t": end}], strict=True):
            phase = {"phase": record.get("phase", phase), "stop": "idle", "resume": "load"}.get(record["event"], phase)
            charged_to = "down" if following.get("event") == "resume" else phase
            by_phase[charged_to] += following["t"] - record["t"]
        charged = end - self._records[0]["t"]
        return LedgerReport(
            budget_s=self.budget_s,
            charged_s=round(charged, 3),
            overshoot_s=round(max(0.0, charged - self.budget_s), 3),
            by_phase={p: round(by_phase[p], 3) for p in PHASES if by_phase[p] > 0},
            resumes=sum(r["event"] == "resume" for r in self._records),
        )

    def _append(self, record: dict[str, Any], *, at: float | None = None) -> None:
        last = self._records[-1]["t"] if self._records else 0.0
        record = {"t": max(last, at if at is not None else self._now()), **record}
        with self._path.open("ab") as f:
            f.write(orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE))
            f.flush()
            os.fsync(f.fileno())
        self._records.append(record)
