"""`oneday check`: lists problems of data, and rows that would not be used, before time is spent on them."""

from pathlib import Path

from core.errors import DataError, SourceError
from core.example.reading import layout_named
from curation.check import Checked, CheckParameters, check
from curation.preset import CurationParameters, preset, reseeded, with_settings
from oneday.commands.curate import named, options_of_choices, pair, tokenizer_of
from oneday.display.console import Console
from oneday.requests.curation import CheckRequest


def run_check(request: CheckRequest, console: Console) -> None:
    """Lists every problem, every row that would not be used, and what was read.

    Raises:
        DataError: The data has a problem.
    """
    parameters = _parameters(request)
    checked = check(request.files, parameters)
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
