"""Shortfalls: sources that give fewer rows than their target, with the reasons and the ways out in numbers.

    for short in shortfalls(targets, have, lost, scale=1.0):
        print(short)

Where it sits: computed after the draw, shown by the command line and the report.
"""

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, fields

from curation.sources.source import NI_EXACT_MATCH, NI_GENERATION


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortfall:
    """A source below its target."""

    source: str
    target: int
    rows: int
    """Number of rows that it gives."""
    because: Mapping[str, int]
    """Reason -> number of rows of this source that were left out for it."""
    ways_out: tuple[str, ...]

    def __str__(self) -> str:
        """Target, rows, reasons and ways out in one line."""
        lost = _told(self.because) or "the source holds no more"
        ways = f" Ways out: {'; or '.join(self.ways_out)}." if self.ways_out else ""
        return f"{self.source} gives {self.rows:,} of {self.target:,} rows ({lost}).{ways}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ToldShortfall(Shortfall):
    """A shortfall as it stands in a summary."""

    text: str
    """The shortfall in one line."""

    @classmethod
    def of(cls, shortfall: Shortfall) -> "ToldShortfall":
        """Adds the line."""
        values = {field.name: getattr(shortfall, field.name) for field in fields(shortfall)}
        return cls(**values, text=str(shortfall))


_ASK_MORE = "leave `adaptive=true` and `within=` out to ask {n:,} more instances"

_MENDS = {
    "non_commercial": "`policies.licences=all` takes {n:,} non-commercial rows",
    "unknown_licence": "`policies.licences=commercial` takes {n:,} rows of unknown licence",
    "already_solved": "`samples.retain_share=0.25` takes up to a quarter from {n:,} rows that the base already answers",
    "too_long": "{longer} takes some of {n:,} long rows",
    "several_references": "`candidates.references=first` takes {n:,} rows with several answers",
    "language": "`policies.language=none` takes {n:,} rows of another language",
    "llm_generated": "`policies.llm_generated=true` takes {n:,} rows that a language model wrote",
    "degenerate": "`policies.degenerate=false` takes {n:,} rows with broken answers",
    "low_accuracy": "`candidates.min_accuracy=0` takes {n:,} rows of tasks that the base hardly ever gets right",
    "short_input": "`policies.min_input_words=0` takes {n:,} rows with short inputs",
    "near_duplicate": "`policies.near_duplicates=none` takes {n:,} near duplicates",
    "bucket_certain": _ASK_MORE,
    "bucket_uncertain": _ASK_MORE,
    "quota_filled": _ASK_MORE,
    "time_is_up": "give a longer `within=` and `redo=true`: {n:,} instances were not asked",
    "not_asked": "raise `instances_per_task=`: {n:,} instances were not asked",
}
"""Reason -> how to get such rows back. There is no way for other reasons."""

TAKE_ALL = "`samples.take_all=true` keeps every row of it that the policies let pass"
CHOSEN_AGAINST = ("already_solved", "used_as_example", "over_quota", "prompt_too_long", "refused_by_server")
"""Reasons for which own rows are left out because of the base's answers or the wanted share; taking all avoids them."""

LEAST_SCALE = 0.001
"""A smaller scale is not suggested, because it would leave a few hundred rows."""


def shortfalls(
    targets: Mapping[str, int],
    have: Mapping[str, int],
    lost: Mapping[str, Mapping[str, int]],
    *,
    scale: float,
    longer: str = "`policies.max_tokens=4096`",
    own: Collection[str] = (),
    is_papers: bool = True,
) -> list[Shortfall]:
    """Every source below its target.

    Args:
        targets: Rows wanted by source.
        have: Rows drawn by source.
        lost: Source -> reason -> rows that were left out.
        scale: Of the mix.
        longer: The setting that admits longer rows.
        own: Sources that are the user's own files.
        is_papers: Whether the mix is one of the paper's, whose proportions a scale keeps.
    """
    short = []
    for source, target in targets.items():
        rows = have.get(source, 0)
        if rows >= target:
            continue
        reasons = {r: n for r, n in sorted(lost.get(source, {}).items(), key=lambda x: (-x[1], x[0])) if n}
        mends = {r: _MENDS[r].format(n=n, longer=longer) for r, n in reasons.items() if r in _MENDS}
        if source in own:
            ways = [mend for reason, mend in mends.items() if reason not in CHOSEN_AGAINST][:1]
            ways += [TAKE_ALL] if set(reasons) & set(CHOSEN_AGAINST) else []
        else:
            more = "more task files with `tasks=`" if source in (NI_EXACT_MATCH, NI_GENERATION) else "a larger file"
            shrunk = _accept(source, scale * rows / target) if is_papers else []
            given = [f"give {more}: {target - rows:,} rows are missing"]
            ways = [*list(mends.values())[:1], *(shrunk if mends else given), *(given if mends else shrunk)][:2]
        short.append(Shortfall(source=source, target=target, rows=rows, because=reasons, ways_out=tuple(ways)))
    return short


def nothing_left(
    kept: int,
    lost: Mapping[str, Mapping[str, int]],
    *,
    longer: str = "`policies.max_tokens=4096`",
    own: Collection[str] = (),
) -> str:
    """Why a mix has too few rows to be split: the reasons by source, and how to get most rows back."""
    by_source = {source: {r: n for r, n in reasons.items() if n} for source, reasons in sorted(lost.items())}
    told = [f"{source}: {_told(reasons)}" for source, reasons in by_source.items() if reasons]
    ways = dict(_ways(by_source, longer, own))
    best = max(ways, key=lambda way: ways[way], default="give more rows with `tasks=`")
    rows = "no row is" if kept == 0 else "only 1 row is"
    return f"{rows} left to train on ({'; '.join(told) or 'nothing was left out'}). Way out: {best}, with `redo=true`."


def _ways(by_source: Mapping[str, Mapping[str, int]], longer: str, own: Collection[str]) -> Iterator[tuple[str, int]]:
    """Ways out, each with the number of rows that it adds."""
    for source, reasons in by_source.items():
        for reason, n in reasons.items():
            if source in own and reason in CHOSEN_AGAINST:
                yield TAKE_ALL, sum(reasons.get(r, 0) for r in CHOSEN_AGAINST)
            elif reason == "already_solved":  # there are no weak rows of which a share could be retained
                yield f"give other tasks with `tasks=`: the base already answers {n:,} rows of these", n
            elif reason in _MENDS:
                yield _MENDS[reason].format(n=n, longer=longer), n


def _told(reasons: Mapping[str, int]) -> str:
    return ", ".join(f"{n:,} {reason}" for reason, n in sorted(reasons.items(), key=lambda x: (-x[1], x[0])))


def _accept(source: str, scale: float) -> list[str]:
    if scale == 0:
        return [f"`without={source}` leaves it out"]
    least = _floored(scale)
    return [f"`scale={least:.3g}` shrinks every source so that this one fills its share"] * (least >= LEAST_SCALE)


def _floored(value: float) -> float:
    """Rounded down to three digits; a larger scale would fall short again."""
    digits = 10.0 ** (2 - math.floor(math.log10(value)))
    return math.floor(value * digits) / digits
