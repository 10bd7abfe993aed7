"""Duplicates: rows that ask the same as another row, exactly or nearly.

    duplicates = NearDuplicates(threshold=0.9, path=Path("work/signatures.bin"))

Exact duplicates have the same (instruction, input) or, as the winner did, the same input. Near duplicates have inputs
whose sets of 5-word shingles overlap by 90 %, and the same instruction and answer. Instruction and answer are compared
because NI asks different questions about the same text: over 38,754 instances of English tasks, 163 of 182 near-equal
texts belonged to two tasks with different questions (measured).

Where it sits: used before the draw.
"""

import struct
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any

from core.files import make_folder, naming, sha256
from core.text import nfc, pieces

NUM_PERMUTATIONS = 128
"""The standard deviation of the estimated similarity is .027 at a Jaccard similarity of .9."""

SURE_TO_MEET = 0.98
"""Two texts at the threshold share a band with at least this probability; at .9 with 16 bands of 8 it is .9999."""

SHINGLE = 5
_MEMBERS = 8
"""Each row is compared with so many first and so many last earlier rows of its band's bucket."""


class DedupKey(StrEnum):
    """Which texts make two rows exact duplicates."""

    INSTRUCTION_AND_INPUT = "instruction_and_input"
    INPUT = "input"
    """As the winner did. It drops 6,259 of 309,638 rows, all of which are other tasks on the same text (measured)."""


def exact_key(instruction: str, text: str, key: DedupKey) -> bytes:
    """16 bytes that are equal for duplicates, after NFC normalisation. Rows without input compare their instruction."""
    shown = f"{instruction}\0{text}" if key is DedupKey.INSTRUCTION_AND_INPUT or not text else text
    return bytes.fromhex(sha256(nfc(shown).encode())[:32])


def signature(text: str, answer: str, instruction: str) -> bytes:
    """The MinHash of a text's 5-word shingles (512 bytes), followed by `near_key` (8 bytes)."""
    from rensa import RMinHash

    words = pieces(nfc(text).lower())
    minhash: Any = RMinHash(num_perm=NUM_PERMUTATIONS, seed=42)
    minhash.update([" ".join(words[i : i + SHINGLE]) for i in range(max(1, len(words) - SHINGLE + 1))])
    return _PACK(*minhash.digest()) + near_key(answer, instruction)


def near_key(answer: str, instruction: str) -> bytes:
    """8 bytes that are equal for rows with the same answer and instruction. Other rows are not near duplicates."""
    equal = f"{' '.join(nfc(answer).lower().split())}\0{nfc(instruction)}"
    return bytes.fromhex(sha256(equal.encode())[:16])


_PACK = struct.Struct(f"<{NUM_PERMUTATIONS}I").pack


class NearDuplicates:
    """Collects signatures on disk, then finds the rows that repeat an earlier one.

    Args:
        threshold: Estimated Jaccard similarity from which two texts count as the same.
        path: Scratch file; it takes 520 bytes per row.
    """

    def __init__(self, threshold: float, path: Path) -> None:
        self._threshold = threshold
        self._path = path
        self._num = 0
        make_folder(path.parent)
        path.write_bytes(b"")
        self._buffer = bytearray()

    def add(self, packed: bytes) -> None:
        """Adds the signature of the next row."""
        self._buffer += packed
        self._num += 1
        if len(self._buffer) > 1 << 20:
            self._flush()

    def _flush(self) -> None:
        with naming(self._path), self._path.open("ab") as f:
            f.write(self._buffer)
        self._buffer.clear()

    def find(self) -> dict[int, int]:
        """Number of a row -> number of the earlier, kept row that it repeats, numbered in the order of `add`."""
        import numpy as np

        self._flush()
        if self._num == 0:
            return {}
        layout = np.dtype([("minhash", "<u4", NUM_PERMUTATIONS), ("equal", "<u8")])
        rows = np.memmap(self._path, dtype=layout, mode="r", shape=(self._num,))
        pairs: set[tuple[int, int]] = set()
        width = _band_width(self._threshold)
        for start in range(0, NUM_PERMUTATIONS, width):
            pairs.update(_candidates(rows, slice(start, start + width)))
        repeats: dict[int, int] = {}
        for later, earlier in sorted(pairs):
            if later in repeats or earlier in repeats:
                continue
            similarity = float((rows[later]["minhash"] == rows[earlier]["minhash"]).mean())
            if similarity >= self._threshold:
                repeats[later] = earlier
        del rows
        self._path.unlink()
        return repeats


def _band_width(threshold: float) -> int:
    """The widest band in which two texts at the threshold meet with a probability of at least `SURE_TO_MEET`."""
    for width in (8, 4, 2):
        if 1 - (1 - threshold**width) ** (NUM_PERMUTATIONS // width) >= SURE_TO_MEET:
            return width
    return 1


def _candidates(rows: Any, band: slice) -> Iterator[tuple[int, int]]:
    """Pairs (later, earlier) of rows that share a band, the instruction and the answer."""
    import numpy as np

    width = band.stop - band.start
    keys = np.empty((len(rows), width + 2), dtype="<u4")
    keys[:, :width] = rows["minhash"][:, band]
    keys[:, width:] = np.ascontiguousarray(rows["equal"]).view("<u4").reshape(-1, 2)
    order = np.lexsort(keys.T[::-1])  # stable: equal keys stay in the order of the rows
    same = (keys[order[1:]] == keys[order[:-1]]).all(axis=1)
    starts = np.flatnonzero(np.concatenate(([True], ~same)))
    ends = np.append(starts[1:], len(order))
    for start, end in zip(starts, ends, strict=True):
        if end - start > 1:
            yield from _pairs([int(i) for i in order[start:end]])


def _pairs(members: list[int]) -> Iterator[tuple[int, int]]:
    for position, later in enumerate(members):
        for earlier in {*members[: min(position, _MEMBERS)], *members[max(0, position - _MEMBERS) : position]}:
            yield later, earlier
