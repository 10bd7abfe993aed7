"""The pack plan: the rows of every micro-batch of a run, written before the first step.

    plan = PackPlan.make(lengths, capacity=512, bins_per_batch=2, epochs=3, seed=2023)
    plan.write(Path("07_train/packs.jsonl"))
    plan.micro_batches[40]            # two bins, each a list of row numbers

Axolotl packs again at every start, with a random generator whose state a resume does not restore: after a kill it
trains on other batches (measured: 0 of 14 equal). Here the trainer reads each batch by its number from a file, so a
resumed run trains on the same batches as an uninterrupted one, and the number of steps is exact.

Where it sits: dataset -> **pack plan** -> the plugin, which reads its batches.
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
"""Numbers of the rows that are packed into one sequence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PackPlan:
    """Every micro-batch of a run, in order."""

    micro_batches: list[list[Bin]]
    epoch_ends: tuple[int, ...]
    """Cumulative number of micro-batches at the end of each epoch."""
    capacity: int
    """Tokens per bin."""
    lengths_sha256: str
    """SHA-256 of the rows' token counts, by which the trainer checks its data."""
    efficiency: float
    """Tokens of rows divided by the capacity of all bins."""

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
        """Packs each epoch in a different random order.

        Args:
            lengths: Token count of each row, at most `capacity`.
            bins_per_batch: The micro-batch size.
            epochs: Number of epochs; the last one may be partial.
            packed: If False, every row has its own bin.
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
            num_tokens += sum(lengths[row] for rows in bins for row in rows)
        return cls(
            micro_batches=batches,
            epoch_ends=tuple(ends),
            capacity=capacity,
            lengths_sha256=digest_of(lengths),
            efficiency=round(num_tokens / (num_bins * capacity), 4),
        )

    @property
    def num_epochs(self) -> int:
        """Number of epochs; the last one may be partial."""
        return len(self.epoch_ends)

    def first(self, num_batches: int) -> "PackPlan":
        """The plan cut after so many micro-batches."""
        ends = [end for end in self.epoch_ends if end < num_batches]
        kept = self.micro_batches[:num_batches]
        return replace(self, micro_batches=kept, epoch_ends=(*ends, len(kept)))

    def steps_per_epoch(self, accumulation: int) -> float:
        """Optimizer steps of the first pass over the rows."""
        return self.epoch_ends[0] / accumulation

    def num_steps(self, accumulation: int) -> int:
        """Number of optimizer steps; the last one may have fewer micro-batches."""
        return math.ceil(len(self.micro_batches) / accumulation)

    def rehearsal(self, lengths: Sequence[int], *, worst: int, typical: int, seed: int) -> "PackPlan":
        """A plan to measure the run with: the micro-batches with the most attention work, then randomly drawn ones.

        Args:
            lengths: Token count of each row of the run.
            worst: Number of micro-batches with the most attention work.
            typical: Number of randomly drawn micro-batches. Micro-batches repeat if the plan has fewer.
        """

        def attention_cost(batch: list[Bin]) -> int:
            return sum(lengths[row] ** 2 for rows in batch for row in rows)

        numbers = sorted(range(len(self.micro_batches)), key=lambda n: (-attention_cost(self.micro_batches[n]), n))
        drawn = random.Random(f"rehearsal-{seed}").choices(range(len(self.micro_batches)), k=typical)
        chosen = [self.micro_batches[n] for n in [*itertools.islice(itertools.cycle(numbers), worst), *drawn]]
        return replace(self, micro_batches=chosen, epoch_ends=(len(chosen),))

    def write(self, path: Path) -> str:
        """Writes a header line, then one JSON line for each micro-batch; returns the SHA-256 of the file."""
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
        """Raises `DataError` if the file is missing, damaged or altered."""
        try:
            first, body = path.read_bytes().split(b"\n", 1)
            head = orjson.loads(first)
            if hashlib.sha256(body).hexdigest() != head.pop("sha256"):
                raise DataError(f"{path}: was altered after it was written. Start again with `redo=true`.")
            batches = [orjson.loads(line) for line in body.splitlines()]
            return cls(micro_batches=batches, **{**head, "epoch_ends": tuple(head["epoch_ends"])})
        except (OSError, ValueError, KeyError, TypeError) as e:
            raise DataError(f"{path}: not a pack plan ({e}). Start again with `redo=true`.") from e


def digest_of(lengths: Sequence[int]) -> str:
    """SHA-256 of token counts, in order."""
    return hashlib.sha256(array("q", lengths).tobytes()).hexdigest()


def pack_in_order(lengths: Sequence[int], *, capacity: int, bins_per_batch: int) -> list[list[Bin]]:
    """Micro-batches for an evaluation: every row once, in order."""
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
    """Best fit: each row, in random order, goes into the fullest bin with room for it. The bins are then shuffled."""
    order = list(range(len(lengths)))
    rng.shuffle(order)
    bins: list[Bin] = []
    spaces: list[tuple[int, int]] = []
    """(free tokens, bin), sorted."""
    shortest = min(lengths)
    for row in order:
        length = lengths[row]
        position = bisect.bisect_left(spaces, (length, -1))
        if position < len(spaces):
            space, number = spaces.pop(position)
        else:
            space, number = max(capacity, length), len(bins)
            bins.append([])
        bins[number].append(row)
        if space - length >= shortest:
            bisect.insort(spaces, (space - length, number))
    rng.shuffle(bins)
    return bins


def rows_of(batches: Sequence[Sequence[Bin]]) -> Iterator[int]:
    """Every row number, in order."""
    for batch in batches:
        for rows in batch:
            yield from rows
