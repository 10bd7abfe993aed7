"""The pack plan: which rows make up which micro-batch, for the whole run, written before the first step.

    plan = PackPlan.make(lengths, capacity=512, bins_per_batch=2, epochs=3, seed=2023)
    plan.write(Path("07_train/packs.jsonl"))
    plan.micro_batches[40]            # two bins, each a list of row numbers

Axolotl packs anew at every start from a generator that a resume leaves in another state: after a kill it trains on
other batches (measured: 0 of 14 equal). Here a batch is a line of a file, served by its number, so a resumed run sees
what an uninterrupted one would have seen, and the number of steps is known, not estimated.

Where it sits: dataset -> **pack plan** -> the plugin, which serves it.
"""

import bisect
import hashlib
import itertools
import math
import random
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import orjson

from core.files import atomic_writer
from harness.errors import DataError

Bin = list[int]
"""Numbers of the rows that share one sequence of the model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PackPlan:
    """Every micro-batch of a run, in order."""

    micro_batches: list[list[Bin]]
    epoch_ends: tuple[int, ...]
    """Number of micro-batches up to the end of each epoch."""
    capacity: int
    """Tokens that a bin holds."""
    lengths_sha256: str
    """Of the rows' token counts: what the trainer's own data must agree with."""
    efficiency: float
    """Tokens of rows by tokens of bins."""

    @classmethod
    def make(
        cls,
        lengths: Sequence[int],
        *,
        capacity: int,
        bins_per_batch: int,
        epochs: float,
        seed: int,
        packed: bool = True,
    ) -> "PackPlan":
        """Packs each epoch in an order of its own.

        Args:
            lengths: Tokens of each row; none above `capacity`.
            bins_per_batch: The micro-batch size.
            epochs: The last one may be a part.
            packed: False: every row has a bin of its own.
        """
        batches: list[list[Bin]] = []
        ends = []
        num_tokens = num_bins = 0
        for epoch in range(math.ceil(epochs)):
            bins = _pack(lengths, capacity if packed else 0, random.Random(f"packs-{seed}-{epoch}"))
            bins = bins[: math.ceil(min(1.0, epochs - epoch) * len(bins))]
            batches += [bins[i : i + bins_per_batch] for i in range(0, len(bins), bins_per_batch)]
            ends.append(len(batches))
            num_bins += len(bins)
            num_tokens += sum(lengths[row] for found in bins for row in found)
        return cls(
            micro_batches=batches,
            epoch_ends=tuple(ends),
            capacity=capacity,
            lengths_sha256=digest_of(lengths),
            efficiency=round(num_tokens / (num_bins * capacity), 4),
        )

    @property
    def num_epochs(self) -> int:
        """The last one may be a part."""
        return len(self.epoch_ends)

    def num_steps(self, accumulation: int) -> int:
        """Optimizer steps; the last one may have fewer micro-batches."""
        return math.ceil(len(self.micro_batches) / accumulation)

    def rehearsal(self, lengths: Sequence[int], *, worst: int, typical: int, seed: int) -> "PackPlan":
        """Micro-batches to measure the run by: those that ask most of attention, then some as they come.

        Args:
            lengths: Tokens of each row of the run.
            worst, typical: Micro-batches of each kind; a plan with fewer gives some again.
        """

        def attention(batch: list[Bin]) -> int:
            return sum(lengths[row] ** 2 for found in batch for row in found)

        numbers = sorted(range(len(self.micro_batches)), key=lambda n: (-attention(self.micro_batches[n]), n))
        drawn = random.Random(f"rehearsal-{seed}").choices(range(len(self.micro_batches)), k=typical)
        chosen = [self.micro_batches[n] for n in [*itertools.islice(itertools.cycle(numbers), worst), *drawn]]
        return replace(self, micro_batches=chosen, epoch_ends=(len(chosen),))

    def write(self, path: Path) -> str:
        """One JSON line a micro-batch under a first line that describes them; returns the digest of the whole."""
        body = b"".join(orjson.dumps(batch, option=orjson.OPT_APPEND_NEWLINE) for batch in self.micro_batches)
        head = {
            "capacity": self.capacity,
            "efficiency": self.efficiency,
            "epoch_ends": self.epoch_ends,
            "lengths_sha256": self.lengths_sha256,
            "sha256": hashlib.sha256(body).hexdigest(),
        }
        content = orjson.dumps(head, option=orjson.OPT_APPEND_NEWLINE) + body
        with atomic_writer(path) as f:
            f.write(content)
        return hashlib.sha256(content).hexdigest()

    @classmethod
    def read(cls, path: Path) -> "PackPlan":
        """Raises `DataError` if the file is not what was written."""
        try:
            first, body = path.read_bytes().split(b"\n", 1)
            head = orjson.loads(first)
            if hashlib.sha256(body).hexdigest() != head.pop("sha256"):
                raise DataError(f"{path}: was altered since it was written. Begin anew with `redo=true`.")
            batches = [orjson.loads(line) for line in body.splitlines()]
            return cls(micro_batches=batches, **{**head, "epoch_ends": tuple(head["epoch_ends"])})
        except (OSError, ValueError, KeyError, TypeError) as e:
            raise DataError(f"{path}: no pack plan ({e}). Begin anew with `redo=true`.") from e


def digest_of(lengths: Sequence[int]) -> str:
    """Of token counts, in order."""
    return hashlib.sha256(array("q", lengths).tobytes()).hexdigest()


def pack_in_order(lengths: Sequence[int], *, capacity: int, bins_per_batch: int) -> list[list[Bin]]:
    """Micro-batches of rows as they come, none left out: what an evaluation reads."""
    bins: list[Bin] = []
    space = 0
    for row, length in enumerate(lengths):
        if length > space:
            bins.append([])
            space = capacity
        bins[-1].append(row)
        space -= length
    return [bins[i : i + bins_per_batch] for i in range(0, len(bins), bins_per_batch)]


def _pack(lengths: Sequence[int], capacity: int, rng: random.Random) -> list[Bin]:
    """Best fit: each row into the fullest bin that has room for it, rows and bins in random order."""
    order = list(range(len(lengths)))
    rng.shuffle(order)
    bins: list[Bin] = []
    spaces: list[tuple[int, int]] = []
    """(free tokens, bin), sorted."""
    least = min(lengths)
    for row in order:
        length = lengths[row]
        found = bisect.bisect_left(spaces, (length, -1))
        if found < len(spaces):
            space, number = spaces.pop(found)
        else:
            space, number = max(capacity, length), len(bins)
            bins.append([])
        bins[number].append(row)
        if space - length >= least:
            bisect.insort(spaces, (space - length, number))
    rng.shuffle(bins)
    return bins


def rows_of(batches: Sequence[Sequence[Bin]]) -> Iterator[int]:
    """Every row number, in order."""
    for batch in batches:
        for found in batch:
            yield from found
