"""Which candidates repeat an earlier one nearly word for word.

Only candidates whose answer and instruction occur more than once can, so that signatures are computed for these alone.

Where it sits: between the examination and the draw.
"""

from collections.abc import Sequence
from pathlib import Path

from core.workers import ordered_map
from curation.candidate import Candidate
from curation.policies.duplicate import NearDuplicates, signature
from curation.stages.row_files import Lines, RowFiles, rows_at


def near_repeats(
    candidates: Sequence[Candidate],
    numbers: Sequence[int],
    files: RowFiles,
    *,
    threshold: float,
    scratch: Path,
    workers: int,
) -> dict[int, int]:
    """Number of a candidate -> number of the earlier, kept candidate that it repeats.

    Args:
        candidates: Of the pool, in its order.
        numbers: Of the candidates that may have a near duplicate, rising.
        threshold: Jaccard similarity from which two texts count as the same.
        scratch: File for the signatures.
    """
    duplicates = NearDuplicates(threshold, scratch)
    batches = files.batches(candidates[number] for number in numbers)
    for signatures in ordered_map(_signatures, batches, build=_nothing, spec=None, workers=workers):
        for packed in signatures:
            duplicates.add(packed)
    return {numbers[later]: numbers[earlier] for later, earlier in duplicates.find().items()}


def _nothing(spec: None) -> None:
    """A signature needs no tool."""


def _signatures(tool: None, lines: Lines) -> list[bytes]:
    return [
        signature(row.input or row.instruction, row.output, row.instruction if row.input else "")
        for row in rows_at(lines.path, lines.offsets)
    ]
