"""Nested mixes: all rows of one file and a share of another, such as English with 10 or 20 % of the Finnish rows.

    nested_mix(english, finnish, percent=10, seed=42)

The added rows are the first rows of one seeded permutation. The rows of 10 % are therefore a prefix of those of 20 %,
and the rows of the base file are the same in every mix. A share of 100 % joins two files.

Source: the mixes en-fi-Xpct of the Finnish post-training of Poro 34B; that they are nested is our choice.

Where it sits: rows -> **mix**.
"""

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated

from core.errors import MixError
from core.stage import Dropped
from curation.builders.rows import InputSpec, IsInput, Row, distinct
from curation.builders.work import BuildContext, BuildOptions, Output


@dataclass(frozen=True, slots=True, kw_only=True)
class MixOptions(BuildOptions):
    """Options of nested mixes."""

    base: Annotated[str, IsInput()]
    """Rows that every mix contains: FILE, NAME=FILE, or FILE#KEY to read one key of each record."""
    added: Annotated[str, IsInput()]
    """Rows of which a share is added, written in the same way."""
    percent: tuple[float, ...] = ()
    """Share of the added rows in per cent, from 0 to 100. Each value gives one mix. Default: 100."""
    seed: int = 42
    """Seed of the permutation."""

    def check(self) -> None:
        """Raises `MixError` if a value cannot be used."""
        if wrong := [p for p in self.percent if not 0 <= p <= 100]:
            raise MixError(f"`percent={wrong[0]:g}`: not a share. Give 0 to 100.")
        if len(set(self.percent)) < len(self.percent):
            raise MixError("`percent=`: one share is given twice. Give each once.")


def outputs(options: MixOptions, context: BuildContext) -> Iterator[Output]:
    """Yields one file for each share."""
    of_base, of_added = distinct([InputSpec.parse(options.base), InputSpec.parse(options.added)])
    base, added = list(context.rows(of_base)), list(context.rows(of_added))
    percents = options.percent or (100.0,)
    names = [f"{of_base.name}-{of_added.name}-{percent:g}pct" for percent in percents]
    context.tables["mixes"] = [
        {"mix": name, of_base.name: len(base), of_added.name: num_added(len(added), percent)}
        for name, percent in zip(names, percents, strict=True)
    ]
    for name, percent in zip(names, percents, strict=True):
        yield Output(
            name=name,
            items=nested_mix(base, added, percent=percent, seed=options.seed),
            num_in=lambda: len(base) + len(added),
            unit=f"row of {name}",
        )


def nested_mix(base: Sequence[Row], added: Sequence[Row], *, percent: float, seed: int) -> Iterator[Row | Dropped]:
    """Yields all base rows in order, then the first rows of the permutation. Drops the rest of the permutation."""
    order = list(range(len(added)))
    random.Random(seed).shuffle(order)
    num = num_added(len(added), percent)
    yield from (row.in_mixture() for row in base)
    yield from (added[n].in_mixture() for n in order[:num])
    for n in order[num:]:
        yield Dropped(unit="row", id=added[n].id, reason="over_percent", source=added[n].source)


def num_added(num_rows: int, percent: float) -> int:
    """Returns the number of rows of a share, rounded to the nearest number; a half is rounded up.

    >>> [num_added(4399, percent) for percent in (0, 10, 20, 40, 60, 80, 100)]
    [0, 440, 880, 1760, 2639, 3519, 4399]
    """
    return math.floor(Fraction(str(percent)) * num_rows / 100 + Fraction(1, 2))
