"""Drives one child: passes its events on, hands it a signal, watches for silence, and ends it for sure.

    ending = drive(child, EventReader(path), until=deadline, silence_s=lambda seen: 60.0)
    ending.how                        # Ended.BY_ITSELF

Where it sits: under the rehearsal and the supervisor.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from harness.axolotl_process import Child, EventReader, ask_to_stop, end, follow
from harness.budget.clock import uptime

Seen = Mapping[str, dict[str, Any]]
"""The last event of each name."""

LAST_WORDS_S = 3.0
"""For a child that has trained to its end to go by itself; Axolotl was seen to hang there."""


class Ended(StrEnum):
    """How a child ended."""

    BY_ITSELF = "by itself"
    CRASHED = "crashed"
    HUNG = "hung"
    """No sign of life for too long."""
    DEADLINE = "deadline"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """What is known of a child that is gone."""

    how: Ended
    exit_code: int
    seen: Seen


def drive(
    child: Child,
    reader: EventReader,
    *,
    until: float,
    silence_s: Callable[[Seen], float],
    on_event: Callable[[dict[str, Any]], None],
    asked: Callable[[], bool] = lambda: False,
    ends_with: str = "train_end",
) -> Ending:
    """From the child's start to its end, whatever it does.

    Args:
        until: On the uptime clock; then it is killed.
        silence_s: The longest time without an event, given what was seen so far.
        on_event: Called with every event, and with `tick` in between.
        asked: True once the child is to evaluate, save and end.
        ends_with: The child's last event; after it nothing is waited for.
    """
    seen: dict[str, dict[str, Any]] = {}
    heard = uptime()
    how = Ended.DEADLINE
    told = False
    try:
        for event in follow(child, reader, until=until, ends_with=ends_with):
            if event["event"] != "tick":
                heard, seen[event["event"]] = uptime(), event
            elif uptime() - heard > silence_s(seen):
                how = Ended.HUNG
                break
            on_event(event)
            if asked() and not told:
                told = True
                ask_to_stop(child)
    finally:
        exit_code = end(child, patience_s=min(LAST_WORDS_S, until - uptime()) if ends_with in seen else 0)
    if "train_end" in seen:
        how = Ended.BY_ITSELF
    elif how is Ended.DEADLINE and uptime() < until - 0.05:
        how = Ended.CRASHED
    return Ending(how=how, exit_code=exit_code, seen=seen)
