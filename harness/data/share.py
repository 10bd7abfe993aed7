"""Files that are mixed by shares of tokens.

    >>> DataFile.parse("mine.jsonl:0.3")
    DataFile(path='mine.jsonl', share=0.3)
    >>> parts_by_share({"mine": 600, "other": 700}, {"mine": 0.3, "other": None})
    {'mine': 300, 'other': 700}

Where it sits: the command line -> **share** -> own_mix.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from core.errors import DataError


@dataclass(frozen=True, slots=True)
class DataFile:
    """A file, folder, archive or data set of the hub, and the share of the mix's tokens that it gets."""

    path: str
    share: float | None = None
    """None: it gets what the shares of the others leave, in proportion to its tokens."""

    @classmethod
    def parse(cls, text: str) -> "DataFile":
        """Of `PATH` or `PATH:SHARE`; a share is written as 0.3 or 30%.

        Raises:
            DataError: the share is not between 0 and 1.
        """
        path, colon, number = text.rpartition(":")
        share = parse_share(number) if colon else None
        if share is None:
            return cls(text)
        if not 0 < share <= 1:
            raise DataError(f"`data={text}`: a share is above 0 and at most 1. Write {path}:0.3, for example.")
        return cls(path, share)


def parse_share(text: str) -> float | None:
    """The number of a share; None: the text is none.

    >>> parse_share("0.2"), parse_share("20%"), parse_share("train.jsonl")
    (0.2, 0.2, None)
    """
    try:
        return float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        return None


def parts_by_share(num_tokens: Mapping[str, int], shares: Mapping[str, float | None]) -> dict[str, int]:
    """Tokens of each file, as many in all as the shares allow without taking an example twice.

    Args:
        num_tokens: Of each file.
        shares: Of each file; None: what is left, in proportion to tokens.
    Raises:
        DataError: shares add up to more than 1, or to less with no file left for the rest.
    """
    given = {name: share for name, share in shares.items() if share is not None}
    rest = {name: num_tokens[name] for name, share in shares.items() if share is None}
    left = 1.0 - sum(given.values())
    if left < -1e-9 or (rest and left <= 1e-9):
        raise DataError(
            f"`data=`: the shares add up to {sum(given.values()):g}, which leaves nothing for "
            f"{', '.join(rest) or 'the whole'}. Give smaller ones."
        )
    if not rest and left > 1e-9:
        raise DataError(
            f"`data=`: the shares add up to {sum(given.values()):g}, and every file has one. Make it 1, or leave a "
            "share out."
        )
    totals = [num_tokens[name] / share for name, share in given.items()]
    total = min([*totals, sum(rest.values()) / left] if rest else totals)
    wanted = {name: round(share * total) for name, share in given.items()}
    wanted |= {name: round(total * left * n / max(sum(rest.values()), 1)) for name, n in rest.items()}
    return {name: min(wanted[name], num_tokens[name]) for name in shares}
