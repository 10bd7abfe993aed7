"""The study that the options of `oneday study` describe."""

import yaml

from harness.budget.duration import seconds
from harness.budget.gpu_profile import get_gpu_profile
from oneday.requests.studying import StudyRequest
from studies.errors import StudyError
from studies.metrics import check_metrics
from studies.study import Study, find_study, read_study


def study_of(request: StudyRequest, card: str | None) -> Study:
    """The study that the options describe.

    Raises:
        OnedayError: it cannot be read, or an option is wrong.
    """
    if request.file is None:
        raise StudyError("which study? Give a YAML file, or one of those that `list=true` shows.")
    if request.budget is not None:
        seconds(request.budget)
    if card is not None:
        get_gpu_profile(card)
    given = {"budget": request.budget, "base": request.base, "card": card}
    changes: dict[str, object] = {key: value for key, value in given.items() if value is not None}
    if request.data_folder is not None:
        changes["data_folder"] = str(request.data_folder)
    changes |= dict(map(_pair, request.set))
    study = read_study(find_study(request.file), preset=request.preset, changes=changes)
    seconds(study.budget)
    check_metrics(study)
    return study


def _pair(text: str) -> tuple[str, object]:
    """`KEY=VALUE`, where the value is YAML: `[0.01, 0.1]`, `1e-5`, `null`."""
    key, equals, value = text.partition("=")
    if not equals:
        raise StudyError(f"`set={text[:60]}`: no value. Write KEY=VALUE.")
    try:
        return key.strip(), yaml.safe_load(value)
    except yaml.YAMLError as e:
        raise StudyError(f"`set={text[:60]}`: the value is not YAML. Quote it.") from e
