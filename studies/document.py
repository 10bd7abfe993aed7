"""A study's YAML as plain values, and the changes that presets, arms and the command line make to it.

    raw = read_document(Path("studies/finnish.yml"))
    raw = with_changes(raw, {"sft.learning_rate": 1e-5, "budget": "12h"}, where="preset published")

A dotted key begins with the name of a stage or with a key of the study. An unknown key is an error that names the
nearest known one.

Where it sits: below study.py.
"""

import copy
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from core.hint import did_you_mean
from core.yaml_text import load_yaml
from studies.errors import StudyError

STAGES = "stages"


class Strict(BaseModel):
    """Base of everything that a study's YAML holds: no unknown keys, no truth values where a number is due."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _has_its_own_keys(cls, raw: Any) -> Any:
        for key, value in raw.items() if isinstance(raw, dict) else ():
            if key not in cls.model_fields:
                raise ValueError(f"unknown key '{key}'{nearest(str(key), cls.model_fields)}")
            kind = cls.model_fields[key].annotation
            if isinstance(value, bool) and {int, float} & {kind, *get_args(kind)}:
                raise ValueError(f"{key}: {str(value).lower()} is no number")
        return raw


Model = TypeVar("Model", bound=BaseModel)


def nearest(name: str, known: Iterable[str]) -> str:
    """` (did you mean x?)`, or which names there are."""
    names = list(known)
    return did_you_mean(name, names, cutoff=0.5) or f". Known are {', '.join(names) or 'none'}"


def read_document(path: Path) -> dict[str, Any]:
    """The values of a study's file.

    Raises:
        StudyError: unreadable, not YAML, or not a mapping.
    """
    try:
        raw = load_yaml(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as e:
        raise StudyError(f"{path}: cannot be read ({e}). Give a study's YAML; `list=true` shows some.") from e
    except ValueError as e:
        raise StudyError(f"{path}: {e}. Correct the file.") from e
    if not isinstance(raw, dict) or not isinstance(raw.get(STAGES), list):
        raise StudyError(f"{path}: not a study, which is a mapping with a list of stages. See docs/studies.md.")
    return raw


def stages_by_name(raw: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The stages of a document, by name; what has no name is left to the validation."""
    stages = raw.get(STAGES)
    found = stages if isinstance(stages, list) else []
    return {str(stage["name"]): stage for stage in found if isinstance(stage, dict) and "name" in stage}


def with_changes(raw: Mapping[str, Any], changes: Mapping[str, object], *, where: str) -> dict[str, Any]:
    """A copy of the document with dotted keys set.

    Args:
        where: Who makes the changes; begins the error.

    Raises:
        StudyError: a key leads through something that has no keys.
    """
    changed = copy.deepcopy(dict(raw))
    for key, value in changes.items():
        *path, last = str(key).split(".")
        place: Any = changed
        for number, name in enumerate(path):
            place = stages_by_name(changed).get(name) if number == 0 and name not in changed else place.get(name)
            if not isinstance(place, dict):
                known = [*stages_by_name(changed), *changed] if number == 0 else []
                hint = nearest(name, known) if known else ""
                raise StudyError(f"{where}: '{key}': '{name}' has no keys{hint}. Correct the key.")
        place[last] = copy.deepcopy(value)
    return changed


def validated(kind: type[Model], raw: object, where: str) -> Model:
    """The values as a model.

    Raises:
        StudyError: the first problem, in one line, with its key.
    """
    try:
        return kind.model_validate(raw)
    except ValidationError as e:
        problem = e.errors()[0]
        key = _key(problem["loc"], raw)
        said = problem["msg"].removeprefix("Value error, ")
        raise StudyError(f"{where}: {f'{key}: ' if key else ''}{said}. Correct the value.") from e


def _key(place: tuple[int | str, ...], raw: object) -> str:
    """A dotted key; a stage is called by its name, and the tags of unions are left out."""
    words: list[str] = []
    value: Any = raw
    for part in place:
        if isinstance(value, list) and isinstance(part, int) and part < len(value):
            value = value[part]
            words.append(str(value["name"]) if isinstance(value, dict) and "name" in value else str(part))
        elif isinstance(value, dict) and part in value:
            value = value[part]
            words.append(str(part))
        elif not (isinstance(value, dict) and part in value.values()):
            words.append(str(part))
    return ".".join(words).removeprefix(f"{STAGES}.")
