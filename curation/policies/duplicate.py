"""Duplicates: rows that ask the same thing again, to the letter or nearly.

    duplicates = NearDuplicates(threshold=0.9, path=Path("work/signatures.bin"))

Exact: the same (instruction, input); or, as the winner did, the same input. Near: inputs whose sets of 5-word
shingles overlap by 90 % *and* whose instruction and answer are the same. Those two count, because NI asks many
different things of the same text: over 38,754 instances of English tasks, 163 of 182 near-equal texts belonged to two
tasks with two different questions (measured), and those are no duplicates.

Where it sits: asked by the draw, before quotas are shared out.
"""

import struct
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any

from core.files import make_folder, naming, sha256
from core.text import nfc

NUM_PERMUTATIONS = 128
"""The estimate's deviation is .027 at Jaccard .9."""

SURE_TO_MEET = 0.98
"""Two texts at the threshold share a band with this probability or more: at .9 with 16 bands of 8 it is .9999."""

SHINGLE = 5
_MEMBERS = 8
"""Of a band's bucket, so many earlier rows are compared with each row."""


class DedupKey(StrEnum):
    """What makes two rows the same."""

    INSTRUCTION_AND_INPUT = "instruction_and_input"
    INPUT = "input"
    """The winner's: drops 6,259 of 309,638 rows, all of them other tasks on the same text (measured)."""


def exact_key(instruction: str, text: str, key: DedupKey) -> bytes:
    """16 bytes that are equal for duplicates, NFC and NFD being one text. A row without input: of its instruction."""
    shown = f"{instruction}\0{text}" if key is DedupKey.INSTRUCTION_AND_INPUT or not text else text
    return bytes.fromhex(sha256(nfc(shown).encode())[:32])


def signature(text: str, answer: str, instruction: str) -> bytes:
    """MinHash of a text's 5-word shingles, 512 bytes, and 8 bytes for what must be equal: answer and instruction."""
    from rensa import RMinHash

    text, answer, instruction = map(nfc, (text, answer, instruction))
    words = text.lower().split()
    minhash: Any = RMinHash(num_perm=NUM_PERMUTATIONS, seed=42)
    minhash.update([" ".join(words[i : i + SHINGLE]) for i in range(max(1, len(words) - SHINGLE + 1))])
    equal = f"{' '.join(answer.lower().split())}\0{instruction}"
    return _PACK(*minhash.digest()) + bytes.fromhex(sha256(equal.encode())[:16])


_PACK = struct.Struct(f"<{NUM_PERMUTATIONS}I").pack


class NearDuplicates:
    """Collects signatures on disk; then tells which rows repeat an earlier one.

    Args:
        threshold: Estimated Jaccard similarity from which two texts count as the same.
        path: Scratch file; 520 bytes a row.
    """

    def __init__(self, threshold: float, path: Path) -> None:
        self._threshold = threshold
        self._path = path
        self._num = 0
        make_folder(path.parent)
        path.write_bytes(b"")
        self._buffer = bytearray()

    def add(self, packed: bytes) -> None:
        """The next row's signature."""
        self._buffer += packed
        self._num += 1
        if len(self._buffer) > 1 << 20:
            self._flush()

    def _flush(self) -> None:
        with naming(self._path), self._path.open("ab") as f:
            f.write(self._buffer)
        self._buffer.clear()

    def find(self) -> dict[int, int]:
        """Row -> the earlier, kept row that it repeats. Numbers in the order of `add`."""
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
    """The widest band, hence the fewest candidates, in which two texts at the threshold meet for sure."""
    for width in (8, 4, 2):
        if 1 - (1 - threshold**width) ** (NUM_PERMUTATIONS // width) >= SURE_TO_MEET:
            return width
    return 1


def _candidates(rows: Any, band: slice) -> Iterator[tuple[int, int]]:
    """(later, earlier) rows that share a band, the instruction and the answer."""
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
