"""The mix: rows of all sources, without duplicates, split into train and validation.

    rows, dropped = deduplicate(rows)
    train, validation = split(rows, validation_size=64, seed=2023)

Where it sits: sample + source -> **mix** -> harness.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from curation.errors import MixError
from curation.licence import Licence, classify
from curation.select import SelectionRules
from curation.source import LIMA_LICENCE, MixRow
from curation.stage import Dropped, sha256

VALIDATION_SIZE = 2_000
"""Rows of the unscaled mix. Source: the paper (the scripts take 2 %)."""

MIN_VALIDATION, MAX_VALIDATION_SHARE = 64, 0.1
"""A scaled mix keeps enough validation rows to tell checkpoints apart, and never gives more than a tenth away."""


def validation_size(num_rows: int, scale: float) -> int:
    """2,000 rows scaled, at least 64, at most a tenth of the rows, at least one."""
    wanted = max(MIN_VALIDATION, round(VALIDATION_SIZE * scale))
    return max(1, min(wanted, int(num_rows * MAX_VALIDATION_SHARE)))


def deduplicate(rows: Iterable[MixRow]) -> tuple[list[MixRow], list[Dropped]]:
    """Keeps the first of rows with the same (instruction, input).

    The winner's key, the input alone, drops rows of other tasks on the same text: 6,259 of 309,638 measured.
    """
    kept: list[MixRow] = []
    dropped: list[Dropped] = []
    first: dict[str, str] = {}
    for row in rows:
        key = sha256(f"{row.instruction}\0{row.input}".encode())
        if key in first:
            dropped.append(Dropped(unit="row", id=row.id, reason="duplicate", detail=f"same as {first[key]}"))
        else:
            first[key] = row.id
            kept.append(row)
    return kept, dropped


def split(rows: Sequence[MixRow], *, validation_size: int, seed: int) -> tuple[list[MixRow], list[MixRow]]:
    """Stratified by task where every task can be in both parts, else by source; both parts shuffled.

    Raises:
        MixError: fewer than two rows.
    """
    if len(rows) < 2:
        raise MixError(f"the mix has {len(rows)} rows: nothing to train on. Raise --scale or --instances-per-task.")
    from sklearn.model_selection import train_test_split

    ordered = sorted(rows, key=lambda r: (r.source, r.task, r.id))
    labels = _strata(ordered, validation_size)
    train, validation = train_test_split(ordered, test_size=validation_size, stratify=labels, random_state=seed)
    for part, name in ((train, "train"), (validation, "validation")):
        random.Random(f"{name}-{seed}").shuffle(part)
    return train, validation


def _strata(rows: Sequence[MixRow], validation_size: int) -> list[str] | None:
    """The finest labels that scikit-learn can stratify by; classes of one row are pooled."""
    by: tuple[Callable[[MixRow], str], ...] = (lambda r: f"{r.source}/{r.task}", lambda r: r.source)
    for label_of in by:
        raw = [label_of(r) for r in rows]
        rare = {label for label, n in Counter(raw).items() if n < 2}
        labels = ["(rare)" if label in rare else label for label in raw]
        sizes = Counter(labels)
        if min(sizes.values()) >= 2 and len(sizes) <= min(validation_size, len(rows) - validation_size):
            return labels
    return None


def lima_is_allowed(rules: SelectionRules) -> bool:
    """LIMA's licence bars commercial use."""
    return rules.allow_non_commercial or classify([LIMA_LICENCE]) is not Licence.NON_COMMERCIAL


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortfall:
    """A source that gives less than its target, and why: never silently less."""

    source: str
    target: int
    rows: int
    reason: str


def shortfalls(targets: Mapping[str, int], rows: Iterable[MixRow], rules: SelectionRules) -> list[Shortfall]:
    """Every source below its target."""
    have = Counter(r.source for r in rows)
    return [
        Shortfall(source=source, target=target, rows=have[source], reason=_reason(source, rules))
        for source, target in targets.items()
        if have[source] < target
    ]


def _reason(source: str, rules: SelectionRules) -> str:
    if source != "lima":
        return "the tasks hold no more wrong or weak answers that fit; ask more instances or lower --scale"
    if not lima_is_allowed(rules):
        return f"licence {LIMA_LICENCE} is non-commercial; --allow-non-commercial takes it"
    return "the file holds no more"
