"""Drives one child: passes its events on, hands it a signal, watches for silence, and ends it for sure.

    ending = drive(child, EventReader(path), until=deadline, silence_s=lambda seen: 60.0)
    ending.how                        # Ended.BY_ITSELF

Where it sits: under the rehearsal and the supervisor.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from harness.axolotl_process import Child, ask_to_stop, end, follow
from harness.budget.clock import uptime
from harness.inside.events import Event, EventReader, Tick, TrainEnd

E = TypeVar("E", bound=Event)

LAST_WORDS_S = 3.0
"""For a child that has trained to its end to go by itself; Axolotl was seen to hang there."""


class Seen:
    """The last event of each kind."""

    def __init__(self) -> None:
        self._last: dict[type[Event], Event] = {}

    def add(self, event: Event) -> None:
        """One more."""
        self._last[type(event)] = event

    def __contains__(self, kind: type[Event]) -> bool:
        return kind in self._last

    def last(self, kind: type[E]) -> E | None:
        """Of this kind; None: there was none."""
        event = self._last.get(kind)
        return event if isinstance(event, kind) else None


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
    on_event: Callable[[Event], None],
    asked: Callable[[], bool] = lambda: False,
    ends_with: type[Event] = TrainEnd,
) -> Ending:
    """From the child's start to its end, whatever it does.

    Args:
        until: On the uptime clock; then it is killed.
        silence_s: The longest time without an event, given what was seen so far.
        on_event: Called with every event, and with a `Tick` in between.
        asked: True once the child is to evaluate, save and end.
        ends_with: The kind of the child's last event; after it nothing is waited for.
    """
    seen = Seen()
    heard = uptime()
    how = Ended.DEADLINE
    told = False
    try:
        for event in follow(child, reader, until=until, ends_with=ends_with):
            if not isinstance(event, Tick):
                heard = uptime()
                seen.add(event)
            elif uptime() - heard > silence_s(seen):
                how = Ended.HUNG
                break
            on_event(event)
            if asked() and not told:
                told = True
                ask_to_stop(child)
    finally:
        exit_code = end(child, patience_s=min(LAST_WORDS_S, until - uptime()) if ends_with in seen else 0)
    if TrainEnd in seen:
        how = Ended.BY_ITSELF
    elif how is Ended.DEADLINE and uptime() < until - 0.05:
        how = Ended.CRASHED
    return Ending(how=how, exit_code=exit_code, seen=seen)
