"""Peaks of the card's memory, phase by phase.

    peaks = PeakMemory()
    peaks.close("load")               # what was allocated at most since the phase before
    peaks.by_phase                    # {"load": 5.1}

Where it sits: inside the child process; the budget's callback closes phases, the rehearsal reports them.
"""

from collections.abc import Callable

import torch

GIB = 2**30

Read = Callable[[], tuple[int, int] | None]
"""Bytes (allocated, reserved) at the worst moment since the last call, or None on a CPU."""


def read_and_reset() -> tuple[int, int] | None:
    """Of torch's allocator; the next peak is counted from now on."""
    if not torch.cuda.is_available():
        return None
    found = torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved()
    torch.cuda.reset_peak_memory_stats()
    return found


class PeakMemory:
    """Highest memory in each phase, and in all.

    Args:
        read: Tests pass their own.
    """

    def __init__(self, read: Read = read_and_reset) -> None:
        self._read = read
        self._reserved = 0
        self.by_phase: dict[str, float] = {}
        """GiB allocated. Empty on a CPU."""

    def close(self, phase: str) -> None:
        """A phase is over; a later one of the same name counts towards it."""
        found = self._read()
        if found is None:
            return
        allocated, reserved = found
        self.by_phase[phase] = max(self.by_phase.get(phase, 0.0), round(allocated / GIB, 3))
        self._reserved = max(self._reserved, reserved)

    @property
    def reserved_gib(self) -> float | None:
        """What the allocator held at most, fragments included: what a card must have. None on a CPU."""
        return round(self._reserved / GIB, 3) if self.by_phase else None
