"""`oneday check`: lists problems of data, and rows that would not be used, before time is spent on them."""

from pathlib import Path

from core.encoding.long_example import LongExamples
from core.errors import DataError, SourceError
from core.example.reading import layout_named, open_source
from core.records.record import Place
from curation.check import Checked, CheckParameters, LeftOut, check
from curation.check_task import Problem
from curation.preset import CurationParameters, preset, reseeded, with_settings
from harness.base_model import find_model
from harness.data.check import check_training
from harness.data.own_mix import OwnMixParameters
from harness.data.share import DataFile
from oneday.commands.curate import named, options_of_choices, pair, tokenizer_of
from oneday.display.console import Console
from oneday.requests.curation import CheckRequest


def run_check(request: CheckRequest, console: Console) -> None:
    """Lists every problem, every row that would not be used, and what was read.

    Raises:
        DataError: The data has a problem.
    """
    checked = _check_training(request) if request.training else check(request.files, _parameters(request))
    for line in [*checked.problems, *checked.left_out]:
        console.out.print(str(line), markup=False, soft_wrap=True)
    for line in checked.told:
        console.say(line)
    num_problems = len(checked.problems)
    console.say(
        f"{checked.num_files:,} files, {checked.census.num_records:,} records, {checked.num_usable:,} usable, "
        f"{num_problems:,} problems"
    )
    console.result(as_result(checked))
    if num_problems:
        files = ", ".join(map(str, request.files))
        raise DataError(
            f"{files}: {num_problems} problems, listed above. Mend them, or let curate leave those rows out."
        )


def _check_training(request: CheckRequest) -> Checked:
    """What `oneday train --data` would leave out."""
    layout = layout_named(request.layout) if request.layout else None
    tried = check_training(
        [DataFile(str(path)) for path in request.files],
        OwnMixParameters(layout=layout, seed=request.seed),
        base=find_model(str(request.base)) if request.base else None,
        sequence_len=request.sequence_len,
        long_examples=LongExamples(request.long_examples),
    )
    checked = Checked(told=list(tried.notes))
    for path in request.files:
        source = open_source(path, layout=layout)
        checked.num_files += max(len(source.parts), 1)
        for item in source.examples():
            checked.census.add(item)
    checked.problems = [Problem(place=Place(file=dropped.source), what=dropped.detail) for dropped in tried.problems]
    checked.left_out = [
        LeftOut(place=Place(file=dropped.source), reason=dropped.reason, detail=dropped.detail)
        for dropped in tried.left_out
    ]
    if tried.failure:
        where = ", ".join(map(str, request.files))
        checked.problems.append(Problem(place=Place(file=where), what=tried.failure))
    return checked


def as_result(checked: Checked) -> dict[str, object]:
    """The machine-readable line."""
    return {
        "records": checked.census.num_records,
        "usable": checked.num_usable,
        "problems": [str(problem) for problem in checked.problems],
        "turns": checked.census.num_turns,
        "by_kind": {str(kind): n for kind, n in sorted(checked.census.kinds.items())},
        "unused_fields": dict(sorted(checked.census.unused.items())),
        "dropped_by_reason": checked.dropped_by_reason,
    }


def _parameters(request: CheckRequest) -> CheckParameters:
    curation = _curation(request)
    suites = {name: Path(path) for name, path in named(request.against, "against").items()}
    for name, path in suites.items():
        if not path.is_file():
            raise SourceError(f"`against={name}={path}`: no such file. Give JSON lines of the suite's questions.")
    return CheckParameters(
        curation=curation,
        tokenizer=tokenizer_of(request, curation),
        suites=suites,
        layout=layout_named(request.layout) if request.layout else None,
        take_all=request.take_all,
    )


def _curation(request: CheckRequest) -> CurationParameters:
    settings = dict(pair(text, "set", "policies.max_tokens=1024") for text in request.set)
    p = with_settings(reseeded(preset(request.preset), request.seed), settings)
    return with_settings(p, options_of_choices(request))
