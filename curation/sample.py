"""The draw: which candidates are trained on, and why the others are left out.

    chosen, left = draw(candidates, targets={"ni_exact_match": 500, "ni_generation": 500}, parameters)

Exact match: wrong answers; tasks on which the base model is worse give more rows. Generation: the worst bucket gives
40 %, each other bucket below .8 gives 10 %. If a bucket lacks rows, the others give more in proportion, so that a
target is met whenever there are enough rows. With `retain_share`, a part of each target is drawn evenly over tasks
from rows that the base already answers well, against forgetting.

Where it sits: candidate -> **sample** -> mix.
"""

import math
import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from fractions import Fraction
from itertools import groupby

from core.errors import MixError
from core.generation.request import Kind
from curation.candidate import Candidate

TASK_WEIGHTS = (350.0, 350.0, 300.0, 300.0, 250.0, 250.0, 200.0, 150.0, 100.0, 50.0)
"""Rows per exact-match task by accuracy bucket. Source: the winner's script, which multiplies them by a factor."""

GENERATION_SHARES = (4.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0)
"""Share of each ROUGE-L bucket in tenths. Source: the paper."""


class Quota(StrEnum):
    """How many rows each bucket gives."""

    PROPORTIONAL = "proportional"
    """Its weight's share of the source's target. If it lacks rows, the other buckets give more."""
    PER_BUCKET = "per_bucket"
    """Exact match: its weight times `quota_factor`, in rows. Generation: its share of its own rows, for each task. The
    target is ignored. Source: the winner's scripts."""
    POOLED = "pooled"
    """Exact match: a random sample of all tasks' candidates together. Generation: as `proportional`. Source: the
    paper."""


