"""Language-uniform mixtures: the same number of rows, or of tokens, from each of several files of any size.

    uniform({"en": english, "fr": french}, {"en": [4, 0], "fr": [1, 2]}, seed=42)

Each file has its own seeded permutation, of which a prefix is taken. Adding a file therefore does not change which rows
are taken from the others. The sampling weights of a trainer would draw other rows in each epoch.

Source: uniform sampling over languages in the zero-shot cross-lingual transfer paper (INLG 2024).

Where it sits: rows -> **uniform**.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from core.errors import MixError
from core.stage import Dropped
from curation.builders.rows import InputSpec, IsInput, Row, distinct
from curation.builders.work import BuildContext, BuildOptions, Line, Output, num_tokens, token_counter


@dataclass(frozen=True, slots=True, kw_only=True)
class UniformOptions(BuildOptions):
    """Options of a language-uniform mixture."""

    data: Annotated[tuple[str, ...], IsInput()]
    """An input for each language: FILE, NAME=FILE, or FILE#KEY to read one key of each record."""
    unit: Literal["rows", "tokens"] = "rows"
    """Unit in which the languages get equal shares."""
    size: int | None = None
    """Number of rows or tokens of the whole mixture. Default: each language gets as many as the smallest one has, or as
    the largest one has if rows are repeated."""
    repeat: bool = False
    """Repeat the rows of shorter files instead of dropping rows of longer ones."""
    tokenizer: Path | None = None
    """Folder of the base model, or its tokenizer file, to count tokens with."""
    seed: int = 42
    """Seed of the permutations."""

    def check(self) -> None:
        """Raises `MixError` if a value cannot be used."""
        if len(self.data) < 2:
            raise MixError("`data=` needs at least two inputs, one for each language.")
        if self.size is not None and self.size < len(self.data):
            raise MixError(f"`size={self.size}`: less than one for each language. Give at least {len(self.data)}.")


def outputs(options: UniformOptions, context: BuildContext) -> Iterator[Output]:
    """Yields one file, with its rows in a seeded order."""
    inputs = distinct([InputSpec.parse(text) for text in options.data])
    languages = {data.name: list(context.rows(data)) for data in inputs}
    amounts = _amounts(languages, options)
    if empty := [name for name, values in amounts.items() if not sum(values)]:
        raise MixError(f"{empty[0]}: has no row with text. Remove it from `data=`.")
    shares = _shares(amounts, options)
    order = {name: _order(len(rows), options.seed, name) for name, rows in languages.items()}
    taken = {name: _taken(order[name], amounts[name], shares[name], options) for name in languages}
    context.tables["shares"] = list(_lines(taken, amounts))
    yield Output(
        name="uniform",
        items=uniform(languages, taken, seed=options.seed),
        num_in=lambda: sum(map(len, languages.values())),
    )


def uniform(
    languages: Mapping[str, Sequence[Row]], taken: Mapping[str, Sequence[int]], *, seed: int
) -> Iterator[Row | Dropped]:
    """Yields the taken rows in a seeded order, and drops the others. The id of a repeated row ends with its number.

    Args:
        taken: Language -> positions of the rows that are taken. A position that occurs again is a repeat.
    """
    drawn: list[Row] = []
    for name, positions in taken.items():
        passes: dict[int, int] = {}
        for position in positions:
            passes[position] = passes.get(position, 0) + 1
            suffix = f"#{passes[position]}" if passes[position] > 1 else ""
            drawn.append(languages[name][position].in_mixture(suffix))
    random.Random(f"{seed}:order").shuffle(drawn)
    yield from drawn
    for name, rows in languages.items():
        used = set(taken[name])
        for position, row in enumerate(rows):
            if position not in used:
                yield Dropped(unit="row", id=row.id, reason="over_share", source=name)


def _amounts(languages: Mapping[str, Sequence[Row]], options: UniformOptions) -> dict[str, list[int]]:
    """Returns the size of each row: 1, or its number of tokens."""
    if options.unit == "rows":
        return {name: [1] * len(rows) for name, rows in languages.items()}
    counter = token_counter(options.tokenizer, "shares are equal in tokens")
    return {name: [num_tokens(counter, row) for row in rows] for name, rows in languages.items()}


def _shares(amounts: Mapping[str, Sequence[int]], options: UniformOptions) -> dict[str, int]:
    """Returns the share of each language. The first languages get what remains after an even division.

    Raises:
        MixError: a language has less than its share, and rows are not repeated.
    """
    held = {name: sum(values) for name, values in amounts.items()}
    most: Callable[..., int] = max if options.repeat else min
    size = most(held.values()) * len(held) if options.size is None else options.size
    share, rest = divmod(size, len(held))
    shares = {name: share + (number < rest) for number, name in enumerate(held)}
    if short := [name for name in held if held[name] < shares[name] and not options.repeat]:
        name = short[0]
        raise MixError(
            f"`size={size}` needs {shares[name]:,} {options.unit} of {name}, which has {held[name]:,}. Pass "
            f"`repeat=true`, or at most `size={min(held.values()) * len(held)}`."
        )
    return shares


def _order(num: int, seed: int, name: str) -> list[int]:
    order = list(range(num))
    random.Random(f"{seed}:{name}").shuffle(order)
    return order


def _taken(order: Sequence[int], amounts: Sequence[int], share: int, options: UniformOptions) -> list[int]:
    """Takes positions in order until the next row would exceed the share."""
    taken: list[int] = []
    left = share
    while True:
        for position in order:
            if amounts[position] > left:
                return taken
            left -= amounts[position]
            taken.append(position)
        if not options.repeat:
            return taken


def _lines(taken: Mapping[str, Sequence[int]], amounts: Mapping[str, Sequence[int]]) -> Iterator[Line]:
    for name, positions in taken.items():
        num_distinct = len(set(positions))
        yield {
            "language": name,
            "read": len(amounts[name]),
            "rows": len(positions),
            "distinct": num_distinct,
            "repeats": len(positions) - num_distinct,
            "amount": sum(amounts[name][position] for position in positions),
        }
