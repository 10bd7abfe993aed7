"""Peaks by phase, from readings of the test's own."""

from collections.abc import Iterator

from harness.inside.peak_memory import PeakMemory, read_and_reset

GIB = 2**30


def test_each_phase_keeps_its_highest_and_the_reserve_is_that_of_all() -> None:
    readings: Iterator[tuple[int, int]] = iter(
        [(5 * GIB, 6 * GIB), (18 * GIB, 21 * GIB), (9 * GIB, 21 * GIB), (17 * GIB, 20 * GIB)]
    )
    peaks = PeakMemory(read=lambda: next(readings))
    for phase in ("load", "step", "evaluation", "step"):
        peaks.close(phase)
    assert peaks.by_phase == {"load": 5.0, "step": 18.0, "evaluation": 9.0}
    assert peaks.reserved_gib == 21.0


def test_a_cpu_has_none() -> None:
    peaks = PeakMemory(read=lambda: None)
    peaks.close("step")
    assert (peaks.by_phase, peaks.reserved_gib) == ({}, None)
    assert read_and_reset() is None
