"""`oneday study`: the shipped studies, and what a study would do."""

from collections.abc import Mapping

from oneday.commands.studying.reading import study_of
from oneday.display.console import Console
from oneday.display.study_tables import show_plan, show_shipped
from oneday.requests.studying import StudyRequest
from studies.estimate import Speeds
from studies.identity import Known
from studies.plan import plan_study
from studies.study import read_presets, read_study, shipped


def run_study_command(request: StudyRequest, console: Console) -> None:
    """Lists the shipped studies, plans one, or runs it.

    Raises:
        OnedayError: the study cannot be read, planned or run.
    """
    if request.list:
        _list(console)
    elif request.dry_run:
        plan = plan_study(study_of(request, request.card), known=Known(), speeds=Speeds())
        show_plan(plan, console)
        console.result(plan.as_json())
    else:
        from oneday.commands.studying.here import run_here  # it needs the trainer's packages

        run_here(request, console)


def _list(console: Console) -> None:
    found: dict[str, Mapping[str, str]] = {}
    studies = []
    for path in shipped():
        presets = {name: preset.about for name, preset in read_presets(path).items()}
        study = read_study(path)
        studies.append((path.stem, study, presets))
        found[path.stem] = {"about": study.about, "budget": study.budget, "presets": ", ".join(presets)}
    show_shipped(studies, console)
    console.result({"studies": found})