class Control(StrEnum):
    """Rows chosen without asking the base: what a choice by difficulty has to beat, at the same targets."""

    NONE = "none"
    """Rows are chosen by what the base gets wrong."""
    RANDOM = "random"
    """At random from all rows of a source, so that a task gives rows in proportion to its size."""
    BALANCED = "balanced"
    """At random, with as many rows from each task of a source as it has, up to an equal part."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleParameters:
    """Parameters of the draw."""

    seed: int = 2023
    quota: Quota = Quota.PROPORTIONAL
    quota_factor: float = 1.0
    """With `per_bucket`: the script's `multiplication_factor`."""
    task_weights: tuple[float, ...] = TASK_WEIGHTS
    generation_shares: tuple[float, ...] = GENERATION_SHARES
    full_weights_rows: int | None = None
    """Rows of one kind, exact match or generation, from which on the weights hold. They flatten with fewer rows, so
    that a small mix has easier ones; see `weights_for`. None: they hold at every size. Source: plentiful data gains
    from hard examples and scarce data from easy ones, Sorscher et al. 2022, arXiv 2206.14486. How much is gained here
    was not measured, so no preset sets it."""
    retain_share: float = 0.0
    """Share of each target that is drawn from rows that the base gets right. The winner used 0: errors only. With 0 the
    demo's model of 0.6 M parameters unlearns every solved task; the loss of a 7B model was not measured."""
    control: Control = Control.NONE
    """Draw NI rows and own rows without asking the base, as the arm that a choice by difficulty is compared with."""
    take_all: bool = False
    """Take every own row that the policies admit, without asking the base about it. False: take the own rows that the
    base gets wrong, as with other rows."""
    task_tokens: int | None = None
    """Most tokens that the rows of one NI task have together, so that no task fills the budget with long rows. Rows
    that the base gets wrong are taken first. None: no limit."""
    own_share: float | None = None
    """Share of own rows in the mix. Fewer rows of the others are drawn, or fewer own rows, until it is met. None: all
    rows of both."""
    add: Mapping[str, float] = field(default_factory=dict)
    """Share of the mix's tokens by source: `ni`, another source, or an own file. Own files without a share are kept
    whole, and sources without one are left out. Empty: `own_share`, or all rows."""

    def __post_init__(self) -> None:
        if not 0 <= self.retain_share < 1:
            raise MixError(
                f"`samples.retain_share={self.retain_share}`: not in [0, 1). 0.25 keeps a quarter for solved rows."
            )
        for name, weights in (("task_weights", self.task_weights), ("generation_shares", self.generation_shares)):
            if not all(0 <= w < math.inf for w in weights) or sum(weights) == 0:
                raise MixError(f"samples.{name}: {list(weights)}. Give weights of 0 or more, not all 0.")
        if self.retain_share and self.quota is Quota.PER_BUCKET:
            raise MixError(
                "`samples.retain_share=`: quotas per bucket have no target to take a share of. Set "
                "samples.quota=proportional."
            )
        if self.control is not Control.NONE and self.retain_share:
            raise MixError(
                f"`samples.control={self.control.value}`: the base is not asked, so no row is known to be solved. "
                "Leave `samples.retain_share=` out."
            )
        if self.own_share is not None and not 0 < self.own_share < 1:
            raise MixError(f"`samples.own_share={self.own_share}`: not in (0, 1). 0.3 makes your rows three of ten.")
        if self.add and self.own_share is not None:
            raise MixError("`add=` with `own_share=`: both determine the number of other rows. Leave one out.")
        if self.add and not (all(0 < share < 1 for share in self.add.values()) and sum(self.add.values()) < 1):
            raise MixError(
                f"`add=`: the shares are {', '.join(f'{name}:{share:g}' for name, share in self.add.items())}. Give "
                "shares above 0 that add up to less than 1; own rows are the rest."
            )
        self._check_amounts()

    def weights_for(self, kind: Kind, num_rows: int) -> tuple[float, ...]:
        """Weights of the buckets of a kind, if `num_rows` weak rows of it are wanted.

        Each weight is raised to a power: 1 from `full_weights_rows` on, 1/2 at a tenth of them, 0 at a hundredth and
        below. There every task, or every ROUGE-L bucket, has the same weight. A weight of 0 stays 0.

        >>> parameters = SampleParameters(generation_shares=(4.0, 1.0, 0.0), full_weights_rows=1_000)
        >>> [parameters.weights_for(Kind.GENERATION, num)[0] for num in (2_000, 100, 10)]
        [4.0, 2.0, 1.0]
        """
        weights = self.task_weights if kind is Kind.EXACT_MATCH else self.generation_shares
        if self.full_weights_rows is None:
            return weights
        decades = math.log10(self.full_weights_rows / max(1, num_rows))
        power = min(1.0, max(0.0, 1 - decades / 2))
        return tuple(round(weight**power, 6) if weight else 0.0 for weight in weights)

    def _check_amounts(self) -> None:
        if self.full_weights_rows is not None and self.full_weights_rows < 1:
            raise MixError(
                f"`samples.full_weights_rows={self.full_weights_rows}`: not above 0. 50000 is what the 200k mix draws "
                "of each kind."
            )
        if self.full_weights_rows is not None and self.quota is Quota.PER_BUCKET:
            raise MixError(
                "`samples.full_weights_rows=`: quotas per bucket have no target, so no size. Set "
                "samples.quota=proportional."
            )
        if not 0 < self.quota_factor < math.inf:
            raise MixError(f"samples.quota_factor: {self.quota_factor} is not above 0. The winner's scripts used 1.")
        if self.task_tokens is not None and self.task_tokens < 1:
            raise MixError(f"`samples.task_tokens={self.task_tokens}`: would drop every row. Give 1 or more, or none.")

    def asks(self, *, is_own: bool) -> bool:
        """Whether the base is asked about a task, of own rows or of NI."""
        return self.control is Control.NONE and not (self.take_all and is_own)


def draw(
    candidates: Iterable[Candidate], targets: Mapping[str, int], parameters: SampleParameters
) -> tuple[list[Candidate], list[tuple[Candidate, str]]]:
    """Draws each source's target, or all of its rows if there are fewer.

    Args:
        candidates: Those of NI in any order. Those of another source are taken in the order given.
        targets: Rows wanted per source.
    Returns:
        The chosen, by source in the order of `targets` and by (task, id); and the others with their reason:
        `over_quota`, `already_solved`, or `source_left_out`.
    """
    by_source: dict[str, list[Candidate]] = defaultdict(list)
    for c in candidates:
        by_source[c.source].append(c)
    chosen: list[Candidate] = []
    left: list[tuple[Candidate, str]] = []
    for source, target in targets.items():
        pool = by_source.pop(source, [])
        drawn = _draw(pool, target, parameters)
        taken = {(c.task, c.id) for c in drawn}
        chosen += sorted(drawn, key=_order)
        left += [
            (c, "already_solved" if c.solved else "over_quota")
            for c in sorted(pool, key=_order)
            if (c.task, c.id) not in taken
        ]
    for source in sorted(by_source):
        left += [(c, "source_left_out") for c in sorted(by_source[source], key=_order)]
    return chosen, left


