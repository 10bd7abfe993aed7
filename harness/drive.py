"""Follows one child process to its end: forwards its events, requests a stop, and kills it when it hangs or is late.

    child_exit = drive(child, EventReader(path), until=deadline, max_silence_s=lambda events: 60.0, on_event=print)
    child_exit.reason                        # ExitReason.BY_ITSELF

Where it sits: below the rehearsal and the supervisor.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from harness.axolotl_process import Child, follow, request_stop, wait_or_kill
from harness.budget.clock import uptime
from harness.inside.events import Event, EventReader, Tick, TrainEnd

E = TypeVar("E", bound=Event)

EXIT_GRACE_S = 3.0
"""Time for a child that has finished training to exit; Axolotl was seen to hang there."""


class LastEvents:
    """The last event of each type."""

    def __init__(self) -> None:
        self._last: dict[type[Event], Event] = {}

    def add(self, event: Event) -> None:
        """Replaces the last event of the event's type."""
        self._last[type(event)] = event

    def __contains__(self, event_type: type[Event]) -> bool:
        return event_type in self._last

    def get(self, event_type: type[E]) -> E | None:
        """The last event of this type; None if there was none."""
        event = self._last.get(event_type)
        return event if isinstance(event, event_type) else None


class ExitReason(StrEnum):
    """Why a child ended."""

    BY_ITSELF = "by itself"
    CRASHED = "crashed"
    HUNG = "hung"
    """The child was killed because it reported no event for too long."""
    DEADLINE = "deadline"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildExit:
    """How a child ended."""

    reason: ExitReason
    exit_code: int
    events: LastEvents


def drive(
    child: Child,
    reader: EventReader,
    *,
    until: float,
    max_silence_s: Callable[[LastEvents], float],
    on_event: Callable[[Event], None],
    stop_requested: Callable[[], bool] = lambda: False,
    ends_with: type[Event] = TrainEnd,
) -> ChildExit:
    """Follows the child until it has ended.

    Args:
        until: Time on the uptime clock at which the child is killed.
        max_silence_s: The longest allowed time without an event, given the last events.
        on_event: Called with every event, and with every `Tick` between them.
        stop_requested: Returns True once the child should evaluate, save and end.
        ends_with: Type of the child's last event; no event after it is awaited.
    """
    events = LastEvents()
    last_event_at = uptime()
    reason = ExitReason.DEADLINE
    signalled = False
    try:
        for event in follow(child, reader, until=until, ends_with=ends_with):
            if not isinstance(event, Tick):
                last_event_at = uptime()
                events.add(event)
            elif uptime() - last_event_at > max_silence_s(events):
                reason = ExitReason.HUNG
                break
            on_event(event)
            if stop_requested() and not signalled:
                signalled = True
                request_stop(child)
    finally:
        exit_code = wait_or_kill(child, timeout_s=min(EXIT_GRACE_S, until - uptime()) if ends_with in events else 0)
    if TrainEnd in events:
        reason = ExitReason.BY_ITSELF
    elif reason is ExitReason.DEADLINE and uptime() < until - 0.05:
        reason = ExitReason.CRASHED
    return ChildExit(reason=reason, exit_code=exit_code, events=events)
