"""Every arm against the anchor: differences on the same items, by a paired bootstrap over what was drawn together.

    compared_with_anchor(Path("runs/finnish"), results, anchor="en-fi-100pct")["dpo-both"]["ifeval.prompt_strict", "en"]

The outcomes of all items stand in `items.jsonl` of each score, so that neither a model nor a judge is needed.

Where it sits: scored responses -> **compared** -> the page.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter

from core.files import file_sha256, read_as, read_jsonl, write_json
from evaluation.difference import LANGUAGE, NOT_DISTINGUISHED, outcome_differences
from evaluation.suite import Outcome
from studies.metrics import specs_of
from studies.running.results import StudyResults
from studies.selection import ALL

ITEMS = "items.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """The value of an arm minus that of the anchor."""

    metric: str
    language: str
    value: float
    interval: tuple[float, float] | None
    """95 %; None where there is none, as for a median."""
    distinguished: bool
    """Whether the interval excludes zero."""

    @property
    def verdict(self) -> str:
        """In words; empty without an interval."""
        return "" if self.interval is None else "distinguished" if self.distinguished else NOT_DISTINGUISHED


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stored:
    items: tuple[str, str]
    """Hashes of the scored items of both."""
    rows: tuple[Compared, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Item:
    """A scored item, as `items.jsonl` has it."""

    suite: str
    language: str
    id: str
    cluster: str
    outcomes: tuple[Outcome, ...]


def compared_with_anchor(
    folder: Path, results: StudyResults, *, anchor: str, languages: Mapping[str, Sequence[str]]
) -> dict[str, dict[tuple[str, str], Compared]]:
    """Arm -> (metric, language) -> difference, of the suites that both have.

    Args:
        languages: Of each suite of the study. The figures of a suite with one language stand under that one.
    """
    base = results.arms[anchor].responses
    found: dict[str, dict[tuple[str, str], Compared]] = {}
    for name, arm in results.arms.items():
        for suite, place in arm.responses.items():
            if suite in base and place != base[suite]:
                ours, theirs = folder / place, folder / base[suite]
                for score in sorted(path.parent.name for path in ours.glob(f"*/{ITEMS}")):
                    rows = _compared(ours, theirs, score, languages[suite])
                    found.setdefault(name, {}).update({(row.metric, row.language): row for row in rows})
    return found


def _compared(ours: Path, theirs: Path, score: str, languages: Sequence[str]) -> list[Compared]:
    """Computed once for the same scored items."""
    path = ours / score / f"against-{theirs.name}.json"
    files = (ours / score / ITEMS, theirs / score / ITEMS)
    if not files[1].is_file():
        return []
    hashes = (file_sha256(files[0]), file_sha256(files[1]))
    stored = read_as(_Stored, path) if path.is_file() else None
    if stored is None or stored.items != hashes:
        stored = _Stored(items=hashes, rows=tuple(_rows(*files, score, languages)))
        write_json(path, asdict(stored))
    return list(stored.rows)


def _rows(ours: Path, theirs: Path, score: str, languages: Sequence[str]) -> list[Compared]:
    items, others = _items(ours), _items(theirs)
    both = sorted(items.keys() & others.keys())
    found = outcome_differences([items[key] for key in both], [others[key] for key in both], specs_of(score))
    only = languages[0] if len(languages) == 1 else ""
    by_language = {} if only else Counter(place[2] for place in found if place[0] == LANGUAGE)
    return [
        Compared(
            metric=f"{score}.{metric}",
            language=label or only or (ALL if by_language.get(metric, 0) > 1 else ""),
            value=round(difference.value, 6),
            interval=difference.interval,
            distinguished=difference.is_distinguished,
        )
        for (dimension, label, metric), difference in found.items()
        if not (dimension and only) and not (not dimension and by_language.get(metric) == 1)
    ]


def _items(path: Path) -> Mapping[tuple[str, str, str], _Item]:
    rows: Sequence[_Item] = TypeAdapter(list[_Item]).validate_python(list(read_jsonl(path)))
    return {(row.suite, row.language, row.id): row for row in rows}
