"""Options of a dataclass from plain values, as a command line or a settings file holds them, checked by their types.

    options = typed_options(MixOptions, {"percent": "10"}, of="mix", error=MixError)

Where it sits: below builders and suites.
"""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from core.errors import OnedayError
from core.hint import did_you_mean


def typed_options(kind: type[Any], settings: Mapping[str, object], *, of: str, error: type[OnedayError]) -> Any:
    """An instance of `kind`.

    Args:
        of: What has the options, for messages.
        error: The class of the error that is raised.
    Raises:
        OnedayError: an option is unknown or missing, or a value has another type.
    """
    from pydantic import TypeAdapter, ValidationError

    names = [f.name for f in fields(kind)]
    for name in settings:
        if name not in names:
            known = ", ".join(names) or "none"
            raise error(f"{name}: no option of {of}{did_you_mean(name, names)}. Its options: {known}.")
    try:
        return TypeAdapter(kind).validate_python(dict(settings))
    except ValidationError as e:
        problem = e.errors()[0]
        name = ".".join(map(str, problem["loc"]))
        given = f"={problem['input']}" if name in settings else ""
        raise error(f"{of}: {name}{given}: {problem['msg']}. Correct it.") from e
