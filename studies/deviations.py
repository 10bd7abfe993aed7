"""Where a study departs from its paper: found by comparing values, explained by the lines of the study.

    for deviation in deviations(study, arms): print(deviation.what, deviation.paper, deviation.here, deviation.why)

Where it sits: study + arms -> **deviations** -> plan, report.
"""

from collections.abc import Mapping
from typing import Any

from studies.arm import HEAD, ResolvedArm
from studies.document import nearest
from studies.errors import StudyError
from studies.stage import Stage
from studies.study import Deviation, Study

UNDECLARED = "not declared"
"""The reason of a deviation that the study does not explain, such as one made by an option."""

DERIVED = ("batch_sequences", "batch_tokens")
"""Of a stage: what papers print instead of micro-batches and accumulation."""


def deviations(study: Study, arms: Mapping[str, ResolvedArm]) -> list[Deviation]:
    """Every value that differs from the paper's, then what the study declares besides.

    Raises:
        StudyError: a key of `paper.settings` does not exist.
    """
    settings = study.paper.settings if study.paper else {}
    reasons = {line.what: line.why for line in study.deviations}
    found = []
    for key, paper in settings.items():
        here = value_of(study, arms, key)
        if not _equal(paper, here):
            found.append(Deviation(what=key, paper=paper, here=here, why=reasons.get(key, UNDECLARED)))
    return found + [line for line in study.deviations if line.what not in settings]


def value_of(study: Study, arms: Mapping[str, ResolvedArm], key: str) -> Any:
    """The value of a dotted key; `arms.NAME.KEY` is that of an arm.

    Raises:
        StudyError: there is no such key.
    """
    where = "paper.settings"
    if key.startswith("arms."):
        _, name, rest = key.split(".", 2)
        if name not in arms:
            raise StudyError(f"{where}: '{key}': no such arm{nearest(name, arms)}.")
        arm = arms[name]
        return _walk(
            {**{key: getattr(arm, key) for key in HEAD}, **{stage: _values(arm.stages[stage]) for stage in arm.stages}},
            rest,
            where,
        )
    stages = {stage.name: _values(stage) for stage in study.stages}
    return _walk({**study.model_dump(mode="json"), **stages}, key, where)


def _values(stage: Stage) -> dict[str, object]:
    return {**stage.model_dump(mode="json"), **{name: getattr(stage, name) for name in DERIVED}}


def _walk(value: Any, key: str, where: str) -> Any:
    for name in key.split("."):
        if not isinstance(value, dict) or name not in value:
            hint = nearest(name, value) if isinstance(value, dict) else ""
            raise StudyError(f"{where}: '{key}': '{name}' does not exist{hint}.")
        value = value[name]
    return value


def _equal(paper: Any, here: Any) -> bool:
    """YAML reads `2e-5` as text; so it is compared as a number where the value here is one."""
    if isinstance(here, int | float) and not isinstance(here, bool):
        try:
            return float(paper) == float(here)
        except (TypeError, ValueError):
            return False
    if isinstance(here, list | tuple) and isinstance(paper, list | tuple):
        return len(paper) == len(here) and all(map(_equal, paper, here))
    return bool(paper == here)