def _draw(pool: Sequence[Candidate], target: int, parameters: SampleParameters) -> list[Candidate]:
    """Of one source."""
    if not pool or pool[0].kind is None:
        return list(pool[:target])
    return _draw_own(pool, target, parameters) if pool[0].is_own else _draw_ni(pool, target, parameters)


def drawable(pool: Sequence[Candidate], parameters: SampleParameters) -> int:
    """Largest number of rows that a source can give: all weak rows, and as many solved rows as their share allows."""
    weak = sum(not c.solved for c in pool)
    retained = int(weak * parameters.retain_share / (1 - parameters.retain_share))
    return weak + min(len(pool) - weak, retained)


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawable:
    """What the sources can give, by source."""

    rows: Mapping[str, int]
    tokens: Mapping[str, float]
    """Of so many rows, weak and solved ones in the proportion in which they are drawn."""

    @property
    def means(self) -> dict[str, float]:
        """Tokens of a row."""
        return {source: self.tokens[source] / num for source, num in self.rows.items() if num}


def drawable_of(candidates: Iterable[Candidate], parameters: SampleParameters) -> Drawable:
    """What the candidates without a reason to leave them out can give."""
    pools: dict[str, list[Candidate]] = defaultdict(list)
    for c in candidates:
        if not c.reason:
            pools[c.source].append(c)
    rows = {source: drawable(pool, parameters) for source, pool in pools.items()}
    tokens: dict[str, float] = {}
    for source, pool in pools.items():
        weak = [c.num_tokens for c in pool if not c.solved]
        solved = [c.num_tokens for c in pool if c.solved]
        num_solved = rows[source] - len(weak)
        tokens[source] = sum(weak) + (num_solved * sum(solved) / len(solved) if num_solved else 0.0)
    return Drawable(
        rows={source: num for source, num in rows.items() if num},
        tokens={source: tokens[source] for source, num in rows.items() if num},
    )


def _draw_own(pool: Sequence[Candidate], target: int, parameters: SampleParameters) -> list[Candidate]:
    """Draws own rows, without weights: rows are left out only if there are more than wanted."""
    solved = [c for c in pool if c.solved]
    weak = [c for c in pool if not c.solved]
    num_solved = min(round(target * parameters.retain_share), len(solved))
    chosen: list[Candidate] = []
    for part, amount in ((weak, target - num_solved), (solved, num_solved)):
        kinds = [[c for c in part if c.kind is kind] for kind in Kind]
        sizes = [len(members) for members in kinds]
        for members, num in zip(kinds, allocate(amount, list(map(float, sizes)), sizes), strict=True):
            chosen += members if num == len(members) else _draw_pool(members, num, parameters)
    return chosen


def _draw_ni(pool: Sequence[Candidate], target: int, parameters: SampleParameters) -> list[Candidate]:
    if parameters.control is not Control.NONE:
        return _draw_control(pool, target, parameters)
    weak = [c for c in pool if not c.solved]
    solved = [c for c in pool if c.solved]
    if parameters.quota is Quota.PER_BUCKET:
        return _draw_buckets(weak, parameters)
    num_solved = min(round(target * parameters.retain_share), len(solved))
    chosen = _draw_pool(weak, target - num_solved, parameters)
    if not solved:
        return chosen
    return [*chosen, *_draw_pool(solved, num_solved, parameters)]


def _draw_control(pool: Sequence[Candidate], target: int, parameters: SampleParameters) -> list[Candidate]:
    """Draws without weights: from the whole pool, or an equal part from each task."""
    ordered = sorted(pool, key=_order)
    if parameters.control is Control.RANDOM:
        return _sample(ordered, min(target, len(ordered)), "random", parameters)
    cells = [(task, list(members)) for task, members in groupby(ordered, key=lambda c: c.task)]
    amounts = allocate(target, [1.0] * len(cells), [len(cell) for _, cell in cells])
    drawn = (_sample(cell, amount, task, parameters) for (task, cell), amount in zip(cells, amounts, strict=True))
    return [candidate for rows in drawn for candidate in rows]


