"""The peak of the card's memory in each phase of training.

    peaks = PeakMemory()
    peaks.close("load")               # records the peak since the previous call
    peaks.by_phase                    # {"load": 5.1}

Where it sits: inside the child process; the budget callback closes phases, the rehearsal reports the peaks.
"""

from collections.abc import Callable

import torch

GIB = 2**30

Read = Callable[[], tuple[int, int] | None]
"""Returns the peak bytes (allocated, reserved) since its last call, or None on a CPU."""


def read_and_reset() -> tuple[int, int] | None:
    """The peak bytes (allocated, reserved) of torch's allocator since the last call; None without CUDA."""
    if not torch.cuda.is_available():
        return None
    peak = torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved()
    torch.cuda.reset_peak_memory_stats()
    return peak


class PeakMemory:
    """The peak memory in each phase and over all phases.

    Args:
        read: Reads and resets the peak; tests pass their own function.
    """

    def __init__(self, read: Read = read_and_reset) -> None:
        self._read = read
        self._reserved = 0
        self.by_phase: dict[str, float] = {}
        """Peak of the allocated GiB in each phase; empty on a CPU."""

    def close(self, phase: str) -> None:
        """Ends a phase and records its peak. Phases with the same name are combined."""
        peak = self._read()
        if peak is None:
            return
        allocated, reserved = peak
        self.by_phase[phase] = max(self.by_phase.get(phase, 0.0), round(allocated / GIB, 3))
        self._reserved = max(self._reserved, reserved)

    @property
    def reserved_gib(self) -> float | None:
        """Peak of the memory that the allocator reserved, fragments included, which a card must have; None on a CPU."""
        return round(self._reserved / GIB, 3) if self.by_phase else None
