"""Replaces the fields that a message names by the options of the command line.

    spelled("Restore it, or pass `redo=true`.", TrainRequest)               # "Restore it, or pass --redo."
    spelled("`scale=5`: not in (0, 1].", CurateRequest)                     # "--scale 5: not in (0, 1]."
    spelled("Add `policies.max_tokens=none`.", CurateRequest)               # "Add --set policies.max_tokens=none."

The packages below the command line do not know its options. Their messages name a field as a code span `name=value`,
which also reads well for a caller from Python. `name=` names the field without a value.

Where it sits: between a message and the terminal.
"""

import re
from collections.abc import Iterator

from oneday.requests.request import Request, RequestField, request_fields

_FIELD = re.compile(r"`([a-z][a-z0-9_]*(?:\.[a-z0-9_]+)?)=([^`]*)`")


def spelled(text: str, request: type[Request] | None = None) -> str:
    """The text with options in place of fields. A code span that names no field of any command is left alone.

    Args:
        request: The command's request. Its positional arguments are shown by name: RUN instead of --run.
    """
    if "`" not in text:
        return text
    options = {f.name: f for kind in every_request() for f in request_fields(kind)}
    options |= {key: f for kind in every_request() for f in request_fields(kind) for key in f.option.sets if "." in key}
    options |= {f.name: f for f in (request_fields(request) if request else ())}

    def option(match: re.Match[str]) -> str:
        name, value = match.groups()
        f = options.get(name)
        if f is not None:
            return _option(f, value)
        return f"--set {name}={value}" if "." in name else match.group()

    return _FIELD.sub(option, text)


def _option(f: RequestField, value: str) -> str:
    if f.kind is bool:
        return f.negative_flag if value == "false" and f.negative_flag else f.flag
    if f.option.is_argument:
        return value or f.flag
    return f"{f.flag} {value}".rstrip()


def every_request(kind: type[Request] = Request) -> Iterator[type[Request]]:
    """All request classes that are imported."""
    for inner in kind.__subclasses__():
        yield inner
        yield from every_request(inner)
