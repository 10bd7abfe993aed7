"""Samples: which rows of which bucket are trained on, and why each other row is left out.

    chosen, dropped = draw(candidates, targets={Kind.EXACT_MATCH: 500, Kind.GENERATION: 500}, parameters)

Exact match: wrong answers, tasks weighted by how badly the base model does. Generation: the worst bucket gets
40 %, each other below .8 gets 10 %. What a bucket cannot give goes to the others in proportion, so that a target is
met whenever there are rows enough. With `retain_share`, a part of each kind's target is drawn from what the base
already does well, evenly over tasks, against forgetting.

Where it sits: bucket -> **sample** -> mix.
"""

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from curation.bucket import NUM_GENERATION_BUCKETS, NUM_TASK_BUCKETS, TaskBucket, generation_bucket
from curation.errors import MixError
from curation.score import Score
from curation.select import Kind
from curation.stage import Dropped
from curation.task import Instance

TASK_WEIGHTS = (350, 350, 300, 300, 250, 250, 200, 150, 100, 50)
"""Rows per exact-match task by accuracy bucket. Source: the winner's script, there multiplied by a set factor."""

GENERATION_SHARES = (4, 1, 1, 1, 1, 1, 1, 0)
"""Share of each ROUGE-L bucket in tenths; >= .8 is solved. Source: the paper (the scripts take 80 and 20 % of n)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleParameters:
    """How rows are drawn."""

    seed: int = 2023
    max_words: int = 800
    """Instruction and input together. Source: the winner's script."""
    single_reference: bool = False
    """Generation: leave rows with several accepted answers out, as the winner's script does."""
    retain_share: float = 0.0
    """Part of each kind's target that goes to rows the base gets right. 0, as the winner: it trained on errors alone.
    On the demo's 0.6 M parameters that unlearns every solved task; what a 7B model loses was not measured."""
    task_weights: tuple[int, ...] = TASK_WEIGHTS
    generation_shares: tuple[int, ...] = GENERATION_SHARES

    def __post_init__(self) -> None:
        if not 0 <= self.retain_share < 1:
            raise MixError(f"--retain {self.retain_share}: not in [0, 1). 0.25 keeps a quarter for solved rows.")
        assert len(self.task_weights) == NUM_TASK_BUCKETS
        assert len(self.generation_shares) == NUM_GENERATION_BUCKETS


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A scored instance that may be trained on."""

    task: str
    id: str
    kind: Kind
    bucket: int
    """Exact match: the task's. Generation: the instance's own."""
    solved: bool
    """The base already answers it well."""


def candidates_of(
    definition: str,
    instances: Mapping[str, Instance],
    scores: Sequence[Score],
    bucket: TaskBucket,
    parameters: SampleParameters,
) -> tuple[list[Candidate], list[Dropped]]:
    """The rows of one task that may be drawn, and the others with their reason."""
    candidates, dropped = [], []
    for s in scores:
        instance = instances[s.id]
        own = generation_bucket(s.score) if s.kind is Kind.GENERATION else bucket.bucket
        assert own is not None
        candidate = Candidate(task=s.task, id=s.id, kind=s.kind, bucket=own, solved=_is_solved(s, parameters))
        reason, detail = _unfit(definition, instance, s, parameters)
        if reason:
            dropped.append(Dropped(unit="row", id=s.id, reason=reason, detail=detail))
        elif candidate.solved and parameters.retain_share == 0:
            dropped.append(_left(candidate))
        else:
            candidates.append(candidate)
    return candidates, dropped


def _is_solved(s: Score, parameters: SampleParameters) -> bool:
    if s.kind is Kind.EXACT_MATCH:
        return s.score == 1.0
    return parameters.generation_shares[generation_bucket(s.score)] == 0


def _unfit(definition: str, instance: Instance, s: Score, parameters: SampleParameters) -> tuple[str, str]:
    """The reason that bars a row from the draw and its detail, or two empty texts."""
    if s.kind is Kind.GENERATION and parameters.single_reference and len(instance.outputs) > 1:
        return "several_references", f"{s.task}: {len(instance.outputs)}"
    num_words = len(definition.split()) + len(instance.input.split())
    if num_words >= parameters.max_words:
        return "too_long", f"{s.task}: {num_words} words, limit {parameters.max_words}"
    return "", ""


def draw(
    candidates: Sequence[Candidate], targets: Mapping[Kind, int], parameters: SampleParameters
) -> tuple[list[Candidate], list[Dropped]]:
    """Draws each kind's target, or all there is.

    Args:
        candidates: In any order: the draw sorts them first.
        targets: Rows wanted per kind.
    Returns:
        The chosen, sorted by (kind, task, id), and the others: `over_quota`, or `already_solved`.
    """
    chosen: list[Candidate] = []
    for kind, target in sorted(targets.items()):
        weak = [c for c in candidates if c.kind is kind and not c.solved]
        solved = [c for c in candidates if c.kind is kind and c.solved]
        num_solved = min(round(target * parameters.retain_share), len(solved))
        chosen_weak = _draw_pool(weak, target - num_solved, parameters)
        chosen += [*chosen_weak, *_draw_pool(solved, target - len(chosen_weak), parameters)]
    taken = {(c.task, c.id) for c in chosen}
    left = [c for c in candidates if c.kind in targets and (c.task, c.id) not in taken]
    return sorted(chosen, key=_order), [_left(c) for c in sorted(left, key=_order)]


def _draw_pool(pool: Sequence[Candidate], target: int, parameters: SampleParameters) -> list[Candidate]:
    """Shares `target` out over the pool's cells by weight and draws inside each."""
    cells = _cells(pool)
    amounts = allocate(target, [_weight(cell[0], parameters) for _, cell in cells], [len(cell) for _, cell in cells])
    chosen: list[Candidate] = []
    for (key, cell), amount in zip(cells, amounts, strict=True):
        rng = random.Random(f"sample-{parameters.seed}-{cell[0].kind}-{cell[0].solved}-{key}")
        chosen += rng.sample(cell, amount)
    return chosen


