"""Check: every problem of task files and own data with its place, and every row that a curation would not use.

    checked = check([Path("mine.jsonl")], CheckParameters())
    checked.problems, checked.left_out

A problem is something to mend in a file. What a curation would leave out of good rows (duplicates, long ones, those of
a licence that is not taken) is found by curating them: the same stages run in a folder that is thrown away. No model is
asked, so rows that the base already answers right are not known here.

Where it sits: beside task and own_data; the command line prints what it finds.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from core.errors import DataError
from core.example.layout import Layout
from core.example.reading import Census, Source
from core.records.container import contents
from core.records.record import Place, Rejected
from curation.check_task import Problem, check_task
from curation.ni.task import task_paths
from curation.preset import CurationParameters
from curation.sources.own_data import is_own, is_task_file, own_sources
from curation.sources.own_row import OwnAccount, OwnRow, Unasked, read_own
from curation.trial import Trial, trial


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckParameters:
    """The choices of the curation whose drops are told."""

    curation: CurationParameters = CurationParameters()
    tokenizer: Path | None = None
    """Counts the tokens of rows; None: they are not counted, and no row is too long."""
    suites: Mapping[str, Path] = field(default_factory=dict)
    layout: Layout | None = None
    """Of every record of own data; None: found by looking."""
    take_all: bool = True
    """As a curation that takes all own rows. False: also the rows that curation shows as examples in its prompts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A good record that would not be used."""

    place: Place
    reason: str
    detail: str

    def __str__(self) -> str:
        return f"{self.place}: left out: {self.reason}" + (f" ({self.detail})" if self.detail else "")


@dataclass(slots=True, kw_only=True)
class Checked:
    """What was found in all that was given."""

    num_files: int = 0
    census: Census = field(default_factory=Census)
    problems: list[Problem] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    """Lines about what was read: its layout, columns that are not used, dialogues that are cut."""

    @property
    def dropped_by_reason(self) -> dict[str, int]:
        """How many records are not used, and why: rejected ones and good ones."""
        counts = Counter(self.census.rejected) + Counter(left.reason for left in self.left_out)
        return dict(sorted(counts.items()))

    @property
    def num_usable(self) -> int:
        """Records that are used."""
        return self.census.num_records - sum(self.dropped_by_reason.values())


def check(given: Sequence[Path], parameters: CheckParameters | None = None) -> Checked:
    """Every file under the paths, and names of the hub.

    Raises:
        OnedayError: there is nothing to check, or an option does not fit.
    """
    parameters = parameters or CheckParameters()
    checked = Checked()
    own, tasks = _split(given, checked)
    _check_own(own, parameters, checked)
    for path in task_paths(tasks) if tasks else []:
        found = check_task(path)
        checked.num_files += 1
        checked.problems += found.problems
        checked.census += found.census
    return checked


def _split(given: Sequence[Path], checked: Checked) -> tuple[list[Path], list[Path]]:
    """Own data and task files; what lies beside task files in their folder is looked at too, though curate does not."""
    own = [path for path in given if is_own(path)]
    tasks = [path for path in given if path not in own]
    for folder in tasks:
        beside = _beside_tasks(folder) if folder.is_dir() else []
        own += beside
        if beside:
            checked.told.append(f"{folder}: curate takes its task files alone; give {beside[0].name} by itself")
    return own, tasks


def _beside_tasks(folder: Path) -> list[Path]:
    try:
        paths = {part.path for part in contents(folder).parts if part.path.parent == folder}
    except DataError:
        return []
    return sorted(path for path in paths if not is_task_file(path) and path.suffix != ".json")


def _check_own(given: Sequence[Path], parameters: CheckParameters, checked: Checked) -> None:
    places: dict[str, Place] = {}
    curated: list[Path] = []
    for name, source in own_sources(given, layout=parameters.layout).items():
        found = _read(source, checked)
        places |= {f"{name}-{row.id}": row.place for row in found}
        if found:
            curated.append(Path(source.where))
    if not curated:
        return
    tried = trial(
        curated, parameters.curation, tokenizer=parameters.tokenizer, suites=parameters.suites,
        layout=parameters.layout, take_all=parameters.take_all,
    )  # fmt: skip
    checked.left_out += sorted(_left_out(tried, places), key=lambda left: _order(left.place))
    if tried.failure:
        checked.problems.append(Problem(place=Place(file=", ".join(map(str, curated))), what=tried.failure))


def _order(place: Place) -> tuple[str, int, int]:
    return place.file, place.line, place.number


def _left_out(tried: Trial, places: Mapping[str, Place]) -> Iterator[LeftOut]:
    for dropped in tried.dropped:
        detail = dropped.detail
        if detail.startswith("same as "):
            first = detail.removeprefix("same as ")
            detail = f"same as {places.get(first, first)}"
        yield LeftOut(place=places[dropped.id], reason=dropped.reason, detail=detail)


def _read(source: Source, checked: Checked) -> list[OwnRow]:
    """Reads one source whole; returns its rows that curation takes."""
    checked.num_files += max(1, len(source.parts))
    account = OwnAccount()
    is_whole = True
    try:
        for read, row in read_own(source):
            account.add(read, row)
    except DataError as e:
        is_whole = False
        what = str(e).removeprefix(f"{source.where}: ")
        account.rejected.append(Rejected(place=Place(file=source.where), reason="unreadable", detail=what))
    if is_whole and account.census.num_records == 0:
        account.rejected.append(Rejected(place=Place(file=source.where), reason="empty", detail="holds no row"))
    checked.problems += [Problem(place=row.place, what=row.detail) for row in account.rejected]
    checked.left_out += _repeated(account.unasked)
    checked.told += [*account.told(source.where), *(f"{name}: not taken for data" for name in source.skipped)]
    checked.told += [f"{name}: holds a split to test on" for name in source.held_out]
    checked.census += account.census
    return account.rows if is_whole else []


def _repeated(examples: Sequence[Unasked]) -> Iterator[LeftOut]:
    """Examples that curation does not use, but for the first of each text."""
    first_of: dict[str, Place] = {}
    for example in examples:
        place = example.row.place
        first = first_of.setdefault(example.key, place)
        if first is not place:
            yield LeftOut(place=place, reason="duplicate", detail=f"same as {first}")