def _draw_pool(pool: Sequence[Candidate], target: int, parameters: SampleParameters) -> list[Candidate]:
    """Divides `target` among the pool's cells by weight and draws inside each cell."""
    if parameters.quota is Quota.POOLED and pool and not pool[0].solved and pool[0].kind is Kind.EXACT_MATCH:
        return _sample(sorted(pool, key=_order), min(target, len(pool)), "pool", parameters)
    cells = _cells(pool)
    weights = [_weight(cell[0], parameters, target) for _, cell in cells]
    amounts = allocate(target, weights, [len(cell) for _, cell in cells])
    chosen: list[Candidate] = []
    for (key, cell), amount in zip(cells, amounts, strict=True):
        chosen += _sample(cell, amount, key, parameters)
    return chosen


def _draw_buckets(pool: Sequence[Candidate], parameters: SampleParameters) -> list[Candidate]:
    """Draws a fixed number of rows per exact-match task, and a share of each task's generation buckets."""
    cells: dict[tuple[str, int], list[Candidate]] = defaultdict(list)
    for c in sorted(pool, key=_order):
        assert c.bucket is not None
        cells[c.task, c.bucket].append(c)
    chosen: list[Candidate] = []
    for (task, bucket), cell in sorted(cells.items()):
        weight = _weight(cell[0], parameters, len(pool))
        exact = cell[0].kind is Kind.EXACT_MATCH
        amount = int(weight * parameters.quota_factor) if exact else int(weight * len(cell))
        chosen += _sample(cell, min(amount, len(cell)), f"{task}-{bucket}", parameters)
    return chosen


def _sample(cell: Sequence[Candidate], amount: int, key: str, parameters: SampleParameters) -> list[Candidate]:
    return random.Random(f"sample-{parameters.seed}-{cell[0].kind}-{cell[0].solved}-{key}").sample(cell, amount)


def _order(c: Candidate) -> tuple[str, str]:
    return c.task, c.id


def _cells(candidates: Sequence[Candidate]) -> list[tuple[str, list[Candidate]]]:
    """The units of the quotas: a task, or for weak generated answers a ROUGE-L bucket over all tasks."""
    cells: dict[str, list[Candidate]] = defaultdict(list)
    for c in sorted(candidates, key=_order):
        by_task = c.solved or c.kind is Kind.EXACT_MATCH
        cells[c.task if by_task else f"bucket{c.bucket}"].append(c)
    return sorted(cells.items())


def _weight(c: Candidate, parameters: SampleParameters, num_rows: int) -> float:
    """Of a candidate's cell, if `num_rows` are wanted."""
    if c.solved or c.bucket is None or c.kind is None:  # without a bucket: the base was not asked about it
        return 1.0
    return parameters.weights_for(c.kind, num_rows)[c.bucket]


def allocate(target: int, weights: Sequence[float], available: Sequence[int]) -> list[int]:
    """Splits `target` in proportion to `weights`, at most `available` per cell. A cell's shortfall goes to the others.

    Returns:
        Whole amounts whose sum is `target`, or all that cells of positive weight have if that is less. Amounts left by
        rounding go to the largest remainders, and of equal ones to the first cell.
    """
    exact = [Fraction(str(w)) for w in weights]
    amounts = [0] * len(weights)
    open_cells = [i for i, (w, a) in enumerate(zip(exact, available, strict=True)) if w > 0 and a > 0]
    rest = min(target, sum(available[i] for i in open_cells))
    while rest > 0:
        total = sum(exact[i] for i in open_cells)
        full = [i for i in open_cells if available[i] * total <= rest * exact[i]]
        if not full:  # no cell reaches its limit any more
            shares = {i: divmod(rest * exact[i], total) for i in open_cells}
            for i, (whole, _) in shares.items():
                amounts[i] = whole
            spare = rest - sum(whole for whole, _ in shares.values())
            for i in sorted(open_cells, key=lambda i: (-shares[i][1], i))[:spare]:
                amounts[i] += 1
            break
        for i in full:
            amounts[i] = available[i]
            rest -= available[i]
        open_cells = [i for i in open_cells if i not in set(full)]
    return amounts