def _left(c: Candidate) -> Dropped:
    reason = "already_solved" if c.solved else "over_quota"
    return Dropped(unit="row", id=c.id, reason=reason, detail=f"{c.task}: bucket {c.bucket}")


def _order(c: Candidate) -> tuple[str, str, str]:
    return c.kind, c.task, c.id


def _cells(candidates: Sequence[Candidate]) -> list[tuple[str, list[Candidate]]]:
    """What quotas apply to: a task, or for weak generated answers a ROUGE-L bucket over all tasks."""
    cells: dict[str, list[Candidate]] = defaultdict(list)
    for c in sorted(candidates, key=_order):
        by_task = c.solved or c.kind is Kind.EXACT_MATCH
        cells[c.task if by_task else f"bucket{c.bucket}"].append(c)
    return sorted(cells.items())


def _weight(c: Candidate, parameters: SampleParameters) -> int:
    if c.solved:
        return 1
    return (parameters.task_weights if c.kind is Kind.EXACT_MATCH else parameters.generation_shares)[c.bucket]


def allocate(target: int, weights: Sequence[int], available: Sequence[int]) -> list[int]:
    """Splits `target` in proportion to `weights`, never above `available`; a cell's shortfall goes to the others.

    Returns:
        Whole amounts that sum to min(target, what cells of positive weight hold). Rests go to the largest
        remainders, the first cell of equals.
    """
    amounts = [0] * len(weights)
    open_cells = [i for i, (w, a) in enumerate(zip(weights, available, strict=True)) if w > 0 and a > 0]
    rest = min(target, sum(available[i] for i in open_cells))
    while rest > 0:
        total = sum(weights[i] for i in open_cells)
        full = [i for i in open_cells if available[i] * total <= rest * weights[i]]
        if not full:  # nothing is capped any more: share out exactly
            shares = {i: divmod(rest * weights[i], total) for i in open_cells}
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
