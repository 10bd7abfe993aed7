"""The arithmetic of a day: from the ledger's records to phases, spans and the charged sum. No clock, no file.

Where it sits: below the ledger, which writes the records.
"""

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

PHASES = ("load", "pack", "train", "evaluate", "save", "pick", "idle", "down")


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


def _phase(records: list[dict[str, Any]]) -> str | None:
    """That is charged now; None before the first."""
    for record in reversed(records):
        if record["event"] in _PHASE_AFTER:
            return _PHASE_AFTER[record["event"]]
        if record["event"] == "phase":
            return str(record["phase"])
    return None


_PHASE_AFTER = {"start": "load", "resume": "load", "stop": "idle"}


def _elapsed(before: Mapping[str, Any], after: Mapping[str, Any]) -> float:
    """Seconds between two records: uptime within a boot; across a reboot wall time, and no less than the new uptime."""
    if before["boot"] == after["boot"]:
        return max(0.0, float(after["up"]) - float(before["up"]))
    return max(0.0, float(after["t"]) - float(before["t"]), float(after["up"]))


def _intervals(records: list[dict[str, Any]], now: dict[str, Any] | None) -> Iterator[tuple[str, float]]:
    """(phase, seconds) between records."""
    for _, parts in _pairs(records, now):
        yield from parts


def _pairs(
    records: list[dict[str, Any]], now: dict[str, Any] | None
) -> Iterator[tuple[dict[str, Any], list[tuple[str, float]]]]:
    """Every record but the first, with the phases since the one before.

    Of the time before a resume, one heartbeat may have been work; not past the deadline, at which everything that is
    alive ends or leaves a record.
    """
    phase = "load"
    left = float(records[0].get("budget_s", math.inf)) if records else math.inf
    for record, following in itertools.pairwise([*records, *([now] if now else [])]):
        phase = _PHASE_AFTER.get(record["event"], record.get("phase", phase))
        seconds = _elapsed(record, following)
        parts = [(phase, seconds)]
        if following["event"] == "resume":
            worked = record["event"] != "stop" and phase != "idle"
            hidden = min(seconds, BEAT_S, max(0.0, left)) if worked else 0.0
            parts = [(phase, hidden), ("down", seconds - hidden)]
        elif record["event"] == "stop":
            parts = [(CLOSED, seconds)]
        left -= sum(amount for name, amount in parts if _counts(name, records))
        yield following, parts


def _counts(phase: str, records: list[dict[str, Any]]) -> bool:
    return phase != CLOSED and (phase != "down" or records[0]["clock"] == Charging.STRICT)


def _charged(records: list[dict[str, Any]]) -> float:
    """Seconds up to the last record."""
    return sum(seconds for phase, seconds in _intervals(records, None) if _counts(phase, records))
